"""Building blocks that several families share."""

from __future__ import annotations

from torch import Tensor, nn


def conv_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 convolution with bias, batch normalization, ReLU; the size does not change."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def conv_bn_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalization, ReLU6; "same" padding for odd kernels."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 linear projection (MobileNetV2, arXiv:1801.04381).

    The input is added to the result when stride is 1 and the channel count does not change.

    Args:
        inputs: channels in.
        outputs: channels out.
        expansion: factor of the hidden width; 1 leaves the expansion convolution out.
        stride: stride of the depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            *([conv_bn_relu6(inputs, hidden, 1)] if expansion != 1 else []),
            conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    @property
    def projection(self) -> nn.Conv2d:
        """The linear 1x1 convolution that ends the block."""
        layer = self.body[-2]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        return x + self.body(x) if self.residual else self.body(x)


def kaiming_init(network: nn.Module) -> None:
    """Kaiming-normal weights over the fan-in (arXiv:1502.01852) and zero biases, in place.

    Torch's defaults shrink the signal in every layer, so that a deep network without weights gives
    the same answer to every input. Layers that a ReLU follows keep the second moment; linear layers
    and the projections of inverted residual blocks, which none follows, keep the variance.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for block in network.modules():
        if isinstance(block, InvertedResidual):
            nn.init.kaiming_normal_(block.projection.weight, nonlinearity="linear")

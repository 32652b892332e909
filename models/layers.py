"""Building blocks that several families share."""

from __future__ import annotations

from torch import Tensor, nn


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

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        return x + self.body(x) if self.residual else self.body(x)

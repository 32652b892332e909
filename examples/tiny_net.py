"""A network of one's own: `toolchain export examples/tiny_net.py:make --input-shape 1,3,64,64`."""

from torch import Tensor, nn


class TinyNet(nn.Module):
    """A convolution with stride, a depthwise one, and a classifier on the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU6(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.Hardswish(),
        )
        self.head = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, 5)."""
        return self.head(self.features(image).mean((2, 3)))


def make() -> nn.Module:
    """The network with random weights."""
    return TinyNet()

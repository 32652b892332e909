"""Networks of one kind of block each, for operators whose integer kernels are slow in many files.

Sizes are those inside mobile networks: 64 to 128 channels at 28 or 56 pixels, and sequences of 196 x 192.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

CHANNELS = 64
SIDE = 56
TOKENS, WIDTH, HEADS = 196, 192, 3
DEPTH = 3


class InvertedResidual(nn.Module):
    """1x1, activation, depthwise 3x3, activation, [squeeze-excite], 1x1, plus the input."""

    def __init__(self, channels: int, activation: Callable[[], nn.Module], squeeze: bool = False) -> None:
        super().__init__()
        wide = 2 * channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1),
            activation(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            activation(),
            SqueezeExcite(wide) if squeeze else nn.Identity(),
            nn.Conv2d(wide, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x + self.body(x)


class SqueezeExcite(nn.Module):
    """Channel gates from the mean of the picture (arXiv:1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 4, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 4, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x * self.gate(x)


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, layer norm over channels, 1x1, GELU, 1x1, plus the input (arXiv:2201.03545)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.body = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x + self.body(self.depthwise(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Softmax attention of several heads, plus the input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) -> the same shape."""
        batch, tokens, width = x.shape
        split = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5, -1)
        return x + self.out((weights @ value).transpose(1, 2).reshape(batch, tokens, width))


class TransformerBlock(nn.Module):
    """Layer norm and attention, layer norm and a GELU network (arXiv:2010.11929)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) -> the same shape."""
        x = self.attend(x)
        return x + self.body(x)


def _pictures(block: Callable[[], nn.Module], side: int) -> tuple[nn.Module, tuple[int, ...]]:
    stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
    return nn.Sequential(stem, *(block() for _ in range(DEPTH))), (1, 3, side, side)


def _tokens(block: Callable[[], nn.Module]) -> tuple[nn.Module, tuple[int, ...]]:
    return nn.Sequential(*(block() for _ in range(DEPTH))), (1, TOKENS, WIDTH)


_NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "relu6": lambda: _pictures(lambda: InvertedResidual(CHANNELS, nn.ReLU6), SIDE),
    "hard-swish": lambda: _pictures(lambda: InvertedResidual(CHANNELS, nn.Hardswish), SIDE),
    "silu": lambda: _pictures(lambda: InvertedResidual(CHANNELS, nn.SiLU), SIDE),
    "gelu": lambda: _pictures(lambda: InvertedResidual(CHANNELS, nn.GELU), SIDE),
    "squeeze-excite": lambda: _pictures(lambda: InvertedResidual(CHANNELS, nn.ReLU6, True), SIDE),
    "squeeze-excite-hard-swish": lambda: _pictures(
        lambda: InvertedResidual(CHANNELS, nn.Hardswish, True), SIDE // 2
    ),
    "convnext": lambda: _pictures(lambda: ConvNextBlock(CHANNELS), SIDE // 2),
    "layer-norm": lambda: _tokens(lambda: nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH))),
    "attention": lambda: _tokens(lambda: Attention(WIDTH, HEADS)),
    "transformer": lambda: _tokens(lambda: TransformerBlock(WIDTH, HEADS)),
}
NETWORKS = tuple(_NETWORKS)
"""Names of the networks; "relu6" is what the others are judged by."""


def network(name: str, seed: int = 0) -> tuple[nn.Module, tuple[int, ...]]:
    """A network with reproducible weights in evaluation mode, and the shape of its input.

    Raises:
        KeyError: unknown name.
    """
    torch.manual_seed(seed)
    made, shape = _NETWORKS[name]()
    return made.eval(), shape

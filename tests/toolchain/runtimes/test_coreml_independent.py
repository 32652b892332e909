"""Networks that coremltools converts from PyTorch by itself compute the same in the reference runtime.

No part of this project's converter is involved, so that a fault of the runtime cannot hide a fault of the
converter, or the other way round.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.parity import compare
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.spec import GENERIC

SIZE = 32
# Rounding to float16 after each operator leaves this much; float32 only adds up in another order.
LEAST_SQNR = {"fp32": 80.0, "fp16": 40.0}
PROGRAM, NETWORK = "mlprogram", "neuralnetwork"


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Sequential:
    """Convolution, batch normalization, ReLU; the size stays."""
    padding = options.pop("padding", options.get("dilation", 1) * (size // 2))
    layers = [
        nn.Conv2d(inputs, outputs, size, padding=padding, bias=False, **options),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU())


class Residual(nn.Module):
    """Two residual blocks, the second with stride 2 and a projection; global average, Linear, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, 7, stride=2), nn.MaxPool2d(3, 2, 1))
        self.body = nn.ModuleList([conv(8, 8), conv(8, 16, stride=2)])
        self.tails = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)])
        self.shortcuts = nn.ModuleList([nn.Identity(), nn.Conv2d(8, 16, 1, 2)])
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for body, tail, shortcut in zip(self.body, self.tails, self.shortcuts, strict=True):
            x = torch.relu(tail(body(x)) + shortcut(x))
        return self.head(x.mean((2, 3))).softmax(1)


class InvertedResidual(nn.Module):
    """MobileNetV2: expansion, depthwise convolution, linear bottleneck; ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6())
        self.blocks = nn.ModuleList(self._block(8, 32) for _ in range(2))
        self.last = nn.Sequential(nn.Conv2d(8, 24, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(24, 5)

    @staticmethod
    def _block(channels: int, wide: int) -> nn.Sequential:
        depthwise = nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False)
        parts = [nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(), depthwise]
        return nn.Sequential(*parts, nn.BatchNorm2d(wide), nn.ReLU6(), nn.Conv2d(wide, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.last(x))


class Dense(nn.Module):
    """DenseNet: each layer sees the concatenation of all before it; average pooling between blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv(3 + 6 * index, 6) for index in range(4))
        self.transition = nn.Sequential(nn.BatchNorm2d(27), nn.ReLU(), nn.Conv2d(27, 12, 1), nn.AvgPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return self.transition(torch.cat(found, 1))


class UNet(nn.Module):
    """Encoder and decoder with skips; transposed convolutions with and without output padding."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, 8), conv(8, 16)])
        self.bottom = conv(16, 24)
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(24, 16, 3, 2, 1, output_padding=1), nn.ConvTranspose2d(16, 8, 2, 2)]
        )
        self.merge = nn.ModuleList([conv(32, 16), conv(16, 8)])
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([up(x), skip], 1))
        return torch.sigmoid(self.head(x))


class SqueezeExcite(nn.Module):
    """Channels weighted by a sigmoid of their averages; SiLU and GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.gate = nn.Sequential(nn.Conv2d(16, 4, 1), nn.SiLU(), nn.Conv2d(4, 16, 1), nn.Sigmoid())
        self.head = nn.Conv2d(16, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.stem(x))
        x = x * self.gate(F.adaptive_avg_pool2d(x, 1))
        return F.gelu(self.head(x))


class Attention(nn.Module):
    """A block of a vision transformer: patches, LayerNorm, two heads, MLP with GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.position = nn.Parameter(torch.randn(1, 16, 16) * 0.1)
        self.before, self.between = nn.LayerNorm(16), nn.LayerNorm(16)
        self.mixed, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        q, k, v = self.mixed(self.before(x)).reshape(1, 16, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) * 8**-0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(1, 16, 16))
        return x + self.mlp(self.between(x))


class Dilated(nn.Module):
    """Grouped and dilated convolutions, bilinear upsampling in both conventions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 12, stride=2)
        self.branches = nn.ModuleList(conv(12, 12, groups=3, dilation=rate) for rate in (1, 2, 4))
        self.head = nn.Conv2d(36, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        x = self.head(torch.cat([branch(x) for branch in self.branches], 1))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return F.interpolate(x, size=(31, 31), mode="bilinear", align_corners=True)


class PixelShuffle(nn.Module):
    """Super-resolution: PReLU, depth to space, added to the picture upsampled by nearest neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.slope = nn.Conv2d(3, 12, 5, padding=2), nn.PReLU(12, 0.2)
        self.last = nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        near = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return near + F.pixel_shuffle(self.last(self.slope(self.first(x))), 2)


class HardSwish(nn.Module):
    """MobileNetV3: hard swish, hard sigmoid gates, 5x5 depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 5, 1, 2, groups=16), nn.Hardswish())
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1), nn.Hardsigmoid()
        )
        self.head = nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(x)
        return self.head(x + y * self.gate(y))


class Normalized(nn.Module):
    """Instance, group and layer normalization over channels; reflected and replicated borders."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.instance, self.group = nn.InstanceNorm2d(8, affine=True), nn.GroupNorm(4, 8)
        self.second = nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.elu(self.instance(self.first(F.pad(x, (1, 1, 1, 1), mode="reflect"))))
        x = self.group(self.second(F.pad(x, (1, 1, 1, 1), mode="replicate")))
        return F.leaky_relu(x, 0.1)


class Pooling(nn.Module):
    """Pools of every sort: with padding that counts or not, rounding up, adaptive, maximum and average."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        parts = [
            F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
            F.avg_pool2d(x, 3, 2, 1, count_include_pad=True),
            F.max_pool2d(x, 3, 2, 1),
            F.max_pool2d(x, 2, 2, ceil_mode=True),
        ]
        x = self.second(sum(parts))
        return torch.cat([F.adaptive_avg_pool2d(x, (5, 5)), F.adaptive_max_pool2d(x, (5, 5))], 1)


class Recurrent(nn.Module):
    """Columns of features as a sequence for a bidirectional LSTM, as in text recognition."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 8, stride=2), conv(8, 8, stride=2))
        self.lstm = nn.LSTM(64, 12, bidirectional=True)
        self.head = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1, 2).permute(2, 0, 1)
        return self.head(self.lstm(x)[0]).log_softmax(-1)


NETWORKS = [
    Residual,
    InvertedResidual,
    Dense,
    UNet,
    SqueezeExcite,
    Attention,
    Dilated,
    PixelShuffle,
    HardSwish,
    Normalized,
    Pooling,
    Recurrent,
]


@pytest.fixture(scope="module")
def coremltools() -> Any:
    """The package, which warns of a PyTorch newer than it knows."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return coremltools


def build(network: type[nn.Module]) -> nn.Module:
    """The network with weights and statistics that are the same in every run."""
    torch.manual_seed(0)
    made = network().eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, 0, 0.2)
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return made


def convert(coremltools: Any, network: nn.Module, picture: Tensor, kind: str, precision: str) -> Any:
    """Coremltools' own conversion from PyTorch."""
    half = coremltools.precision.FLOAT16 if precision == "fp16" else coremltools.precision.FLOAT32
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        made = coremltools.convert(
            torch.jit.trace(network, picture),
            inputs=[coremltools.TensorType("image", picture.shape)],
            outputs=[coremltools.TensorType("made")] if kind == PROGRAM else None,
            convert_to=kind,
            skip_model_load=True,
            **({"compute_precision": half} if kind == PROGRAM else {}),
        )
        if kind == NETWORK and precision == "fp16":
            quantize = coremltools.models.neural_network.quantization_utils.quantize_weights
            made = quantize(made, 16)
    return made


def saved(model: Any, folder: Path, kind: str = PROGRAM) -> Path:
    path = folder / f"model.{'mlpackage' if kind == PROGRAM else 'mlmodel'}"
    model.save(str(path))
    return path


def outputs(path: Path, feeds: dict[str, Any]) -> np.ndarray:
    """The first output of a file."""
    with CoreMLRuntime(path, threads=1) as runtime:
        return next(iter(runtime.run(feeds).values()))


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_of_coremltools_computes_what_pytorch_does(network, kind, coremltools, tmp_path):
    torch_network, picture = build(network), torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = {"made": torch_network(picture).numpy()}
    for precision, least in LEAST_SQNR.items():
        path = saved(convert(coremltools, torch_network, picture, kind, precision), tmp_path, kind)
        found = {"made": outputs(path, {"image": picture.numpy()})}
        assert compare([expected], [found], GENERIC).sqnr_db >= least, precision

"""Pictures as inputs and compressed weights, written by coremltools without this project's converter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from toolchain.parity import compare
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.spec import GENERIC

SIZE = 16
PROGRAM, NETWORK = "mlprogram", "neuralnetwork"
SUFFIXES = {PROGRAM: "mlpackage", NETWORK: "mlmodel"}


class Classifier(nn.Module):
    """Convolutions (plain, depthwise, transposed), a matrix product: every place that weights stand in."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.Conv2d(16, 32, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 2, 2),
            nn.Tanh(),
            nn.AvgPool2d(4),
            nn.Flatten(),
            nn.Linear(16 * (SIZE // 4) ** 2, 12),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


@pytest.fixture(scope="module")
def coremltools() -> Any:
    """The package, which warns of a PyTorch newer than it knows."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
        import coremltools.optimize.coreml
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return coremltools


@pytest.fixture(scope="module")
def convert(coremltools) -> Callable[..., Any]:
    """Function (network, input type, kind, ios) -> model, by coremltools' own PyTorch front end."""

    def made(network: nn.Module, taken: Any, kind: str = PROGRAM, ios: int | None = None) -> Any:
        example = torch.zeros(tuple(taken.shape.shape))
        named = {"compute_precision": coremltools.precision.FLOAT32} if kind == PROGRAM else {}
        if ios is not None:
            named["minimum_deployment_target"] = getattr(coremltools.target, f"iOS{ios}")
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(network, example)
            return coremltools.convert(traced, inputs=[taken], convert_to=kind, skip_model_load=True, **named)

    return made


def network(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return Classifier(channels).eval()


def run(model: Any, feeds: dict[str, Any], path: Path) -> np.ndarray:
    """Save a model, and compute its output from disk."""
    model.save(str(path))
    with CoreMLRuntime(path, threads=1) as runtime:
        (output,) = runtime.run(feeds).values()
    return output


# Pictures.

SCALE, BIAS = 1 / 63.75, (-1.9, -1.7, -1.5)


def pixels(channels: int) -> np.ndarray:
    shape = (SIZE, SIZE, channels) if channels > 1 else (SIZE, SIZE)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
@pytest.mark.parametrize("space", ["RGB", "BGR", "GRAYSCALE"])
def test_a_picture_is_scaled_and_shifted_as_the_file_says(space, kind, coremltools, convert, tmp_path):
    channels = 1 if space == "GRAYSCALE" else 3
    bias = BIAS[0] if channels == 1 else list(BIAS)
    layout = coremltools.colorlayout[space]
    shape = (1, channels, SIZE, SIZE)
    taken = coremltools.ImageType("image", shape=shape, scale=SCALE, bias=bias, color_layout=layout)
    made, picture = network(channels), pixels(channels)
    path = tmp_path / f"model.{SUFFIXES[kind]}"
    found = run(convert(made, taken, kind), {"image": picture}, path)
    with CoreMLRuntime(path, threads=1) as runtime:
        (from_pil,) = runtime.run({"image": Image.fromarray(picture)}).values()
    np.testing.assert_array_equal(from_pil, found)
    planes = picture.reshape(SIZE, SIZE, channels).transpose(2, 0, 1).astype(np.float32)
    # The caller always gives RGB; the network sees the order that it was converted for.
    planes = planes[::-1] if space == "BGR" else planes
    entered = planes * np.float32(SCALE) + np.float32(bias if channels > 1 else [bias]).reshape(-1, 1, 1)
    with torch.no_grad():
        expected = made(torch.from_numpy(np.ascontiguousarray(entered))[None]).numpy()
    assert compare([{"y": expected}], [{"y": found}], GENERIC).sqnr_db >= 80


# Compressed weights.

Compress = Callable[[Any, Any], Any]


def linear(**options: Any) -> Compress:
    def compress(package: Any, model: Any) -> Any:
        config = package.OpLinearQuantizerConfig(weight_threshold=0, **options)
        return package.linear_quantize_weights(model, package.OptimizationConfig(global_config=config))

    return compress


def palette(**options: Any) -> Compress:
    def compress(package: Any, model: Any) -> Any:
        # The mode "kmeans" needs another package, and leaves files of the same form.
        config = package.OpPalettizerConfig(mode="uniform", weight_threshold=0, **options)
        return package.palettize_weights(model, package.OptimizationConfig(global_config=config))

    return compress


def pruned(kind: str, **options: Any) -> Compress:
    def compress(package: Any, model: Any) -> Any:
        config = getattr(package, kind)(weight_threshold=0, **options)
        return package.prune_weights(model, package.OptimizationConfig(global_config=config))

    return compress


def both(first: Compress, second: Callable[[Any, Any], Any]) -> Compress:
    return lambda package, model: second(package, first(package, model))


def jointly(method: str, config: str, **options: Any) -> Compress:
    def compress(package: Any, model: Any) -> Any:
        made = getattr(package, config)(weight_threshold=0, **options)
        settings = package.OptimizationConfig(global_config=made)
        return getattr(package, method)(model, settings, joint_compression=True)

    return compress


SPARSE = pruned("OpMagnitudePrunerConfig", target_sparsity=0.5)
ROWS = {
    "int8": (16, linear(mode="linear_symmetric"), 40),
    "int8-affine": (16, linear(mode="linear"), 40),
    "uint8": (16, linear(mode="linear", dtype="uint8"), 40),
    "int8-tensor": (18, linear(mode="linear_symmetric", granularity="per_tensor"), 40),
    "int8-ios18": (18, linear(mode="linear"), 40),
    "int4-blocks": (
        18,
        linear(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=8),
        20,
    ),
    "uint4-blocks": (18, linear(mode="linear", dtype="uint4", granularity="per_block", block_size=4), 20),
    "palette8": (16, palette(nbits=8), 40),
    "palette6": (16, palette(nbits=6), 30),
    "palette4": (16, palette(nbits=4), 20),
    "palette2": (16, palette(nbits=2), 5),
    "palette1": (16, palette(nbits=1), -10),
    "palette4-groups": (18, palette(nbits=4, granularity="per_grouped_channel", group_size=4), 20),
    "palette3-scaled": (
        18,
        palette(nbits=3, granularity="per_grouped_channel", group_size=4, enable_per_channel_scale=True),
        15,
    ),
    "sparse": (16, SPARSE, 5),
    "sparse-threshold": (
        16,
        pruned("OpThresholdPrunerConfig", threshold=0.02, minimum_sparsity_percentile=0.0),
        5,
    ),
    "sparse-ios18": (18, SPARSE, 5),
    "sparse-structured": (18, pruned("OpMagnitudePrunerConfig", n_m_ratio=(2, 4)), 4),
    "sparse-int8": (
        18,
        both(SPARSE, jointly("linear_quantize_weights", "OpLinearQuantizerConfig", mode="linear_symmetric")),
        5,
    ),
    "sparse-palette4": (
        18,
        both(SPARSE, jointly("palettize_weights", "OpPalettizerConfig", mode="uniform", nbits=4)),
        5,
    ),
    "palette4-int8": (
        18,
        both(
            palette(nbits=4),
            jointly(
                "linear_quantize_weights",
                "OpLinearQuantizerConfig",
                mode="linear_symmetric",
                granularity="per_tensor",
            ),
        ),
        20,
    ),
}


@pytest.fixture(scope="module")
def float_models(coremltools, convert) -> dict[int, Any]:
    """The network before compression, by iOS."""
    taken = coremltools.TensorType("image", (1, 3, SIZE, SIZE))
    return {ios: convert(network(), taken, ios=ios) for ios in (16, 18)}


@pytest.fixture(scope="module")
def float_network(coremltools, convert) -> Any:
    """The neural network before compression."""
    return convert(network(), coremltools.TensorType("image", (1, 3, SIZE, SIZE)), NETWORK)


@pytest.mark.parametrize("name", ROWS)
def test_compressed_weights_are_those_that_coremltools_unpacks(name, coremltools, float_models, tmp_path):
    ios, compress, least = ROWS[name]
    package = coremltools.optimize.coreml
    original, picture = network(), torch.randn(1, 3, SIZE, SIZE)
    feeds = {"image": picture.numpy()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compressed = compress(package, float_models[ios])
        plain = package.decompress_weights(compressed)
    ops = {op.type for op in operations(compressed)}
    assert any(op.startswith("constexpr_") for op in ops), ops
    assert not any(op.type.startswith("constexpr_") for op in operations(plain))
    found = run(compressed, feeds, tmp_path / "compressed.mlpackage")
    expected = run(plain, feeds, tmp_path / "plain.mlpackage")
    assert compare([{"y": expected}], [{"y": found}], GENERIC).sqnr_db >= 100
    with torch.no_grad():
        exact = original(picture).numpy()
    # What the compression itself costs: nothing would be compared if both files held zeros.
    assert compare([{"y": exact}], [{"y": found}], GENERIC).sqnr_db >= least


def operations(model: Any) -> list[Any]:
    (block,) = model.get_spec().mlProgram.functions["main"].block_specializations.values()
    return list(block.operations)


@pytest.mark.parametrize(
    ("bits", "mode", "least"),
    [
        (16, "linear", 60),
        (8, "linear", 40),
        (8, "linear_symmetric", 40),
        (7, "linear_lut", 35),
        (6, "linear", 30),
        (4, "linear", 15),
        (4, "linear_lut", 15),
        (2, "linear_lut", 3),
    ],
)
def test_neural_networks_with_few_bits_are_close_to_the_exact_ones(
    bits, mode, least, coremltools, float_network, tmp_path
):
    original, picture = network(), torch.randn(1, 3, SIZE, SIZE)
    quantize = coremltools.models.neural_network.quantization_utils.quantize_weights
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exact = original(picture).numpy()
        found = run(quantize(float_network, bits, mode), {"image": picture.numpy()}, tmp_path / "few.mlmodel")
    sqnr = compare([{"y": exact}], [{"y": found}], GENERIC).sqnr_db
    # Each bit is worth 6 dB: a file that was read as if it had more would lie below, one with fewer above.
    assert least <= sqnr <= least + 30

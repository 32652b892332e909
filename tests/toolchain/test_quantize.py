"""Integer files through the whole way: calibration, placement, writing, running, comparing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import toolchain
from toolchain.errors import UnsupportedError, UnsupportedOpsError, UsageError
from toolchain.export import ExportOptions, clean_graph, export_source
from toolchain.quantize import QuantizeOptions, calibrated_graph
from toolchain.source import resolve
from toolchain.spec import load_sidecar

SHAPE = (1, 3, 16, 16)


class Classifier(nn.Module):
    def __init__(self, last: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU6(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 5),
            last or nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Arctangent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.atan(x) + x


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "inputs.npy"
    random = np.random.default_rng(0)
    coarse = random.standard_normal((40, 3, 4, 4)).astype(np.float32)
    np.save(path, coarse.repeat(4, 2).repeat(4, 3))
    return path


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_own_network_is_calibrated_and_close(precision: str, data: Path, tmp_path: Path) -> None:
    [made] = toolchain.export(
        Classifier(), torch.zeros(SHAPE), ["tflite"], [precision], data, tmp_path / "build"
    )
    assert made.parity is not None
    assert made.parity.sqnr_db >= {"int8": 25, "int16x8": 40}[precision]
    assert set(made.ops) <= {
        *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "PAD", "RESHAPE"),
        *("QUANTIZE", "DEQUANTIZE"),
    }


def test_onnx_file_has_pairs_and_is_accepted_again(data: Path, tmp_path: Path) -> None:
    [first] = toolchain.export(Classifier(), torch.zeros(SHAPE), ["onnx"], ["int8"], data, tmp_path)
    ops = {node.op_type for node in onnx.load(first.path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= ops
    [again] = toolchain.export(first.path, formats=["tflite"], precisions=["int8"], output=tmp_path)
    assert again.parity is not None
    # What is compared with is the integer graph itself: only roundings differ.
    assert again.parity.sqnr_db >= 35
    with pytest.raises(UsageError, match="is quantized"):
        toolchain.export(first.path, formats=["tflite"], precisions=["fp32"], output=tmp_path)


def test_borders_of_integers_are_stated_and_compared(data: Path, tmp_path: Path) -> None:
    [made] = toolchain.export(
        Classifier(), torch.zeros(SHAPE), ["tflite"], ["int8"], data, tmp_path, io="uint8"
    )
    image = load_sidecar(made.path).inputs[0]
    assert image.dtype == "uint8"
    assert image.scale is not None
    assert "DEQUANTIZE" not in made.ops
    assert made.parity is not None
    assert made.parity.sqnr_db >= 25


def test_without_ranges_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        toolchain.export(Classifier(), torch.zeros(SHAPE), ["tflite"], ["int8"], output=tmp_path)
    assert "--calibration" in caught.value.hint


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)[0]


@pytest.mark.parametrize("format_", ["tflite", "onnx"])
def test_network_without_integer_operators_is_no_integer_file(format_: str, tmp_path: Path) -> None:
    data = tmp_path / "inputs.npy"
    np.save(data, np.random.default_rng(0).standard_normal((4, 5, 16)).astype(np.float32))
    with pytest.raises(UnsupportedError, match="nothing in 'recurrent' computes with integers"):
        toolchain.export(Recurrent(), torch.zeros(1, 5, 16), [format_], ["int8"], data, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_pixels_in_place_of_normalized_pictures_are_refused(tmp_path: Path) -> None:
    source = resolve("mobile-hourglass", input_shape=(1, 3, 64, 64))
    image = np.random.default_rng(0).uniform(0, 255, (4, 3, 64, 64)).astype(np.float32)
    masks = np.zeros((4, *source.spec.inputs[1].shape[1:]), np.float32)
    np.savez(tmp_path / "pixels.npz", image=image, previous=masks)
    notes: list[str] = []
    options = ExportOptions(
        ["tflite"], ["int8"], tmp_path / "out", tmp_path / "pixels.npz", method="minmax", note=notes.append
    )
    with pytest.raises(UsageError, match="the contract of 'mobile-hourglass' makes -1 to 1 of pixels"):
        export_source(source, options)
    assert any("was it left without normalization?" in note for note in notes)


@pytest.mark.parametrize("format_", ["tflite", "onnx", "coreml"])
def test_float_operators_are_refused_unless_accepted(format_: str, data: Path, tmp_path: Path) -> None:
    network = Classifier(Arctangent())
    with pytest.raises(UnsupportedOpsError) as caught:
        toolchain.export(network, torch.zeros(SHAPE), [format_], ["int8"], data, tmp_path / "out")
    assert {refusal.op for refusal in caught.value.refusals} == {"Atan"}
    assert not list(tmp_path.glob("out/*-int8.*"))
    accepted = toolchain.export(
        network, torch.zeros(SHAPE), [format_], ["int8"], data, tmp_path, allow_float=["Atan"]
    )
    assert len(accepted) == 1


def test_shipped_network_needs_no_data(tmp_path: Path) -> None:
    source = resolve("mobile-hourglass", input_shape=(1, 3, 64, 64))
    exported = export_source(source, ExportOptions(["tflite", "onnx"], ["int8"], tmp_path))
    assert [artifact.format for artifact in exported.require_all()] == ["tflite", "onnx"]


def test_masks_that_are_given_are_used_and_others_are_made(tmp_path: Path) -> None:
    source = resolve("mobile-hourglass", input_shape=(1, 3, 64, 64))
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (4, 64, 64, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    for index, picture in enumerate(pixels):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), picture)
    image = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    masks = random.uniform(0, 0.25, (4, *source.spec.inputs[1].shape[1:])).astype(np.float32)
    np.savez(tmp_path / "given.npz", image=image, previous=masks)
    np.savez(tmp_path / "empty.npz", image=image, previous=np.zeros_like(masks))

    def highest(name: str) -> float:
        options = QuantizeOptions(tmp_path / name, "minmax", equalize=False)
        return calibrated_graph(source, clean_graph(source), options)[1]["previous"].high

    assert highest("given.npz") == pytest.approx(float(masks.max()), abs=1e-6)
    assert highest("empty.npz") == 0.0
    # Softmax of the network's own answer: the most probable of ten classes has more than a tenth.
    assert 0.1 < highest("pictures") <= 1.0

"""export() from Python: a wrong, unstable or unusable file is never kept under its own name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import toolchain
from toolchain.errors import ParityError, ToolchainError, UnsupportedError, UsageError
from toolchain.spec import load_sidecar
from toolchain.targets import TARGETS, Target


class Apply(nn.Module):
    """A function as a network."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 3)


X = torch.zeros(1, 3, 8, 8)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def swap(monkeypatch: pytest.MonkeyPatch, write: Callable[[Target, Path], None]) -> None:
    """Let something happen to each .tflite file right after it was written."""
    target = TARGETS.get("tflite")

    def writer(graph, precision, layout, path, spec):
        made = target.write(graph, precision, layout, path, spec)
        write(target, path)
        return made

    monkeypatch.setitem(TARGETS._entries, "tflite", replace(target, write=writer))


def test_wrong_file_is_kept_as_rejected_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damage(_target: Target, path: Path) -> None:
        data = path.read_bytes()
        weights = small().weight.detach().numpy().transpose(0, 2, 3, 1).tobytes()
        assert weights in data
        path.write_bytes(data.replace(weights, weights[:-36] + np.ones(9, np.float32).tobytes()))

    swap(monkeypatch, damage)
    with pytest.raises(ParityError, match="does not compute what the network computes: SQNR") as caught:
        toolchain.export(small(), X, output=tmp_path)
    assert files(tmp_path) == ["conv2d-fp32.tflite.rejected"]
    assert "conv2d-fp32.tflite.rejected" in caught.value.hint


def test_file_that_no_runtime_loads_is_kept_as_rejected_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(monkeypatch, lambda _target, path: path.write_bytes(path.read_bytes()[:-600]))
    with pytest.raises(ParityError, match=r"'conv2d-fp32\.tflite' was written, but cannot be run") as caught:
        toolchain.export(small(), X, output=tmp_path)
    assert files(tmp_path) == ["conv2d-fp32.tflite.rejected"]
    assert ".export-" not in caught.value.message


def test_failure_keeps_the_older_good_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [good] = toolchain.export(small(), X, output=tmp_path)
    content = good.path.read_bytes()
    swap(monkeypatch, lambda _target, path: path.write_bytes(path.read_bytes()[:-600]))
    with pytest.raises(ParityError):
        toolchain.export(small(), X, output=tmp_path)
    assert good.path.read_bytes() == content
    assert load_sidecar(good.path).sha256 == good.sha256


def test_network_that_is_never_finite_is_no_match(tmp_path: Path) -> None:
    """NaN equals NaN everywhere, which says nothing."""
    with pytest.raises(
        UnsupportedError, match="'output' of the network is NaN or infinite everywhere"
    ) as caught:
        toolchain.export(Apply(lambda x: torch.log(-x.abs() - 1)), X, output=tmp_path / "out")
    assert "--calibration" in caught.value.hint
    assert files(tmp_path / "out") == []


def test_network_that_is_finite_somewhere_is_compared_there(tmp_path: Path) -> None:
    [made] = toolchain.export(Apply(torch.log), X, output=tmp_path)
    assert made.parity is not None
    assert made.parity.sqnr_db >= 80


def test_random_network_is_told_from_a_fault_of_the_converter(tmp_path: Path) -> None:
    network = Apply(lambda x: x + torch.randn_like(x))
    with pytest.raises(ParityError, match="something else each time") as caught:
        toolchain.export(network, X, output=tmp_path / "out", formats=["onnx"])
    assert "random numbers" in caught.value.hint
    assert files(tmp_path / "out") == ["apply-fp32.onnx.rejected"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x, 1),
        (lambda x: (x * 2, x * 2), 2),
        (lambda x: (x, x + 1), 2),
        (lambda x: x.mul_(2).add_(1), 1),
        (lambda x: torch.ones(1, 3), 1),
        (lambda x: x > 0, 1),
        (lambda x: x.sum(), 1),
    ],
    ids=["identity", "twice", "input too", "in place", "constant", "bool", "scalar"],
)
def test_unusual_outputs(function: Callable, expected: int, tmp_path: Path) -> None:
    [made] = toolchain.export(Apply(function), X, output=tmp_path)
    assert len(made.outputs) == expected
    assert made.parity is not None
    assert made.parity.sqnr_db >= 100


def test_second_input_shaped_like_the_output_is_no_previous_mask(tmp_path: Path) -> None:
    """Only face parsers have one; the softmax of it would need an axis that this one does not have."""
    shapes = {"left": (3,), "right": (3,)}
    [made] = toolchain.export(Apply(torch.add), input_shape=shapes, output=tmp_path)
    assert [tensor.name for tensor in made.inputs] == ["left", "right"]
    with toolchain.load(made.path) as net:
        total = net.run({"left": np.array([1, 2, 3], "f"), "right": np.array([4, 5, 6], "f")})
    assert total["output"].tolist() == [5, 7, 9]


def test_onnx_file_states_the_shapes_of_its_outputs(cnn: Path, tmp_path: Path) -> None:
    [made] = toolchain.export(cnn, output=tmp_path, formats=["onnx"])
    [output] = load_sidecar(made.path).outputs
    assert (output.name, output.shape, output.dtype, output.layout) == (
        "scores",
        (1, 5, 8, 8),
        "float32",
        "NCHW",
    )


def test_examples_are_inputs_by_position_or_name(tmp_path: Path) -> None:
    pair = (torch.zeros(1, 2), torch.zeros(1, 2))
    [first] = toolchain.export(Apply(torch.sub), pair, output=tmp_path)
    assert [tensor.name for tensor in first.inputs] == ["input_0", "input_1"]
    [second] = toolchain.export(Apply(torch.sub), {"a": pair[0], "b": np.zeros((1, 2))}, output=tmp_path)
    assert [tensor.name for tensor in second.inputs] == ["a", "b"]


def test_folder_in_the_way_is_not_deleted(cnn: Path, tmp_path: Path) -> None:
    for name in ("cnn-fp32.tflite", "cnn-fp32.tflite.json"):
        precious = tmp_path / name.replace(".", "_") / name / "kept.txt"
        precious.parent.mkdir(parents=True)
        precious.write_text("precious")
        with pytest.raises(UsageError, match=r"there is a folder at .* must not be overwritten"):
            toolchain.export(cnn, output=precious.parents[1])
        assert precious.read_text() == "precious"
        assert files(precious.parents[1]) == [name]


def test_link_is_replaced_and_what_it_points_to_is_left(cnn: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cnn-fp32.tflite").symlink_to(tmp_path / "victim")
    [made] = toolchain.export(cnn, output=tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not made.path.is_symlink()
    assert load_sidecar(made.path).bytes == made.path.stat().st_size


@pytest.mark.parametrize("name", ["file", "file/below", "link"])
def test_output_that_is_no_folder(name: str, cnn: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="cannot be written to") as caught:
        toolchain.export(cnn, output=tmp_path / name)
    assert caught.value.hint
    assert (tmp_path / "file").read_text() == "precious"


def test_names_with_blanks_slashes_and_accents(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["a/b:c é"], ["d e"])],
        "g",
        [helper.make_tensor_value_info("a/b:c é", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("d e", TensorProto.FLOAT, [1, 3])],
    )
    path = tmp_path / "ein Nétz.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    [made] = toolchain.export(path, output=tmp_path / "au s")
    assert made.path.name == "ein Nétz-fp32.tflite"
    with toolchain.load(made.path) as net:
        assert net.run({"a/b:c é": np.array([[-1, 0, 2]], "f")})["d e"].tolist() == [[0, 0, 2]]


def test_two_jobs_refused_together_leave_nothing(cnn: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'onnx' cannot have precision 'fp16'"):
        toolchain.export(cnn, output=tmp_path / "out", formats=["tflite", "onnx"], precisions=["fp16"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["cut.npz", "flipped.npz", "complex.npz", "text.npz"])
def test_damaged_calibration_is_one_error(what: str, cnn: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", image=np.ones((2, 3, 16, 16), np.float32))
    data = bytearray((tmp_path / "good.npz").read_bytes())
    if what == "cut.npz":
        (tmp_path / what).write_bytes(data[: len(data) // 2])
    elif what == "flipped.npz":
        data[300] ^= 0xFF
        (tmp_path / what).write_bytes(data)
    else:
        kind = complex if what == "complex.npz" else "U3"
        np.savez(tmp_path / what, image=np.ones((2, 3, 16, 16)).astype(kind))
    with pytest.raises(ToolchainError, match=what) as caught:
        toolchain.export(cnn, output=tmp_path / "out", calibration=tmp_path / what)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()

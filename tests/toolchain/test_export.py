"""export() from Python: a wrong, unstable or unusable file is never kept under its own name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import toolchain
from toolchain.errors import ParityError, ToolchainError, UnsupportedError, UsageError
from toolchain.publish import sha256_of
from toolchain.spec import Artifact, load_sidecar
from toolchain.targets import TARGETS


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
SUFFIXES = {"tflite": ".tflite", "coreml": ".mlpackage", "mlmodel": ".mlmodel"}


@pytest.fixture(params=SUFFIXES)
def format_(request: pytest.FixtureRequest) -> str:
    """What is true of one format is true of all."""
    return request.param


def export(model: object, example: object, format_: str, output: Path, **named: Any) -> Artifact:
    [made] = toolchain.export(model, example, [format_], ["fp32"], output=output, **named)
    return made


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def parts(path: Path) -> list[Path]:
    """The file itself, or all files of a package."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def content(path: Path) -> dict[Path, bytes]:
    return {part.relative_to(path): part.read_bytes() for part in parts(path)}


def swap(monkeypatch: pytest.MonkeyPatch, format_: str, change: Callable[[Path], object]) -> None:
    """Let something happen to each file right after it was written."""
    target = TARGETS.get(format_)

    def writer(graph, options, path, spec):
        made = target.write(graph, options, path, spec)
        change(path)
        return made

    monkeypatch.setitem(TARGETS._entries, format_, replace(target, write=writer))


def spoil(path: Path) -> None:
    """Other numbers for nine weights of `small`, which TFLite keeps channel-last and Core ML as they are."""
    weights = small().weight.detach().numpy()
    done = 0
    for stored in (weights.tobytes(), weights.transpose(0, 2, 3, 1).tobytes()):
        for part in parts(path):
            data = part.read_bytes()
            changed = data.replace(stored, stored[:-36] + np.ones(9, np.float32).tobytes())
            done += changed != data
            part.write_bytes(changed)
    assert done == 1


def cut(path: Path) -> None:
    """Only the first half of the largest part is left."""
    part = max(parts(path), key=lambda part: part.stat().st_size)
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])


def test_wrong_file_is_kept_as_rejected_only(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(monkeypatch, format_, spoil)
    with pytest.raises(ParityError, match="does not compute what the network computes: SQNR") as caught:
        export(small(), X, format_, tmp_path)
    rejected = f"conv2d-fp32{SUFFIXES[format_]}.rejected"
    assert files(tmp_path) == [rejected]
    assert rejected in caught.value.hint


def test_file_that_no_runtime_loads_is_kept_as_rejected_only(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(monkeypatch, format_, cut)
    name = f"conv2d-fp32{SUFFIXES[format_]}"
    with pytest.raises(ParityError, match=rf"'{name}' was written, but cannot be run") as caught:
        export(small(), X, format_, tmp_path)
    assert files(tmp_path) == [f"{name}.rejected"]
    assert ".export-" not in caught.value.message


def test_other_files_of_the_graph_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swap(monkeypatch, "coreml", spoil)
    with pytest.raises(ParityError, match=r"'conv2d-fp32\.mlpackage' does not compute"):
        toolchain.export(small(), X, ["coreml", "tflite"], ["fp32"], output=tmp_path)
    good = tmp_path / "conv2d-fp32.tflite"
    assert files(tmp_path) == ["conv2d-fp32.mlpackage.rejected", good.name, f"{good.name}.json"]
    assert load_sidecar(good).sha256 == sha256_of(good)


def test_second_rejected_file_replaces_the_first(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(monkeypatch, format_, spoil)
    rejected = tmp_path / f"conv2d-fp32{SUFFIXES[format_]}.rejected"
    with pytest.raises(ParityError):
        export(small(), X, format_, tmp_path)
    first = content(rejected)
    swap(monkeypatch, format_, cut)
    with pytest.raises(ParityError):
        export(small(), X, format_, tmp_path)
    assert files(tmp_path) == [rejected.name]
    assert content(rejected) != first


def test_failure_keeps_the_older_good_file(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = export(small(), X, format_, tmp_path)
    before = content(good.path)
    swap(monkeypatch, format_, cut)
    with pytest.raises(ParityError):
        export(small(), X, format_, tmp_path)
    assert content(good.path) == before
    assert load_sidecar(good.path).sha256 == good.sha256


def test_file_replaces_an_older_one_as_a_whole(format_: str, tmp_path: Path) -> None:
    old = export(small(), X, format_, tmp_path)
    torch.manual_seed(1)
    network = nn.Conv2d(3, 4, 3)
    new = export(network, X, format_, tmp_path)
    assert files(tmp_path) == [new.path.name, f"{new.path.name}.json"]
    assert new.sha256 != old.sha256
    assert load_sidecar(new.path).sha256 == sha256_of(new.path) == new.sha256
    assert load_sidecar(new.path).bytes == sum(part.stat().st_size for part in parts(new.path))
    x = torch.randn(1, 3, 8, 8)
    order = (0, 2, 3, 1) if format_ == "tflite" else (0, 1, 2, 3)
    with toolchain.load(new.path) as net:
        actual = net.run({"input": x.permute(order).numpy()})["output"]
    np.testing.assert_allclose(actual, network(x).permute(order).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_same_network_gives_the_same_file(format_: str, tmp_path: Path) -> None:
    first = export(small(), X, format_, tmp_path / "a")
    second = export(small(), X, format_, tmp_path / "b")
    assert second.sha256 == first.sha256


def test_network_that_is_never_finite_is_no_match(tmp_path: Path) -> None:
    """NaN equals NaN everywhere, which says nothing."""
    with pytest.raises(
        UnsupportedError, match="'output' of the network is NaN or infinite everywhere"
    ) as caught:
        toolchain.export(Apply(lambda x: torch.log(-x.abs() - 1)), X, output=tmp_path / "out")
    assert "--calibration" in caught.value.hint
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize(("value", "said"), [(torch.nan, "NaN"), (torch.inf, "infinite")])
@pytest.mark.parametrize("allow_float", [(), ("auto",)])
def test_weights_that_are_no_numbers_are_named(value: float, said: str, allow_float, tmp_path: Path) -> None:
    network = small()
    network.weight.data[0, 0, 0, 0] = value
    with pytest.raises(UnsupportedError, match=f"'weight', which Conv .* reads, holds {said} values"):
        toolchain.export(network, X, ["tflite"], ["int8"], output=tmp_path / "out", allow_float=allow_float)
    assert files(tmp_path / "out") == []


def test_network_that_is_finite_somewhere_is_compared_there(format_: str, tmp_path: Path) -> None:
    made = export(Apply(torch.log), X, format_, tmp_path)
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
def test_unusual_outputs(function: Callable, expected: int, format_: str, tmp_path: Path) -> None:
    made = export(Apply(function), X, format_, tmp_path)
    assert len(made.outputs) == expected
    assert made.parity is not None
    assert made.parity.sqnr_db >= 100


def test_second_input_shaped_like_the_output_is_no_previous_mask(format_: str, tmp_path: Path) -> None:
    """Only face parsers have one; the softmax of it would need an axis that this one does not have."""
    shapes = {"left": (3,), "right": (3,)}
    made = export(Apply(torch.add), None, format_, tmp_path, input_shape=shapes)
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
    first = export(Apply(torch.sub), pair, "tflite", tmp_path)
    assert [tensor.name for tensor in first.inputs] == ["input_0", "input_1"]
    second = export(Apply(torch.sub), {"a": pair[0], "b": np.zeros((1, 2))}, "tflite", tmp_path)
    assert [tensor.name for tensor in second.inputs] == ["a", "b"]


@pytest.mark.parametrize("what", ["", ".json"], ids=["model", "sidecar"])
def test_folder_in_the_way_is_not_deleted(what: str, format_: str, cnn: Path, tmp_path: Path) -> None:
    name = f"cnn-fp32{SUFFIXES[format_]}{what}"
    precious = tmp_path / "out" / name / "kept.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    with pytest.raises(UsageError, match=r"there is a folder at .* must not be overwritten"):
        export(cnn, None, format_, tmp_path / "out")
    assert precious.read_text() == "precious"
    assert files(tmp_path / "out") == [name]


def test_file_in_the_way_of_a_package_is_not_deleted(cnn: Path, tmp_path: Path) -> None:
    (tmp_path / "cnn-fp32.mlpackage").write_text("precious")
    with pytest.raises(UsageError, match=r"there is a file at .* must not be overwritten"):
        export(cnn, None, "coreml", tmp_path)
    assert (tmp_path / "cnn-fp32.mlpackage").read_text() == "precious"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_link_is_replaced_and_what_it_points_to_is_left(
    kind: str, format_: str, cnn: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    if kind == "folder":
        victim.mkdir()
    precious = victim / "kept.txt" if kind == "folder" else victim
    precious.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"cnn-fp32{SUFFIXES[format_]}").symlink_to(victim)
    made = export(cnn, None, format_, tmp_path / "out")
    assert precious.read_text() == "precious"
    assert not made.path.is_symlink()
    assert load_sidecar(made.path).bytes == sum(part.stat().st_size for part in parts(made.path))


@pytest.mark.parametrize("name", ["file", "file/below", "link"])
def test_output_that_is_no_folder(name: str, cnn: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="cannot be written to") as caught:
        toolchain.export(cnn, output=tmp_path / name)
    assert caught.value.hint
    assert (tmp_path / "file").read_text() == "precious"


def test_names_with_blanks_slashes_and_accents(format_: str, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["a/b:c é"], ["d e"])],
        "g",
        [helper.make_tensor_value_info("a/b:c é", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("d e", TensorProto.FLOAT, [1, 3])],
    )
    path = tmp_path / "ein Nétz.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    made = export(path, None, format_, tmp_path / "au s")
    assert made.path.name == f"ein Nétz-fp32{SUFFIXES[format_]}"
    # Names in Core ML files are identifiers.
    x, y = ("a/b:c é", "d e") if format_ == "tflite" else ("a_b_c__", "d_e")
    assert ([tensor.name for tensor in made.inputs], [tensor.name for tensor in made.outputs]) == ([x], [y])
    with toolchain.load(made.path) as net:
        assert net.run({x: np.array([[-1, 0, 2]], "f")})[y].tolist() == [[0, 0, 2]]


@pytest.mark.parametrize("kind", ["coreml", "mlmodel"])
@pytest.mark.parametrize("names", [("a b", "a_b", "y"), ("a b", "c", "a_b")], ids=["inputs", "output"])
def test_names_that_core_ml_cannot_tell_apart_are_refused(
    names: tuple[str, str, str], kind: str, tmp_path: Path
) -> None:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in names]
    graph = helper.make_graph([helper.make_node("Sub", names[:2], names[2:])], "g", infos[:2], infos[2:])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    with pytest.raises(UnsupportedError, match="a_b") as caught:
        export(path, None, kind, tmp_path / "out")
    assert caught.value.hint
    assert files(tmp_path / "out") == []


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

"""What MODEL may be: zoo names, ONNX files, factories in files and packages, modules in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from toolchain.errors import ToolchainError, UnsupportedError, UnsupportedOpsError, UsageError
from toolchain.source import Source, UnknownShapeError, resolve
from toolchain.spec import TensorSpec
from toolchain.verify import reference_of

NETS = """
import sys
import torch
from torch import nn
from neighbour import WIDTH
from toolchain.spec import ModelSpec, TensorSpec


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def conv():
    return nn.Conv2d(3, WIDTH, 1)

def lazy():
    from second_neighbour import LAZY_WIDTH
    return nn.Conv2d(3, LAZY_WIDTH, 1)

def two():
    return Apply(lambda left, right: (left + right, left - right))

def a_list():
    return Apply(lambda x: [x, x * 2])

def training():
    return nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).train()

def with_spec():
    inputs = (TensorSpec("ids", (1, 5), "int64"),)
    return nn.Embedding(10, 4), ModelSpec("words", "generic", inputs, (TensorSpec("vectors", (1, 5, 4)),))

def picture_spec():
    inputs = (TensorSpec("image", (1, 3, 8, 8), layout="NCHW"),)
    outputs = (TensorSpec("same", (1, 3, 8, 8), layout="NCHW"),)
    return nn.ReLU(), ModelSpec("picture", "generic", inputs, outputs)

def named(name, task="generic", dtype="float32", shape=(1, 3)):
    return nn.ReLU(), ModelSpec(name, task, (TensorSpec("x", shape, dtype),), ())

def bad_name():
    return named("../../elsewhere")

def no_name():
    return named("")

def bad_task():
    return named("net", "segmentaton")

def bad_type():
    return named("net", dtype="float13")

def no_classes():
    return named("net", "segmentation", shape=(3,))

def twins():
    inputs = (TensorSpec("x", (1, 3)),)
    outputs = (TensorSpec("y", (1, 3)), TensorSpec("y", (1, 3)))
    return Apply(lambda x: (x, x)), ModelSpec("net", "generic", inputs, outputs)

def returns_dict():
    return Apply(lambda x: {"a": x})

def returns_none():
    return Apply(lambda x: None)

def returns_nested():
    return Apply(lambda x: (x, (x, x)))

def returns_nothing():
    return Apply(lambda x: ())

def on_meta():
    with torch.device("meta"):
        return nn.Conv2d(3, 4, 1)

def no_module():
    return 3

def exits():
    sys.exit(0)

def raises_nothing():
    raise RuntimeError

def raises_many_lines():
    raise RuntimeError("\\n  first line\\nsecond line")

def forward_exits():
    return Apply(lambda x: sys.exit(0))

def forward_raises():
    def fail(x):
        raise ValueError
    return Apply(fail)

def needs_argument(size):
    return nn.ReLU()

not_callable = 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nets.py with two neighbours, which it imports."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "neighbour.py").write_text("WIDTH = 6\n")
    (tmp_path / "second_neighbour.py").write_text("LAZY_WIDTH = 7\n")
    for name in ("neighbour", "second_neighbour"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "nets.py"


def sizes(source: Source) -> tuple[list, list]:
    return (
        [(tensor.name, tensor.shape, tensor.dtype) for tensor in source.spec.inputs],
        [(tensor.name, tensor.shape, tensor.dtype) for tensor in source.spec.outputs],
    )


def test_zoo_name() -> None:
    source = resolve("lenet")
    assert sizes(source) == ([("image", (1, 1, 28, 28), "float32")], [("logits", (1, 10), "float32")])
    assert source.spec.outputs[0].layout == "NC"
    assert source.module is not None
    assert not source.module.training
    assert not source.trained


def test_previous_mask_follows_the_picture() -> None:
    source = resolve("mobile-hourglass-video-f16-t3", input_shape=(1, 3, 128, 64))
    assert [tensor.shape for tensor in source.spec.inputs] == [(1, 3, 128, 64), (1, 10, 128, 64)]
    assert source.spec.outputs[0].shape == (1, 10, 128, 64)
    with reference_of(source) as reference:
        answer = reference.run({t.name: np.zeros(t.shape, np.float32) for t in source.spec.inputs})
    assert [value.shape for value in answer.values()] == [(1, 10, 128, 64)]


def test_zoo_input_by_name_and_by_position_are_the_same() -> None:
    by_name = resolve("mobile-hourglass", input_shape={"image": (2, 3, 64, 64)})
    by_position = resolve("mobile-hourglass", input_shape=(2, 3, 64, 64))
    assert by_name.spec == by_position.spec
    assert {tensor.shape[0] for tensor in by_name.spec.inputs} == {2}


def test_weights_go_into_the_network(tmp_path: Path) -> None:
    torch.manual_seed(5)
    entry = resolve("lenet")
    assert entry.module is not None
    torch.save(entry.module.state_dict(), tmp_path / "w.pt")
    torch.manual_seed(6)
    loaded = resolve("lenet", tmp_path / "w.pt")
    assert loaded.trained
    assert loaded.module is not None
    for mine, theirs in zip(entry.module.parameters(), loaded.module.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_factory_in_a_file_with_neighbours(nets: Path) -> None:
    before = list(sys.path)
    source = resolve(f"{nets}:conv", input_shape=(1, 3, 4, 5))
    assert source.spec.name == "conv"
    assert sizes(source) == ([("input", (1, 3, 4, 5), "float32")], [("output", (1, 6, 4, 5), "float32")])
    assert resolve(f"{nets}:lazy", input_shape=(1, 3, 4, 5)).spec.outputs[0].shape == (1, 7, 4, 5)
    assert sys.path == before


def test_factory_in_a_package_of_the_current_folder(tmp_path: Path) -> None:
    """As installed: the folder of the console script is on the path, the current one is not."""
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("")
    (tmp_path / "own_package" / "net.py").write_text("from torch import nn\nmake = nn.ReLU\n")
    code = (
        "import sys; sys.path.remove('')\nfrom toolchain.source import resolve\n"
        "print(resolve('own_package.net:make', input_shape=(1, 3)).spec.outputs[0].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "(1, 3)\n", done.stderr


def test_factory_of_an_installed_package() -> None:
    assert resolve("torch.nn:Sigmoid", input_shape=(2, 3)).spec.outputs[0].shape == (2, 3)


def test_contract_of_the_factory_is_kept(nets: Path) -> None:
    source = resolve(f"{nets}:with_spec")
    assert source.spec.name == "words"
    assert sizes(source) == ([("ids", (1, 5), "int64")], [("vectors", (1, 5, 4), "float32")])


def test_shape_given_beside_a_contract_counts(nets: Path) -> None:
    source = resolve(f"{nets}:picture_spec", input_shape=(1, 3, 16, 4))
    assert source.spec.inputs == (TensorSpec("image", (1, 3, 16, 4), layout="NCHW"),)
    assert source.spec.outputs == (TensorSpec("same", (1, 3, 16, 4), layout="NCHW"),)


def test_several_inputs_and_outputs_keep_their_order(nets: Path) -> None:
    source = resolve(f"{nets}:two", input_shape={"b": (1, 2), "a": (1, 2)})
    assert sizes(source)[0] == [("b", (1, 2), "float32"), ("a", (1, 2), "float32")]
    assert [tensor.name for tensor in source.spec.outputs] == ["output_0", "output_1"]
    with reference_of(source) as reference:
        answer = reference.run({"a": np.full((1, 2), 2, np.float32), "b": np.full((1, 2), 7, np.float32)})
    assert answer["output_0"].tolist() == [[9, 9]]
    assert answer["output_1"].tolist() == [[5, 5]]


def test_list_of_outputs(nets: Path) -> None:
    assert len(resolve(f"{nets}:a_list", input_shape=(1, 2)).spec.outputs) == 2


def test_network_is_put_into_evaluation_mode(nets: Path) -> None:
    source = resolve(f"{nets}:training", input_shape=(1, 3, 2, 2))
    assert source.module is not None
    assert not any(module.training for module in source.module.modules())


class InPlace(nn.Module):
    """Writes into its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.add_(1).mul_(2)


def test_module_in_memory() -> None:
    source = resolve(InPlace(), input_shape=(1, 4))
    assert source.spec.name == "inplace"
    x = np.ones((1, 4), np.float32)
    with reference_of(source) as reference:
        first, second = reference.run({"input": x})["output"], reference.run({"input": x})["output"]
    assert first.tolist() == second.tolist() == [[4, 4, 4, 4]]
    assert x.tolist() == [[1, 1, 1, 1]]


def test_onnx_outputs_are_inferred_not_believed(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [
            helper.make_tensor_value_info("s", TensorProto.INT64, None),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [7, 7]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "Net.ONNX")
    source = resolve(tmp_path / "Net.ONNX", input_shape=(2, 3, 4, 4))
    assert source.spec.name == "Net"
    assert sizes(source) == (
        [("x", (2, 3, 4, 4), "float32")],
        [("s", (4,), "int64"), ("y", (2, 3, 4, 4), "float32")],
    )


def onnx_with_outputs(path: Path, names: list[str]) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in names],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize(("names", "message"), [([], "no outputs"), (["y", "y"], "two outputs called 'y'")])
def test_onnx_outputs_that_cannot_be_told_apart(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        resolve(onnx_with_outputs(tmp_path / "net.onnx", names))
    assert "net.onnx" in caught.value.message
    assert caught.value.hint


def refused(model: object, kind: type[ToolchainError], message: str, shape: object = (1, 3)) -> None:
    with pytest.raises(kind, match=message) as caught:
        resolve(model, input_shape=shape)  # type: ignore[arg-type]
    assert type(caught.value) is kind
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("factory", "kind", "message"),
    [
        ("returns_dict", UnsupportedError, "returns dict"),
        ("returns_none", UnsupportedError, "returns NoneType"),
        ("returns_nested", UnsupportedError, "returns tuple"),
        ("returns_nothing", UnsupportedError, "no outputs"),
        ("twins", UnsupportedError, "two outputs called 'y'"),
        ("on_meta", UsageError, "device 'meta'"),
        ("no_module", UsageError, "is a int, not a torch.nn.Module"),
        ("exits", UsageError, "failed: SystemExit: 0"),
        ("raises_nothing", UsageError, "failed: RuntimeError$"),
        ("raises_many_lines", UsageError, "failed: RuntimeError: first line$"),
        ("forward_exits", UsageError, "SystemExit: 0"),
        ("forward_raises", UsageError, r"input float32 1x3\): ValueError$"),
        ("needs_argument", UsageError, "missing 1 required positional argument"),
        ("not_callable", UsageError, "has no function 'not_callable'"),
        ("missing", UsageError, "has no function 'missing'"),
        ("two", UsageError, "missing 1 required positional argument"),
    ],
)
def test_factories_that_make_no_network(factory: str, kind: type, message: str, nets: Path) -> None:
    refused(f"{nets}:{factory}", kind, message)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("bad_name", "cannot be part of a file name"),
        ("no_name", "cannot be part of a file name"),
        ("bad_task", "unknown task 'segmentaton'"),
        ("bad_type", "no such type: 'float13'"),
        ("no_classes", "classes must be on axis 1"),
    ],
)
def test_contracts_that_cannot_be_kept(factory: str, message: str, nets: Path) -> None:
    refused(f"{nets}:{factory}", UsageError, message, shape=None)


def test_missing_factory_lists_those_of_the_file(nets: Path) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(f"{nets}:mkae")
    assert caught.value.hint.startswith("it has: Apply, conv, lazy")
    assert "ModelSpec" not in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("def broken(:", "SyntaxError"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise ValueError", "ValueError$"),
    ],
)
def test_files_that_cannot_be_imported(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(content)
    refused(f"{tmp_path / 'net.py'}:make", UsageError, message)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("", None, "neither a zoo name"),
        ("tests", None, "unknown model|neither a zoo name"),
        (":", None, "not the name of a module"),
        ("..:make", None, "not the name of a module"),
        ("no.such.module:make", None, "No module named 'no'"),
        ("none.py:make", None, "no file 'none.py'"),
        ("none.onnx", None, "none.onnx"),
        ("torch.nn:ReLU", (1, 3, 10**6, 10**6), "does not take inputs|allocate"),
        ("lenet", (1, 1), "has rank 4, not 2"),
        ("lenet", {"picture": (1, 1, 28, 28)}, "no input 'picture'"),
        ("lenet", (1, 3, 28, 28), "does not take inputs"),
    ],
)
def test_what_is_no_model_is_one_line_with_a_hint(
    model: str, shape: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(model, UsageError, message, shape)


def test_a_module_of_unknown_input_shape_is_told_apart() -> None:
    refused("torch.nn:ReLU", UnknownShapeError, "shape of the input", None)


def test_onnx_file_that_quantizes_at_run_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dynamic.onnx"
    graph = helper.make_graph(
        [helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"], name="run_time")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    refused(str(path), UnsupportedOpsError, "run_time", None)


def test_weights_for_an_onnx_file_are_refused(cnn: Path) -> None:
    with pytest.raises(UsageError, match="carries its own") as caught:
        resolve(cnn, cnn)
    assert caught.value.hint

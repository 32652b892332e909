"""Files come in checked and static, or not at all."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, external_data_helper, helper

from toolchain.converters.graph import clean, load_onnx
from toolchain.errors import ToolchainError, UnsupportedError, UsageError

WEIGHT = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)


@pytest.fixture
def convolution(graphs):
    """A model whose input has a symbolic batch."""
    return graphs.build('(float["N",3,6,6] x) => (float["N",4,4,4] y) { y = Conv(x, w) }', w=WEIGHT)


def write(folder, model):
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def test_a_sound_file_keeps_its_numbers(graphs, tmp_path, convolution):
    model = load_onnx(write(tmp_path, convolution), (2, 3, 6, 6))
    clean(model)
    assert tuple(model.graph.outputs[0].shape) == (2, 4, 4, 4)
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 3, 6, 6)).astype(np.float32)}
    wanted, found = graphs.run(convolution, feeds)[0], graphs.run(graphs.proto(model), feeds)[0]
    assert np.array_equal(wanted, found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, world", "is not an ONNX file"),
        (b"\x00\x01\x02\x03" * 20, "is not an ONNX file"),
        (b"\x1c\x00\x00\x00TFL3" + b"\x00" * 30, "a TFLite model"),
        (b"PK\x03\x04rest of a zip", "a zip archive"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\x08\x0a", "is not an ONNX file: it holds no graph"),
        (b"\x08\x0a\x3a\xff\xff\x03", "truncated or corrupt"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match=message) as caught:
        load_onnx(path)
    assert caught.value.hint


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path, convolution, share):
    path = write(tmp_path, convolution)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnsupportedError, match=r"truncated or corrupt|not a valid"):
        load_onnx(path)


def test_weights_stored_number_by_number_are_read(graphs, tmp_path, convolution):
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 6, 6)).astype(np.float32)}
    wanted = graphs.run(convolution, feeds)[0]
    tensor = convolution.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.float_data.extend(WEIGHT.ravel())
    model = load_onnx(write(tmp_path, convolution), (1, 3, 6, 6))
    assert np.array_equal(graphs.run(graphs.proto(model), feeds)[0], wanted)
    del tensor.float_data[5:]
    with pytest.raises(UnsupportedError, match="'w' is corrupt"):
        load_onnx(write(tmp_path, convolution), (1, 3, 6, 6))


def test_a_missing_file_and_a_folder_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        load_onnx(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_onnx(tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_crash(tmp_path, convolution, data):
    content = bytearray(convolution.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        # Damage goes into the structure, not into the numbers of the weight.
        place = data.draw(st.one_of(st.integers(0, 60), st.integers(len(content) - 160, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.onnx"
    path.write_bytes(bytes(content))
    with contextlib.suppress(ToolchainError):
        clean(load_onnx(path, (1, 3, 6, 6)))


def rename(model, end: str) -> None:
    getattr(model.graph.node[0], end)[0] = "z"


BROKEN = {
    "wrong size": (lambda m: setattr(m.graph.initializer[0], "raw_data", bytes(40)), "'w' is corrupt"),
    "no weight": (lambda m: m.graph.initializer[0].ClearField("raw_data"), "'w' is corrupt|not a valid"),
    "no opset": (lambda m: m.ClearField("opset_import"), "not a valid ONNX model"),
    "an output that nothing computes": (lambda m: rename(m, "output"), "not a valid|contradicts"),
    "an input that nothing computes": (lambda m: rename(m, "input"), "not a valid ONNX model"),
    "an unknown operator": (lambda m: setattr(m.graph.node[0], "op_type", "Nonsense"), "Nonsense"),
    "an unknown attribute": (
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("extra", 1)),
        "not a valid ONNX model",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN)
def test_invalid_models_are_refused(tmp_path, convolution, damage, message):
    damage(convolution)
    with pytest.raises(UnsupportedError, match=message):
        load_onnx(write(tmp_path, convolution), (1, 3, 6, 6))


def test_sparse_weights_are_refused(tmp_path, graphs):
    model = graphs.build("(float[2] x) => (float[2] y) { y = Add(x, s) }")
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [3.0])
    indices = helper.make_tensor("s_indices", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2]))
    with pytest.raises(UnsupportedError, match="the constant 's' is sparse"):
        load_onnx(write(tmp_path, model))


def external(folder, model, location: str):
    """Write the weight of the model to a file of its own, and say that it lies at `location`."""
    tensor = model.graph.initializer[0]
    external_data_helper.set_external_data(tensor, location, offset=0, length=len(tensor.raw_data))
    (folder / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_external_data_is_read_from_the_folder_of_the_model(graphs, tmp_path, convolution):
    wanted = graphs.run(convolution, {"x": np.ones((1, 3, 6, 6), np.float32)})[0]
    model = load_onnx(external(tmp_path, convolution, "weights.bin"), (1, 3, 6, 6))
    clean(model)
    found = graphs.run(graphs.proto(graphs.inside(model)), {"x": np.ones((1, 3, 6, 6), np.float32)})[0]
    assert np.array_equal(wanted, found)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "a/../../x", "", "link.bin"])
def test_external_data_elsewhere_is_refused(tmp_path, convolution, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
    os.symlink(tmp_path / "weights.bin", folder / "link.bin")
    with pytest.raises(UnsupportedError, match="outside of the model's folder"):
        load_onnx(external(folder, convolution, location), (1, 3, 6, 6))


def test_missing_external_data_is_named(tmp_path, convolution):
    with pytest.raises(UsageError, match=r"the external data file 'none.bin' is missing \(for 'w'\)"):
        load_onnx(external(tmp_path, convolution, "none.bin"), (1, 3, 6, 6))


def test_short_external_data_is_refused(tmp_path, convolution):
    path = external(tmp_path, convolution, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes()[:-4])
    with pytest.raises(UnsupportedError, match="does not hold the 432 bytes of 'w'"):
        load_onnx(path, (1, 3, 6, 6))


def test_functions_are_inlined(graphs, tmp_path):
    function = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 18)],
    )
    model = graphs.build("(float[2] x) => (float[2] y) { t = local.Twice(x) y = local.Twice(t) }")
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    loaded = load_onnx(write(tmp_path, model))
    clean(loaded)
    assert graphs.ops(loaded) == {"Add": 2}
    graphs.assert_same(model, loaded)


def test_weights_among_the_inputs_are_weights(graphs, tmp_path, convolution):
    convolution.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHT.shape))
    model = load_onnx(write(tmp_path, convolution), (1, 3, 6, 6))
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_stale_shapes_inside_the_file_are_not_believed(graphs, tmp_path):
    model = graphs.build("(float[1,3,6,6] x) => (float[1,3,6,6] y) { a = Relu(x) y = Neg(a) }")
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 3, 9, 9]))
    loaded = load_onnx(write(tmp_path, model))
    clean(loaded)
    assert tuple(next(iter(loaded.graph)).outputs[0].shape) == (1, 3, 6, 6)


SHAPED = [
    ("x", (2, 3, 5), None, (2, 3, 5)),
    ("x", ("N", 3, 5), (4, 3, 5), (4, 3, 5)),
    ("x", ("N", 3, 5), {"x": (4, 3, 5)}, (4, 3, 5)),
    ("x", (None, None, None), (1, 2, 3), (1, 2, 3)),
    ("x", (-1, 3, 0), (1, 3, 7), (1, 3, 7)),
    ("x", None, (1, 2, 3), (1, 2, 3)),
]


def with_inputs(*inputs):
    """A model that negates each of its inputs."""
    nodes = [helper.make_node("Neg", [name], [f"{name}_out"], name=f"neg_{name}") for name, _ in inputs]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None) for name, _ in inputs],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


@pytest.mark.parametrize(("name", "declared", "given", "wanted"), SHAPED)
def test_input_shapes(tmp_path, name, declared, given, wanted):
    model = load_onnx(write(tmp_path, with_inputs((name, declared))), given)
    clean(model)
    assert tuple(model.graph.inputs[0].shape) == wanted
    assert tuple(model.graph.outputs[0].shape) == wanted


WRONG = [
    ([("x", ("N", 3))], None, "input 'x' of .* has a dynamic shape: Nx3"),
    ([("x", None)], None, "of unknown rank"),
    ([("x", ("N", 3))], (1, 3, 4), r"has 2 axes \(\?x3\); 1x3x4 does not fit"),
    ([("x", ("N", 3))], (1, 4), "which 1x4 contradicts: axis 1 is 3"),
    ([("x", ("N", 3))], (0, 3), "is not a shape"),
    ([("x", ("N", 3))], (1.5, 3), "is not a shape"),
    ([("x", ("N", 3))], {"z": (1, 3)}, "has no input 'z'"),
    ([("x", ("N", 3)), ("y", ("M", 3))], (1, 3), "so that one shape is not enough: x [?]x3, y [?]x3"),
    ([("x", ("N", 3)), ("y", ("M", 3))], {"x": (1, 3)}, "input 'y' of .* dynamic shape: Mx3"),
    ([("x", ("N", 3)), ("y", ("N", 3))], {"x": (1, 3), "y": (2, 3)}, "axis 0 is 1 .'N' in another input"),
]


@pytest.mark.parametrize(("inputs", "given", "message"), WRONG)
def test_shapes_that_do_not_fit(tmp_path, inputs, given, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_onnx(write(tmp_path, with_inputs(*inputs)), given)
    assert caught.value.hint


def test_one_shape_is_enough_for_the_only_dynamic_input(tmp_path):
    model = load_onnx(write(tmp_path, with_inputs(("x", (2, 3)), ("y", ("N", 3)))), (5, 3))
    assert [tuple(value.shape) for value in model.graph.inputs] == [(2, 3), (5, 3)]


def test_a_symbol_means_the_same_in_every_input(tmp_path):
    model = load_onnx(write(tmp_path, with_inputs(("x", ("N", 3)), ("y", ("N", 4)))), {"x": (5, 3)})
    assert [tuple(value.shape) for value in model.graph.inputs] == [(5, 3), (5, 4)]


def test_nothing_is_printed_or_logged(tmp_path, convolution, capfd, caplog):
    convolution.graph.node[0].input[0] = "unknown"
    with pytest.raises(UnsupportedError):
        load_onnx(write(tmp_path, convolution), (1, 3, 6, 6))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records

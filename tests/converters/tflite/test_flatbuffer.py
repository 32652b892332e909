"""The bytes of the file: alignment, sharing, versions, codes, names; read back with the schema itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.tflite import flatbuffer
from toolchain.converters.tflite.flatbuffer import IDENTIFIER, TENSOR_TYPES, serialize
from toolchain.converters.tflite.program import Op, Operator, Program, Tensor
from toolchain.converters.tflite.reader import read_tflite
from toolchain.errors import UnsupportedError

FLOAT = np.dtype(np.float32)


def adding(*constants: np.ndarray, width: int = 3) -> Program:
    """Adds each of the constants to x, one ADD after the other."""
    program = Program()
    x = Tensor("x", (1, width), FLOAT)
    program.inputs.append(x)
    for index, constant in enumerate(constants):
        held = Tensor(f"c{index}", constant.shape, constant.dtype, constant)
        y = Tensor(f"y{index}", (1, width), FLOAT)
        program.operators.append(Operator(Op.ADD, [x, held], [y], schema.AddOptionsT()))
        x = y
    program.outputs.append(x)
    return program


def parse(data: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(data, 0)


def buffer_starts(data: bytes) -> list[int]:
    """Where the bytes of each filled buffer begin in the file."""
    model = schema.Model.GetRootAs(data, 0)
    starts = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            table = buffer._tab
            starts.append(table.Vector(table.Offset(4)))
    return starts


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.binary(max_size=33))
def test_every_buffer_starts_at_a_multiple_of_16(sizes: list[int], blob: bytes) -> None:
    random = np.random.default_rng(0)
    constants = [random.integers(-9, 9, size).astype(np.int8) for size in sizes]
    data = serialize(adding(*constants), "text", {"NOTE": blob})
    starts = buffer_starts(data)
    assert len(starts) == len({constant.tobytes() for constant in constants}) + bool(blob)
    assert all(start % 16 == 0 for start in starts)


def test_file_has_its_identifier_and_schema_version() -> None:
    data = serialize(adding(np.ones(3, np.float32)), "made by a test")
    assert data[4:8] == IDENTIFIER == b"TFL3"
    model = parse(data)
    assert model.version == 3
    assert model.description == b"made by a test"


def test_interpreter_computes_the_program() -> None:
    constants = [np.array([1, 2, 3], np.float32), np.array([10, 20, 30], np.float32)]
    interpreter = Interpreter(model_content=serialize(adding(*constants)))
    run = interpreter.get_signature_runner("serving_default")
    result = run(x=np.array([[0.5, 0.5, 0.5]], np.float32))
    assert list(result) == ["y1"]
    np.testing.assert_array_equal(result["y1"], [[11.5, 22.5, 33.5]])


@pytest.mark.parametrize(
    ("constants", "buffers"),
    [
        ([np.ones(3, np.float32)] * 2, 1),
        ([np.ones(3, np.float32), np.ones(3, np.float32)], 1),
        ([np.ones(3, np.float32), np.zeros(3, np.float32)], 2),
        # The same bytes, but of another type.
        ([np.zeros(3, np.float32), np.zeros(3, np.int32)], 2),
        # Large constants are not compared.
        ([np.ones((1, 300), np.float32), np.ones((1, 300), np.float32)], 2),
    ],
)
def test_small_equal_constants_share_a_buffer(constants: Sequence[np.ndarray], buffers: int) -> None:
    model = parse(serialize(adding(*constants, width=constants[0].size)))
    filled = [buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data)]
    assert len(filled) == buffers
    assert model.buffers[0].data is None or len(model.buffers[0].data) == 0
    for tensor, constant in zip(
        [t for t in model.subgraphs[0].tensors if t.name[:1] == b"c"], constants, strict=True
    ):
        assert model.buffers[tensor.buffer].data.tobytes() == constant.tobytes()


def test_constant_without_elements_is_no_activation() -> None:
    model = parse(serialize(adding(np.ones(3, np.float32), np.zeros(0, np.float32))))
    [empty] = [tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"c1"]
    assert empty.buffer != 0


def test_operator_codes_are_shared_by_code_and_version() -> None:
    program = adding(*[np.full(3, value, np.float32) for value in range(3)])
    program.operators[2].version = 4
    model = parse(serialize(program))
    assert [(code.builtinCode, code.version) for code in model.operatorCodes] == [(Op.ADD, 1), (Op.ADD, 4)]
    assert [operator.opcodeIndex for operator in model.subgraphs[0].operators] == [0, 0, 1]


@pytest.mark.parametrize(
    ("code", "short"), [(Op.ADD, 0), (Op.CUMSUM, 127), (Op.BATCH_MATMUL, 126), (Op.GELU, 127), (Op.SIGN, 127)]
)
def test_old_field_holds_the_code_or_its_marker(code: int, short: int) -> None:
    program = adding(np.ones(3, np.float32))
    program.operators[0].code, program.operators[0].options = code, None
    [entry] = parse(serialize(program)).operatorCodes
    assert entry.builtinCode == code
    assert entry.deprecatedBuiltinCode == short
    assert read_tflite(serialize(program), "x").operators[0].code == code


def test_signature_has_the_names_and_the_order() -> None:
    left, right = (Tensor(name, (1, 3), FLOAT) for name in ("left é", "right/0"))
    total = Tensor("total", (1, 3), FLOAT)
    program = Program(
        [left, right], [total], [Operator(Op.ADD, [right, left], [total], schema.AddOptionsT())]
    )
    model = parse(serialize(program))
    [signature] = model.signatureDefs
    graph = model.subgraphs[0]
    assert signature.signatureKey == b"serving_default"
    for maps, indices, names in (
        (signature.inputs, graph.inputs, ["left é", "right/0"]),
        (signature.outputs, graph.outputs, ["total"]),
    ):
        assert [entry.name.decode() for entry in maps] == names
        assert [entry.tensorIndex for entry in maps] == list(indices)
        assert [graph.tensors[index].name.decode() for index in indices] == names


def test_left_out_input_is_minus_one() -> None:
    program = adding(np.ones(3, np.float32))
    program.operators[0].inputs.append(None)
    assert list(parse(serialize(program)).subgraphs[0].operators[0].inputs)[-1] == -1
    assert read_tflite(serialize(program), "x").operators[0].inputs[-1] == -1


@settings(deadline=None, max_examples=25)
@given(
    st.dictionaries(st.text(min_size=1, max_size=9), st.binary(min_size=1, max_size=50), max_size=3),
    st.sampled_from(sorted(TENSOR_TYPES)),
    st.lists(st.integers(1, 4), max_size=4).map(tuple),
)
def test_what_is_written_is_read(metadata: dict[str, bytes], dtype: str, shape: tuple[int, ...]) -> None:
    constant = np.ones(shape, dtype)
    x, y = Tensor("in", shape, constant.dtype), Tensor("out", shape, constant.dtype)
    held = Tensor("held", shape, constant.dtype, constant)
    program = Program([x], [y], [Operator(Op.MAXIMUM, [x, held], [y], schema.MaximumMinimumOptionsT())])
    found = read_tflite(serialize(program, "", metadata), "x")
    assert found.metadata == metadata
    assert [(t.name, t.shape, t.dtype) for t in found.inputs] == [("in", shape, dtype)]
    assert [(t.name, t.shape, t.dtype) for t in found.outputs] == [("out", shape, dtype)]
    assert [(t.name, t.shape, t.constant) for t in found.tensors] == [
        ("in", shape, False),
        ("held", shape, True),
        ("out", shape, False),
    ]
    assert found.histogram() == {"MAXIMUM": 1}
    assert [(o.code, o.inputs, o.outputs) for o in found.operators] == [(Op.MAXIMUM, (0, 1), (2,))]


def test_too_many_constants_are_refused_before_they_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatbuffer, "MAX_BYTES", 1000)
    with pytest.raises(UnsupportedError, match="2 GB") as caught:
        serialize(adding(np.ones((1, 300), np.float32), width=300))
    assert "fp16" in caught.value.hint

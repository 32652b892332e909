"""Reading files that nobody vouches for: every damage is one known error, quickly and in little memory."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.converters.tflite.flatbuffer import IDENTIFIER, serialize
from toolchain.converters.tflite.program import Op, Operator, Program, Tensor
from toolchain.converters.tflite.reader import StoredProgram, read_tflite
from toolchain.errors import UnsupportedError

FLOAT = np.dtype(np.float32)


def small_program(bias: float = 1.0) -> Program:
    """A convolution and a product of two activations."""
    x = Tensor("x", (1, 4, 4, 3), FLOAT)
    weights = Tensor("w", (2, 1, 1, 3), FLOAT, np.ones((2, 1, 1, 3), np.float32))
    added = Tensor("b", (2,), FLOAT, np.full(2, bias, np.float32))
    y, z = Tensor("y", (1, 4, 4, 2), FLOAT), Tensor("z", (1, 4, 2, 2), FLOAT)
    options = schema.BatchMatMulOptionsT()
    options.adjX = True
    return Program(
        [x],
        [z],
        [
            Operator(Op.CONV_2D, [x, weights, added], [y], schema.Conv2DOptionsT()),
            Operator(Op.BATCH_MATMUL, [y, y], [z], options),
        ],
    )


@pytest.fixture(scope="module")
def data() -> bytes:
    return serialize(small_program(), "small", {"NOTE": b"a note"})


def outcome(data: bytes) -> StoredProgram | UnsupportedError:
    """What reading gives, with all figures computed; any other exception goes through."""
    try:
        program = read_tflite(data, "it.tflite")
        program.parameters(), program.macs(), program.histogram()
    except UnsupportedError as error:
        return error
    return program


def test_figures_of_the_sound_file(data: bytes) -> None:
    program = read_tflite(data, "x")
    assert program.histogram() == {"CONV_2D": 1, "BATCH_MATMUL": 1}
    # The left matrices are stored transposed: their second last axis, of 4, is summed up.
    assert program.macs() == 4 * 4 * 2 * 3 + 4 * 2 * 2 * 4
    assert program.parameters() == 6 + 2
    assert program.metadata == {"NOTE": b"a note"}


def test_bias_of_zeros_is_no_parameter() -> None:
    assert read_tflite(serialize(small_program(bias=0.0)), "x").parameters() == 6


def test_every_truncation_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        found = outcome(data[:length])
        # Only padding can be missing without being missed.
        assert isinstance(found, UnsupportedError) or not any(data[length:])
        if isinstance(found, UnsupportedError):
            assert "it.tflite" in found.message
            assert found.hint


def test_every_flipped_byte_is_read_or_refused(data: bytes) -> None:
    for place in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= mask
            outcome(bytes(damaged))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_words_overwritten_at_random(data: bytes, choice: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(choice.draw(st.integers(1, 4))):
        place = choice.draw(st.integers(0, len(data) // 4 - 1)) * 4
        word = choice.draw(
            st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]) | st.integers(0, 2**32 - 1)
        )
        damaged[place : place + 4] = struct.pack("<I", word)
    outcome(bytes(damaged))


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=400))
def test_bytes_behind_the_identifier(content: bytes) -> None:
    assert isinstance(
        outcome(content[:4].ljust(4, b"\0") + IDENTIFIER + content[4:]), StoredProgram | UnsupportedError
    )


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL4", b"PK\x03\x04" + b"\0" * 40])
def test_other_files_are_told_from_damaged_ones(content: bytes) -> None:
    with pytest.raises(UnsupportedError, match=r"'x' is not a \.tflite file"):
        read_tflite(content, "x")


def changed(data: bytes, change) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    change(model, model.subgraphs[0])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def faults() -> Iterator[tuple[str, object]]:
    def on_graph(name: str, value: object):
        return lambda model, graph: setattr(graph, name, value)

    def on_operator(name: str, value: object):
        return lambda model, graph: setattr(graph.operators[0], name, value)

    def on_tensor(name: str, value: object):
        return lambda model, graph: setattr(graph.tensors[0], name, value)

    yield "no graph", lambda model, graph: setattr(model, "subgraphs", [])
    yield "input does not exist", on_graph("inputs", [99])
    yield "input is negative", on_graph("inputs", [-1])
    yield "output is negative", on_graph("outputs", [-2])
    yield "operand does not exist", on_operator("inputs", [0, 1, 99])
    yield "operand is below -1", on_operator("inputs", [0, -2])
    yield "result is left out", on_operator("outputs", [-1])
    yield "no operands", on_operator("inputs", [])
    yield "no results", on_operator("outputs", [])
    yield "no weights", on_operator("inputs", [0, -1, 2])
    yield "operator has no code", on_operator("opcodeIndex", 7)
    yield "no codes", lambda model, graph: setattr(model, "operatorCodes", [])
    yield "negative size", on_tensor("shape", [1, -4, 4, 3])
    yield "buffer does not exist", on_tensor("buffer", 99)
    yield "name is no text", on_tensor("name", b"\xff\xfe")


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in faults()])
def test_contradictions_are_refused(change, data: bytes) -> None:
    with pytest.raises(UnsupportedError, match=r"'x' is a damaged \.tflite file"):
        read_tflite(changed(data, change), "x")


def overlapping(operators: int, operands: int) -> bytes:
    """A file in which many operators are one and the same table with a long list of operands."""
    builder = flatbuffers.Builder(1024)
    schema.OperatorStartInputsVector(builder, operands)
    for _ in range(operands):
        builder.PrependInt32(0)
    vector = builder.EndVector()
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, vector)
    one = schema.OperatorEnd(builder)
    schema.SubGraphStartOperatorsVector(builder, operators)
    for _ in range(operators):
        builder.PrependUOffsetTRelative(one)
    many = builder.EndVector()
    name = builder.CreateString("n" * operands)
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, operators)
    for _ in range(operators):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, many)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 1)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.BufferStart(builder)
    buffer = schema.BufferEnd(builder)
    schema.ModelStartBuffersVector(builder, 1)
    builder.PrependUOffsetTRelative(buffer)
    buffers = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), IDENTIFIER)
    return bytes(builder.Output())


def test_file_that_holds_more_than_its_size_is_refused() -> None:
    """Without a limit this one would fill 20 GB: a hundred thousand names of 200 kB, all the same bytes."""
    data = overlapping(100_000, 200_000)
    tracemalloc.start()
    with pytest.raises(UnsupportedError, match="overlap"):
        read_tflite(data, "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(data) + 2**20


def test_external_constant_counts_as_one(data: bytes) -> None:
    """Files beyond 2 GB keep constants behind the flatbuffer."""

    def move(model: schema.ModelT, graph: schema.SubGraphT) -> None:
        held = model.buffers[graph.tensors[1].buffer]
        held.data, held.offset, held.size = None, 4096, 24

    assert read_tflite(changed(data, move), "x").tensors[1].constant
    assert read_tflite(changed(data, move), "x").parameters() == 8

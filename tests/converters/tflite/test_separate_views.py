"""Runtimes overwrite a tensor through a view of it, unless the program keeps them from it."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from toolchain.converters.tflite.flatbuffer import serialize
from toolchain.converters.tflite.program import Op, Operator, Program, Tensor
from toolchain.converters.tflite.separate_views import separate_views

OPTIONS = {
    Op.ADD: schema.AddOptionsT,
    Op.SUB: schema.SubOptionsT,
    Op.MUL: schema.MulOptionsT,
    Op.DIV: schema.DivOptionsT,
    Op.MAXIMUM: schema.MaximumMinimumOptionsT,
}
X = np.arange(2, 26, dtype=np.int32).reshape(4, 6)


class Builder:
    """Appends operators on int32 tensors to a program with the input (4, 6)."""

    def __init__(self) -> None:
        self.program = Program()
        self.x = self.tensor((4, 6))
        self.program.inputs.append(self.x)

    def tensor(self, shape, data=None) -> Tensor:
        self.count = getattr(self, "count", 0) + 1
        return Tensor(f"t{self.count}", tuple(shape), np.dtype(np.int32), data)

    def constant(self, values) -> Tensor:
        data = np.asarray(values, np.int32)
        return self.tensor(data.shape, data)

    def emit(self, code, inputs, shape, options=None) -> Tensor:
        made = self.tensor(shape)
        self.program.operators.append(Operator(code, inputs, [made], options))
        return made

    def with_number(self, code, x: Tensor, number: int) -> Tensor:
        return self.emit(code, [x, self.constant(number)], x.shape, OPTIONS[code]())

    def copy(self, x: Tensor) -> Tensor:
        """An operator that shares no memory: the rows in reverse."""
        rows = self.constant(range(x.shape[0] - 1, -1, -1))
        return self.emit(Op.GATHER, [x, rows], x.shape, schema.GatherOptionsT())

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        return self.emit(Op.RESHAPE, [x, self.constant(shape)], shape, options)

    def finish(self, *outputs: Tensor) -> Program:
        self.program.outputs = list(outputs)
        return self.program


def run(program: Program, keep: bool) -> list[np.ndarray]:
    """The outputs; with `keep` every tensor has memory of its own."""
    interpreter = Interpreter(
        model_content=serialize(program),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=keep,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], X)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def behind_an_addition(code: int) -> Program:
    """The sum is needed after an operator could write over it through its view."""
    builder = Builder()
    total = builder.with_number(Op.ADD, builder.copy(builder.x), 1)
    changed = builder.with_number(code, builder.reshape(total, 6, 4), 3)
    return builder.finish(builder.copy(changed), builder.copy(total))


def behind_a_reshape(code: int) -> Program:
    builder = Builder()
    flat = builder.reshape(builder.copy(builder.x), 24)
    changed = builder.with_number(code, builder.reshape(flat, 6, 4), 3)
    return builder.finish(builder.copy(changed), builder.copy(flat))


def two_views(code: int) -> Program:
    """The other reader reads another view, which is made before."""
    builder = Builder()
    total = builder.with_number(Op.ADD, builder.copy(builder.x), 1)
    other = builder.reshape(total, 2, 12)
    changed = builder.with_number(code, builder.reshape(total, 6, 4), 3)
    return builder.finish(builder.copy(changed), builder.copy(other))


def equal_views(code: int) -> Program:
    builder = Builder()
    total = builder.with_number(Op.ADD, builder.copy(builder.x), 1)
    other = builder.reshape(total, 6, 4)
    changed = builder.with_number(code, builder.reshape(total, 6, 4), 3)
    return builder.finish(builder.copy(changed), builder.copy(other))


def output_itself(code: int) -> Program:
    builder = Builder()
    total = builder.with_number(Op.ADD, builder.copy(builder.x), 1)
    changed = builder.with_number(code, builder.reshape(total, 6, 4), 3)
    return builder.finish(builder.copy(changed), total)


def chain(code: int) -> Program:
    builder = Builder()
    total = builder.with_number(Op.ADD, builder.copy(builder.x), 1)
    view = builder.reshape(builder.reshape(builder.reshape(total, 24), 2, 12), 6, 4)
    changed = builder.with_number(code, view, 3)
    again = builder.with_number(code, builder.reshape(changed, 24), 2)
    return builder.finish(builder.copy(again), builder.copy(changed), builder.copy(total))


PROGRAMS = [behind_an_addition, behind_a_reshape, two_views, equal_views, output_itself, chain]


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("code", [Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MAXIMUM])
def test_nothing_is_overwritten(make, code):
    expected = run(make(code), keep=True)
    program = make(code)
    separate_views(program)
    for found, wanted in zip(run(program, keep=False), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert not separate_views(program)


def test_safe_programs_stay():
    builder = Builder()
    total = builder.with_number(Op.ADD, builder.copy(builder.x), 1)
    kept = builder.copy(total)
    changed = builder.with_number(Op.MUL, builder.reshape(total, 6, 4), 3)
    program = builder.finish(builder.copy(changed), kept)
    assert not separate_views(program)
    assert [operator.name for operator in program.operators].count("SLICE") == 0


def test_chains_of_reshapes_become_one():
    builder = Builder()
    view = builder.reshape(builder.reshape(builder.copy(builder.x), 24), 6, 4)
    program = builder.finish(builder.copy(view))
    assert separate_views(program)
    assert [operator.name for operator in program.operators] == ["GATHER", "RESHAPE", "GATHER"]

"""Keep runtimes from overwriting a tensor through a view of it.

TensorFlow Lite's memory planner lets RESHAPE share the memory of its input, and ADD, SUB, MUL and DIV
write over an operand that nothing else reads. Before it lets an operator write, it looks at the readers
of the operand and of the tensor that owns the memory, but not at tensors in between. So this is
computed wrong by the built-in kernels of all runtimes from 2.14 on:

    a -> ADD -> b -> RESHAPE -> v -> MUL -> w        MUL writes over b
                b -> CONV_2D (later)                 and this reads it
"""

from __future__ import annotations

from math import prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.op_version import lowest_version
from toolchain.converters.tflite.program import Op, Operator, Program, Tensor

# Operators that the planner lets write over an operand.
OVERWRITING = frozenset({Op.ADD, Op.SUB, Op.MUL, Op.DIV})


def separate_views(program: Program) -> bool:
    """Copy what an operator could overwrite through a view while it is still needed.

    ```
    b -> RESHAPE -> v -> MUL        b -> RESHAPE -> SLICE -> v -> MUL
    ```

    1. A RESHAPE of a RESHAPE reads the first one's input, equal RESHAPEs become one, and those that keep
       the shape go: then only views of results of OVERWRITING operators are in danger, and nothing else
       lies between view and owner.
    2. Of those, a view with one reader that is OVERWRITING gets a copy (a SLICE of everything) if the
       viewed tensor, or another view of it, is read later or is an output.

    Returns:
        Whether anything changed.
    """
    changed = _read_base(program)
    changed |= _merge_equal(program)
    return _copy_endangered(program) or changed


def _producers(program: Program) -> dict[int, Operator]:
    return {id(made): operator for operator in program.operators for made in operator.outputs}


def _readers(program: Program) -> dict[int, list[int]]:
    """Indices of the operators that read a tensor; one past the last for an output of the program."""
    readers: dict[int, list[int]] = {}
    for index, operator in enumerate(program.operators):
        for used in operator.inputs:
            if used is not None:
                readers.setdefault(id(used), []).append(index)
    for tensor in program.outputs:
        readers.setdefault(id(tensor), []).append(len(program.operators))
    return readers


def _read_base(program: Program) -> bool:
    """Let every RESHAPE read what is not itself the result of a RESHAPE; drop those that nothing reads."""
    producers = _producers(program)
    changed = False
    for operator in program.operators:
        source = operator.inputs[0] if operator.code == Op.RESHAPE else None
        before = producers.get(id(source))
        if before is not None and before.code == Op.RESHAPE:
            operator.inputs[0] = before.inputs[0]
            changed = True
    if changed:
        _drop_unread(program)
    return changed


def _drop_unread(program: Program) -> None:
    readers = _readers(program)
    program.operators = [
        operator
        for operator in program.operators
        if operator.code != Op.RESHAPE or readers.get(id(operator.outputs[0]))
    ]


def _merge_equal(program: Program) -> bool:
    """Let one RESHAPE serve all readers of equal ones, and the tensor itself those of its own shape."""
    outputs = {id(tensor) for tensor in program.outputs}
    first: dict[tuple[int, tuple[int, ...]], Tensor] = {}
    replaced: dict[int, Tensor] = {}
    for operator in program.operators:
        operator.inputs = [used if used is None else replaced.get(id(used), used) for used in operator.inputs]
        if operator.code != Op.RESHAPE or id(operator.outputs[0]) in outputs:
            continue
        base, made = operator.inputs[0], operator.outputs[0]
        assert base is not None
        kept = base if base.shape == made.shape else first.setdefault((id(base), made.shape), made)
        if kept is not made:
            replaced[id(made)] = kept
    if replaced:
        _drop_unread(program)
    return bool(replaced)


def _copy_endangered(program: Program) -> bool:
    producers, readers = _producers(program), _readers(program)
    views: dict[int, list[Tensor]] = {}
    for operator in program.operators:
        if operator.code == Op.RESHAPE and operator.inputs[0] is not None:
            views.setdefault(id(operator.inputs[0]), []).append(operator.outputs[0])
    operators: list[Operator] = []
    changed = False
    for operator in program.operators:
        operators.append(operator)
        base = operator.inputs[0] if operator.code == Op.RESHAPE else None
        owner = producers.get(id(base))
        if base is None or owner is None or owner.code not in OVERWRITING:
            continue
        view = operator.outputs[0]
        found = readers.get(id(view), [])
        # An index past the last stands for an output of the program, which is never overwritten.
        if len(found) != 1 or found[0] == len(program.operators):
            continue
        writer = found[0]
        if program.operators[writer].code not in OVERWRITING:
            continue
        others = [tensor for tensor in [base, *views[id(base)]] if tensor is not view]
        if any(index > writer for tensor in others for index in readers.get(id(tensor), [])):
            operators.pop()
            operators += _copied(operator)
            changed = True
    program.operators = operators
    return changed


def _copied(reshape: Operator) -> list[Operator]:
    """The same view with memory of its own: a flat view, its copy, and the shape of that."""
    base, view = reshape.inputs[0], reshape.outputs[0]
    assert base is not None
    count = prod(view.shape)
    made: list[Operator] = []

    def flat(tensor: Tensor, name: str) -> Tensor:
        if len(tensor.shape) == 1:
            return tensor
        return Tensor(f"{view.name}/{name}", (count,), view.dtype, None, view.quantization)

    source, copy = flat(base, "flat"), flat(view, "copy")
    if source is not base:
        made.append(_reshape(base, source))
    begin, size = (
        Tensor(f"{view.name}/{name}", (1,), np.dtype(np.int32), np.array([number], np.int32))
        for name, number in (("begin", 0), ("size", count))
    )
    inputs: list[Tensor | None] = [source, begin, size]
    version = lowest_version(Op.SLICE, inputs, [copy])
    made.append(Operator(Op.SLICE, inputs, [copy], schema.SliceOptionsT(), version))
    if copy is not view:
        made.append(_reshape(copy, view))
    return made


def _reshape(source: Tensor, made: Tensor) -> Operator:
    shape = np.array(made.shape, np.int32)
    options = schema.ReshapeOptionsT()
    options.newShape = shape
    return Operator(
        Op.RESHAPE, [source, Tensor(f"{made.name}/shape", shape.shape, shape.dtype, shape)], [made], options
    )

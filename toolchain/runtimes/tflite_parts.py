"""Cut operators out of a .tflite file, and time files against each other in LiteRT."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from toolchain.errors import UnsupportedError

IDENTIFIER = b"TFL3"
NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
ROUNDS = 15
# Runs of a file are repeated until a clock of microseconds can tell them apart.
LEAST_SECONDS = 0.001
# Slow files get fewer rounds, so that none takes longer than this many seconds, but never fewer than these.
MOST_SECONDS = 3.0
FEWEST_ROUNDS = 3
# Time of the processor, where it is counted finely: other programs that run in between do not count.
_CLOCK = time.thread_time if time.get_clock_info("thread_time").resolution <= 1e-6 else time.perf_counter


def read_parts(data: bytes) -> Any:
    """The objects (`ModelT`) that a .tflite file consists of."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def operator_name(model: Any, operator: Any) -> str:
    """Name of an operator in the schema, for instance "CONV_2D"."""
    code = model.operatorCodes[operator.opcodeIndex]
    return NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def signature(model: Any, operator: Any) -> str:
    """Equal for operators of one kind, with the same options, types and shapes."""
    tensors = model.subgraphs[0].tensors
    ends = [tensors[i] if i >= 0 else None for i in (*operator.inputs, *operator.outputs)]
    shapes = [None if end is None else (end.type, *map(int, end.shape)) for end in ends]
    found = operator.builtinOptions
    options = sorted((name, str(value)) for name, value in vars(found).items()) if found else []
    return f"{operator_name(model, operator)} {shapes} {options}"


def is_constant(model: Any, index: int) -> bool:
    """Whether a tensor of the first subgraph has its values in the file."""
    data = model.buffers[model.subgraphs[0].tensors[index].buffer].data
    return data is not None and len(data) > 0


def part_of(model: Any, operators: Sequence[Any]) -> bytes:
    """A file with some operators of the first subgraph only.

    Its inputs are what they read and do not make, its outputs what they make and other operators read, or
    the network gives.

    Args:
        model: what `read_parts` gives; it is not changed.
        operators: in the order of the file.
    """
    graph = model.subgraphs[0]
    ends = {int(i) for operator in operators for i in (*operator.inputs, *operator.outputs) if i >= 0}
    used = sorted(ends)
    place = {index: number for number, index in enumerate(used)}
    made = [int(i) for operator in operators for i in operator.outputs]
    single, part = schema.ModelT(), schema.SubGraphT()
    single.version, single.subgraphs = model.version, [part]
    single.operatorCodes = model.operatorCodes
    single.buffers = [schema.BufferT()]
    part.tensors, part.inputs = [], []
    for index in used:
        tensor = copy.copy(graph.tensors[index])
        constant = is_constant(model, index)
        if constant:
            single.buffers.append(model.buffers[tensor.buffer])
        elif index not in made:
            part.inputs.append(place[index])
        tensor.buffer = len(single.buffers) - 1 if constant else 0
        part.tensors.append(tensor)
    part.outputs = [place[index] for index in made if index in _read_outside(graph, operators)]
    part.operators = [_placed(operator, place) for operator in operators]
    builder = flatbuffers.Builder(1024)
    builder.Finish(single.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _read_outside(graph: Any, operators: Sequence[Any]) -> set[int]:
    inside = {id(operator) for operator in operators}
    outside = {int(i) for other in graph.operators if id(other) not in inside for i in other.inputs}
    return outside | {int(i) for i in graph.outputs}


def _placed(operator: Any, place: dict[int, int]) -> Any:
    moved = copy.copy(operator)
    moved.inputs = [place[int(i)] if i >= 0 else -1 for i in operator.inputs]
    moved.outputs = [place[int(i)] for i in operator.outputs]
    return moved


def least_milliseconds(files: Sequence[bytes], rounds: int = ROUNDS) -> list[float]:
    """Least time of one run of each .tflite file on one thread; runs of all files take turns.

    Whatever else the computer does only adds time, and the least is disturbed least. Slow files are run fewer
    than `rounds` times. Inputs of floats are random numbers, always the same, others are zeros, which are
    valid indices too.

    Raises:
        UnsupportedError: LiteRT cannot run one.
    """
    interpreters = [_ready(data) for data in files]
    once = [max(_seconds(found, 1), 1e-7) for found in interpreters]
    repeats = [max(1, round(LEAST_SECONDS / seconds)) for seconds in once]
    rounds = min(rounds, max(FEWEST_ROUNDS, int(MOST_SECONDS / max(once))))
    least = [np.inf] * len(files)
    for _ in range(rounds):
        for index, interpreter in enumerate(interpreters):
            least[index] = min(least[index], _seconds(interpreter, repeats[index]))
    return [1000 * float(found) for found in least]


def _ready(data: bytes) -> Interpreter:
    """An interpreter that has run once."""
    try:
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], _input(tuple(detail["shape"]), np.dtype(detail["dtype"])))
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise UnsupportedError(f"LiteRT cannot run it: {str(error).splitlines()[0]}") from error
    return interpreter


def _input(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind != "f":
        return np.zeros(shape, dtype)
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def _seconds(interpreter: Interpreter, repeats: int) -> float:
    start = _CLOCK()
    for _ in range(repeats):
        interpreter.invoke()
    return (_CLOCK() - start) / repeats

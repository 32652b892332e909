"""Judge one case: convert it in both layouts, run it by LiteRT, compare with the stored outputs.

Cases run in worker processes, so that a crash of native code is the verdict on one case, not the end of all.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from toolchain.benchmarks.onnx_backend_cases import Case, DataSet
from toolchain.errors import ToolchainError, UnsupportedOpsError

PASSED = "passed"
PASSED_WITH_CONSTANTS = "passed_with_constants"
REFUSED = "refused"
WRONG = "wrong"
OUTCOMES = (PASSED, PASSED_WITH_CONSTANTS, REFUSED, WRONG)

LAYOUTS = ("nchw", "nhwc")
ENGINES = ("xnnpack", "builtin")
# The two layouts may add up in another order; more than this is a different computation.
LAYOUT_TOLERANCE = 1e-4
# Operators without data: their inputs say how large a constant is.
GENERATORS = frozenset({"BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "Range"})
RUN_TIME = "computed at run time"
TIMEOUT = 300.0


@dataclass(frozen=True)
class Verdict:
    """What became of a case.

    Attributes:
        kind: kind of the case.
        case: its name.
        op: its operator.
        outcome: one of OUTCOMES.
        refusals: pairs (operator, reason), when refused.
        detail: what is wrong, when wrong.
        constants: inputs that were made constants, empty for the case as it stands.
    """

    kind: str
    case: str
    op: str
    outcome: str
    refusals: tuple[tuple[str, str], ...] = ()
    detail: str = ""
    constants: tuple[str, ...] = ()


class MismatchError(Exception):
    """A file that does not run, or not as it should."""


def judge(case: Case) -> Verdict:
    """Convert and run a case as it stands; where that is refused, with its parameters as constants."""
    model = onnx.ModelProto.FromString(case.model)
    first = last = _attempt(case, model, ())
    for names in _parameter_choices(case, model):
        if last.outcome != REFUSED:
            break
        last = _attempt(case, model, names)
    if last.outcome == REFUSED and first is not last and _asks_for_constants(last):
        return first
    return last


def _attempt(case: Case, model: onnx.ModelProto, constants: tuple[str, ...]) -> Verdict:
    verdict = Verdict(case.kind, case.name, case.op, WRONG, constants=constants)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.onnx")
        try:
            if not case.data_sets:
                raise MismatchError("the case has no data")
            for data in case.data_sets:
                _run_and_compare(case, model, path, data, constants)
        except UnsupportedOpsError as error:
            refusals = tuple((refusal.op, refusal.reason) for refusal in error.refusals)
            return replace(verdict, outcome=REFUSED, refusals=refusals)
        except ToolchainError as error:
            reason = error.message.replace(str(path), path.name)
            return replace(verdict, outcome=REFUSED, refusals=((case.op, reason),))
        except MismatchError as error:
            return replace(verdict, detail=str(error))
        except Exception as error:
            return replace(verdict, detail=_crash(error))
    return replace(verdict, outcome=PASSED_WITH_CONSTANTS if constants else PASSED)


def _run_and_compare(
    case: Case, model: onnx.ModelProto, path: Path, data: DataSet, constants: tuple[str, ...]
) -> None:
    inputs, expected = data
    feeds = dict(zip(_input_names(model), inputs, strict=False))
    path.write_bytes(_with_constants(model, feeds, constants).SerializeToString())
    results = [_run(path, _missing_shapes(model, feeds, constants), feeds, layout) for layout in LAYOUTS]
    for layout, engines in zip(LAYOUTS, results, strict=True):
        for engine, found in engines.items():
            compare(found, expected, case.rtol, case.atol, f"{layout}, {engine}")
    _compare_layouts(*results)


def _compare_layouts(first: dict[str, list[np.ndarray]], second: dict[str, list[np.ndarray]]) -> None:
    for engine, expected in first.items():
        for index, (got, wanted) in enumerate(zip(second[engine], expected, strict=True)):
            size = float(np.max(np.abs(wanted), initial=0)) if wanted.dtype == np.float32 else 0.0
            atol = LAYOUT_TOLERANCE * size if np.isfinite(size) else 0.0
            place = f"{LAYOUTS[1]} against {LAYOUTS[0]}, {engine}, output {index}"
            compare([got], [wanted], LAYOUT_TOLERANCE, atol, place)


def _crash(error: Exception) -> str:
    """One line: the exception and where in this package it left."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if f"{os.sep}converters{os.sep}" in code.co_filename:
            place = f"{os.path.basename(code.co_filename)}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next
    return f"crashed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} ({place})"


# Inputs that become constants.


def _input_names(model: onnx.ModelProto) -> list[str]:
    """Inputs of the graph; up to IR version 3 initializers are listed among them, behind the real ones."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in stored]


def _parameter_choices(case: Case, model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Which inputs to make constants, one choice after the other.

    First the integers and scalars behind the first input, then all inputs behind it (weights). The first one
    stays an input, or only constant folding would be judged; operators that have nothing else are GENERATORS.
    """
    if not case.data_sets:
        return []
    feeds = dict(zip(_input_names(model), case.data_sets[0][0], strict=False))
    arrays = {name: value for name, value in feeds.items() if isinstance(value, np.ndarray)}
    if case.op in GENERATORS:
        return [tuple(arrays)]
    behind = list(arrays)[1:]
    small = [name for name in behind if arrays[name].dtype.kind in "iu" or arrays[name].size == 1]
    return [names for names in dict.fromkeys((tuple(small), tuple(behind))) if names]


def _asks_for_constants(verdict: Verdict) -> bool:
    return any(RUN_TIME in reason for _, reason in verdict.refusals)


def _with_constants(model: onnx.ModelProto, feeds: dict[str, Any], names: Sequence[str]) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kept = [value for value in made.graph.input if value.name not in names]
    del made.graph.input[:]
    made.graph.input.extend(kept)
    made.graph.initializer.extend(numpy_helper.from_array(feeds[name], name) for name in names)
    return made


# Converting and running.


def _run(
    path: Path, shapes: dict[str, tuple[int, ...]] | None, feeds: dict[str, Any], layout: str
) -> dict[str, list[np.ndarray]]:
    """Outputs in ONNX's axis order, per engine."""
    from toolchain.converters.graph import clean, load_onnx
    from toolchain.converters.tflite import convert

    graph = load_onnx(path, shapes)
    clean(graph)
    converted = convert(graph, layout=layout)
    # Without XNNPACK, ADD, SUB, MUL and DIV clamp to the largest float even where no activation is asked for.
    engines = ENGINES[:1] if _has_infinity(converted.data, feeds) else ENGINES
    return {engine: _interpret(converted, feeds, engine) for engine in engines}


def _has_infinity(content: bytes, feeds: dict[str, Any]) -> bool:
    """Whether an input or a constant of the file is infinite, as in the masks of attention."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    buffers = [
        model.buffers[t.buffer].data
        for t in model.subgraphs[0].tensors
        if t.type == schema.TensorType.FLOAT32
    ]
    arrays = [np.asarray(data, np.uint8).view(np.float32) for data in buffers if data is not None]
    arrays += [array for array in feeds.values() if getattr(array, "dtype", None) == np.float32]
    return any(bool(np.isinf(array).any()) for array in arrays)


def _missing_shapes(
    model: onnx.ModelProto, feeds: dict[str, Any], constants: tuple[str, ...]
) -> dict[str, tuple[int, ...]] | None:
    """Shapes of the inputs that the model leaves open, as a user gives them with --input-shape."""
    shapes = {
        value.name: feeds[value.name].shape
        for value in model.graph.input
        if isinstance(feeds.get(value.name), np.ndarray)
        and value.name not in constants
        and not _has_shape(value.type.tensor_type)
    }
    return shapes or None


def _has_shape(kind: onnx.TypeProto.Tensor) -> bool:
    return kind.HasField("shape") and all(size.HasField("dim_value") for size in kind.shape.dim)


def _interpret(converted: Any, feeds: dict[str, Any], engine: str) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = (
        OpResolverType.AUTO if engine == "xnnpack" else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    try:
        interpreter = Interpreter(
            model_content=converted.data, num_threads=1, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
        for spec, detail in zip(converted.inputs, interpreter.get_input_details(), strict=True):
            value = feeds[spec.name]
            if _channels_last(spec.layout):
                value = np.moveaxis(value, 1, -1)
            interpreter.set_tensor(detail["index"], np.ascontiguousarray(value).reshape(value.shape))
        interpreter.invoke()
        found = [
            np.asarray(interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()
        ]
    except (RuntimeError, ValueError) as error:
        raise MismatchError(f"LiteRT, {engine}: {' '.join(str(error).split())[:300]}") from error
    return [
        np.moveaxis(array, -1, 1) if _channels_last(spec.layout) else array
        for spec, array in zip(converted.outputs, found, strict=True)
    ]


def _channels_last(layout: str) -> bool:
    return layout.endswith("C") and len(layout) > 2


def compare(found: Sequence[Any], expected: Sequence[Any], rtol: float, atol: float, where: str) -> None:
    """The rule of the ONNX backend runner: shapes and types are equal, numbers close, NaN where NaN is.

    Raises:
        MismatchError: they are not.
    """
    if len(found) != len(expected):
        raise MismatchError(f"{where}: {len(found)} outputs instead of {len(expected)}")
    for index, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        place = f"{where}, output {index}"
        if not isinstance(wanted, np.ndarray):
            raise MismatchError(f"{place}: a tensor instead of {type(wanted).__name__}")
        if got.shape != wanted.shape:
            raise MismatchError(f"{place}: shape {got.shape} instead of {wanted.shape}")
        if got.dtype != wanted.dtype:
            raise MismatchError(f"{place}: {got.dtype} instead of {wanted.dtype}")
        try:
            np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)
        except AssertionError as error:
            text = " ".join(str(error).split())
            raise MismatchError(f"{place}: {text[:400]}") from error


# Worker processes.


def judge_all(cases: Sequence[Case], workers: int = 2, timeout: float = TIMEOUT) -> list[Verdict]:
    """Verdicts in the order of the cases; a worker that dies or hangs is one wrong case."""
    pending: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(cases)):
        pending.put(index)
    verdicts: list[Verdict | None] = [None] * len(cases)

    def drain() -> None:
        with _Worker() as worker:
            while True:
                try:
                    index = pending.get_nowait()
                except queue.Empty:
                    return
                verdicts[index] = worker.judge(cases[index], timeout)

    threads = [threading.Thread(target=drain) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [verdict for verdict in verdicts if verdict is not None]


class _Worker:
    """A process that judges cases one after the other, started anew after a crash."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Connection | None = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def judge(self, case: Case, timeout: float) -> Verdict:
        """The verdict of the process, or that it died."""
        if self._process is None:
            self._start()
        assert self._connection is not None
        try:
            self._connection.send(case)
            if self._connection.poll(timeout):
                return self._connection.recv()
            died = f"no result after {timeout:g} s"
        except (EOFError, OSError):
            self._process.join()
            died = f"the process died with exit code {self._process.exitcode}"
        self._stop()
        return Verdict(case.kind, case.name, case.op, WRONG, detail=died)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _serve(connection: Connection) -> None:
    """Judge what comes in until the other side hangs up."""
    # LiteRT reports every delegate that it makes on standard error.
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
        while True:
            try:
                case = connection.recv()
            except EOFError:
                return
            connection.send(judge(case))

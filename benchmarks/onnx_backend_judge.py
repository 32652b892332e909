"""Judge one case: as it stands, and where that is refused, with its parameters as constants."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from toolchain import converters
from toolchain.benchmarks.onnx_backend_cases import Case, DataSet
from toolchain.benchmarks.onnx_backend_engine import Engine, MismatchError, Trial, engine
from toolchain.errors import ToolchainError, UnsupportedOpsError

PASSED = "passed"
PASSED_WITH_CONSTANTS = "passed_with_constants"
REFUSED = "refused"
WRONG = "wrong"
OUTCOMES = (PASSED, PASSED_WITH_CONSTANTS, REFUSED, WRONG)

CONVERTERS = str(Path(converters.__file__).parent)
# Operators without data: their inputs say how large a constant is.
GENERATORS = frozenset({"BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "Range"})
RUN_TIME = "computed at run time"


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
        note: what the engine remarks on a case that passed.
    """

    kind: str
    case: str
    op: str
    outcome: str
    refusals: tuple[tuple[str, str], ...] = ()
    detail: str = ""
    constants: tuple[str, ...] = ()
    note: str = ""


def judge(case: Case, target: str = "tflite") -> Verdict:
    """Convert and run a case as it stands; where that is refused, with its parameters as constants.

    Args:
        case: what to judge.
        target: one of the engines' TARGETS.
    """
    judging = engine(target)
    model = onnx.ModelProto.FromString(case.model)
    first = last = _attempt(judging, case, model, ())
    for names in _parameter_choices(case, model):
        if last.outcome != REFUSED:
            break
        last = _attempt(judging, case, model, names)
    if last.outcome == REFUSED and first is not last and _asks_for_constants(last):
        return first
    return last


def _attempt(judging: Engine, case: Case, model: onnx.ModelProto, constants: tuple[str, ...]) -> Verdict:
    verdict = Verdict(case.kind, case.name, case.op, WRONG, constants=constants)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.onnx")
        try:
            if not case.data_sets:
                raise MismatchError("the case has no data")
            notes = [judging.check(_trial(case, model, path, data, constants)) for data in case.data_sets]
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
    note = ", ".join(dict.fromkeys(note for note in notes if note))
    return replace(verdict, outcome=PASSED_WITH_CONSTANTS if constants else PASSED, note=note)


def _trial(
    case: Case, model: onnx.ModelProto, path: Path, data: DataSet, constants: tuple[str, ...]
) -> Trial:
    """Write the model to `path`, the inputs in `constants` as constants of it."""
    inputs, expected = data
    feeds = dict(zip(_input_names(model), inputs, strict=False))
    path.write_bytes(_with_constants(model, feeds, constants).SerializeToString())
    return Trial(path, _missing_shapes(model, feeds, constants), feeds, expected, case.rtol, case.atol)


def _crash(error: Exception) -> str:
    """One line: the exception and where in this package it left."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename.startswith(CONVERTERS):
            place = f"{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}"
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

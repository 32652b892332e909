"""The cases of `onnx.backend.test`: models with stored inputs and outputs."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from onnx import numpy_helper

# One operator each; traced PyTorch layers; traced PyTorch functions; small graphs; whole classifiers.
KINDS = ("node", "pytorch-converted", "pytorch-operator", "simple", "light")
# Classifiers of 60 to 140 million weights: gigabytes for each run, and no layer that the others do not have.
TOO_LARGE = ("light_bvlc_alexnet", "light_vgg19", "light_zfnet512")
# The oldest opset that the converter takes.
OLDEST = 7

DataSet = tuple[tuple[Any, ...], tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        kind: one of KINDS.
        name: unique within its kind.
        op: operator that the case is about, with its domain when that is not the ONNX one; a case whose
            operator is written out as its function body ("_expanded") belongs to that operator too.
        model: serialized ModelProto.
        data_sets: pairs (inputs in graph order, expected outputs in graph order); arrays, or lists and None
            for sequences and optionals.
        rtol: relative tolerance of the comparison.
        atol: absolute tolerance of the comparison.
    """

    kind: str
    name: str
    op: str
    model: bytes
    data_sets: tuple[DataSet, ...]
    rtol: float
    atol: float


def load_cases(kinds: Sequence[str] = KINDS) -> list[Case]:
    """Every case of the kinds, in a fixed order."""
    loaders = {"node": _node_cases, "light": _light_cases}
    return [case for kind in kinds for case in loaders.get(kind, lambda kind=kind: _stored_cases(kind))()]


def sample(cases: Sequence[Case], per_operator: int) -> list[Case]:
    """At most so many cases of each operator, spread over its cases in their order; always the same ones."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        found[case.op].append(case)
    chosen = []
    for members in found.values():
        count = min(per_operator, len(members))
        chosen += [members[index * len(members) // count] for index in range(count)]
    return chosen


def _node_cases() -> list[Case]:
    """The cases that the package computes when they are asked for."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        # The generators overflow and divide by zero on purpose.
        warnings.simplefilter("ignore")
        found: list[Any] = load_model_tests(kind="node")
    ops = {test.name: _operator(test.model) for test in found}
    cases = []
    for test in found:
        base = re.sub(r"_expanded.*", "", test.name)
        sets = tuple((_arrays(inputs), _arrays(outputs)) for inputs, outputs in test.data_sets)
        op = ops.get(base, ops[test.name])
        cases.append(Case("node", test.name, op, test.model.SerializeToString(), sets, test.rtol, test.atol))
    return sorted(cases, key=lambda case: case.name)


def _stored_cases(kind: str) -> list[Case]:
    """The cases that the package carries as files."""
    from onnx.backend.test.loader import load_model_tests

    found: list[Any] = load_model_tests(kind=kind)
    cases = []
    for test in sorted(found, key=lambda test: test.name):
        folder = Path(test.model_dir)
        model = _supported_opset(onnx.load(folder / "model.onnx"))
        sets = tuple(
            (_read(data, "input", model.graph.input), _read(data, "output", model.graph.output))
            for data in sorted(folder.glob("test_data_set*"))
        )
        cases.append(Case(kind, test.name, kind, model.SerializeToString(), sets, test.rtol, test.atol))
    return cases


def _supported_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """PyTorch wrote most of these with opset 6, which is older than what the converter takes."""
    version = next(part.version for part in model.opset_import if not part.domain)
    return onnx.version_converter.convert_version(model, OLDEST) if version < OLDEST else model


def _light_cases() -> list[Case]:
    """Classifiers whose weights are made by ConstantOfShape; the input is the ramp of ONNX's own runner."""
    from onnx.backend.test.loader import DATA_DIR

    cases = []
    for path in sorted(Path(DATA_DIR, "light").glob("*.onnx")):
        if path.stem in TOO_LARGE:
            continue
        model = onnx.load(path)
        stored = {tensor.name for tensor in model.graph.initializer}
        (source,) = (value for value in model.graph.input if value.name not in stored)
        shape = [size.dim_value for size in source.type.tensor_type.shape.dim]
        ramp = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
        content = path.with_name(f"{path.stem}_output_0.pb").read_bytes()
        expected = numpy_helper.to_array(onnx.TensorProto.FromString(content))
        sets = (((ramp,), (expected,)),)
        cases.append(Case("light", path.stem, "light", model.SerializeToString(), sets, 1e-3, 1e-7))
    return cases


def _operator(model: onnx.ModelProto) -> str:
    node = model.graph.node[0]
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _arrays(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(_array(value) for value in values)


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value if value is None or isinstance(value, (list, tuple)) else np.asarray(value)


def _read(folder: Path, role: str, infos: Sequence[onnx.ValueInfoProto]) -> tuple[Any, ...]:
    """The files role_0.pb, role_1.pb ... of one data set, read by the type of the graph's input or output."""
    values: list[Any] = []
    for index in range(len(list(folder.glob(f"{role}_*.pb")))):
        content = (folder / f"{role}_{index}.pb").read_bytes()
        if infos[index].type.HasField("sequence_type"):
            values.append(numpy_helper.to_list(onnx.SequenceProto.FromString(content)))
        else:
            values.append(numpy_helper.to_array(onnx.TensorProto.FromString(content)))
    return tuple(values)

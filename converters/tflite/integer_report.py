"""What a quantized file is made of, read back from its bytes."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.integer import FloatOperator
from toolchain.converters.tflite.program import OP_NAMES
from toolchain.errors import Refusal, UnsupportedOpsError, UsageError

_FLOATS = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
AUTO = "auto"


@dataclass(frozen=True)
class Border:
    """How an input or output is stored; scale and zero point are None for floats."""

    name: str
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class IntegerReport:
    """A quantized file.

    Attributes:
        integer: operators without floats, name to count.
        conversions: QUANTIZE and DEQUANTIZE with floats on one side, name to count.
        floats: operators of the body that compute with floats.
        quantized_bytes: constants stored as int8, and as int32 or int64 with a scale (biases).
        total_bytes: the whole file.
        borders: inputs, then outputs.
    """

    integer: dict[str, int]
    conversions: dict[str, int]
    floats: tuple[FloatOperator, ...]
    quantized_bytes: int
    total_bytes: int
    borders: tuple[Border, ...]


def read_back(data: bytes, floats: tuple[FloatOperator, ...]) -> IntegerReport:
    """Count what is in a file.

    Args:
        data: the file's bytes.
        floats: what `integerize` left as floats, for the reasons.
    """
    model: Any = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
    integer: Counter[str] = Counter()
    conversions: Counter[str] = Counter()
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        entry = model.OperatorCodes(operator.OpcodeIndex())
        name = OP_NAMES[max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())]
        places = [operator.Inputs(i) for i in range(operator.InputsLength())]
        places += [operator.Outputs(i) for i in range(operator.OutputsLength())]
        has_floats = any(place >= 0 and tensors[place].Type() in _FLOATS for place in places)
        if not has_floats:
            integer[name] += 1
        elif name in _CONVERSIONS:
            conversions[name] += 1
    stored = {
        tensor.Buffer(): model.Buffers(tensor.Buffer()).DataLength()
        for tensor in tensors
        if tensor.Quantization() is not None and tensor.Quantization().ScaleLength()
    }
    borders = [graph.Inputs(i) for i in range(graph.InputsLength())]
    borders += [graph.Outputs(i) for i in range(graph.OutputsLength())]
    return IntegerReport(
        dict(integer.most_common()),
        dict(conversions.most_common()),
        floats,
        sum(stored.values()),
        len(data),
        tuple(_border(tensors[index]) for index in borders),
    )


def _border(tensor: Any) -> Border:
    names = {value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()}
    found = tensor.Quantization()
    known = found is not None and found.ScaleLength() == 1
    return Border(
        tensor.Name().decode(),
        names[tensor.Type()],
        float(found.Scale(0)) if known else None,
        int(found.ZeroPoint(0)) if known else None,
    )


def check_accepted(
    accepted: Collection[str], nodes: Collection[str], floats: tuple[FloatOperator, ...]
) -> None:
    """Refuse names of what may stay float that nothing can have.

    Args:
        accepted: as for `refuse_floats`, as the user gave them.
        nodes: names of all nodes of the graph.
        floats: what `integerize` left as floats.

    Raises:
        UsageError: a name is neither that of a node, nor of an ONNX or TFLite operator, nor "auto".
    """
    from onnx.defs import get_all_schemas

    operators = {schema_.name for schema_ in get_all_schemas()} | set(vars(schema.BuiltinOperator))
    known = {AUTO, *nodes, *(name for found in floats for name in (found.op, found.node, found.node_op))}
    for name in accepted:
        if name not in known and name not in operators:
            alike = {other.lower(): other for other in sorted(operators | known)}
            near = difflib.get_close_matches(name.lower(), alike, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(alike[one] for one in near)}?" if near else "leave it out"
            raise UsageError(f"--allow-float {name}: no node and no operator is called so", hint)


def refuse_floats(floats: tuple[FloatOperator, ...], allowed: Collection[str] | None, target: str) -> None:
    """Refuse operators that stay float and that nobody asked for.

    Views between operators that are accepted are accepted with them.

    Args:
        floats: what `integerize` left as floats.
        allowed: names of ONNX or TFLite operators or of nodes that may stay float, "auto" for all.
        target: what the file is called in the error.

    Raises:
        UnsupportedOpsError: names every other one, with its reason.
    """
    allowed = frozenset(allowed or ())
    if AUTO in allowed:
        return
    found: dict[str, Refusal] = {}
    computing = [operator for operator in floats if not operator.view]
    for operator in computing or floats:
        if allowed & {operator.op, operator.node, operator.node_op}:
            continue
        hint = f"accept it with --allow-float {operator.node_op}, or replace it in the network"
        found.setdefault(operator.node, Refusal(operator.node_op, operator.node, operator.reason, hint))
    if found:
        raise UnsupportedOpsError(list(found.values()), target)

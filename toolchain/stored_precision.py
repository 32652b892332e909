"""The precision of a model file that says nothing about itself, read from how its numbers are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.spec import REJECTED

if TYPE_CHECKING:
    import onnx

    from toolchain.runtimes.mil.program import Block, Operation, ValueType

SIDECAR = "its sidecar"
# ONNX operators on integers, by how their names begin; those that take integer weights beside floats.
INTEGER_OPERATORS = ("QLinear", "QGemm", "QAttention")
UNPACKING = (
    "DequantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
)


@dataclass(frozen=True)
class StoredPrecision:
    """A precision and what it was found by.

    Attributes:
        name: "fp32", "fp16", "int8" or "int16x8" for integer activations, "w8" and "w4" for integer weights
            beside floats, "palette4" and its like for look-up tables.
        found: what says so: the sidecar, or how the file stores its numbers.
    """

    name: str
    found: str


def stored_precision(path: Path) -> StoredPrecision:
    """The coarsest way in which a file stores activations, or else weights.

    Args:
        path: a `.tflite`, `.onnx`, `.mlpackage` or `.mlmodel` file that a runtime has loaded.

    Raises:
        UnsupportedError: the file is damaged.
    """
    suffix = Path(path.name.lower().removesuffix(REJECTED)).suffix
    return {".tflite": _of_tflite, ".onnx": _of_onnx}.get(suffix, _of_coreml)(path)


def _judged(activations: Counter[str], weights: Counter[str]) -> StoredPrecision:
    """Integer activations decide; beside float ones the coarsest weights do.

    Args:
        activations: "int8" or "int16x8" to how many tensors or operators.
        weights: "palette4", "w4", "w8" or "fp16" to how many weights.
    """
    for name in ("int8", "int16x8"):
        if activations[name]:
            return StoredPrecision(name, f"{activations[name]} activations stored as integers")
    if not weights:
        return StoredPrecision("fp32", "weights and activations stored as float32")
    coarsest = min(weights, key=_bits)
    kind = "floats" if coarsest == "fp16" else "numbers in a table" if "palette" in coarsest else "integers"
    number = f"{weights[coarsest]} value{'s' if weights[coarsest] > 1 else ''}"
    return StoredPrecision(coarsest, f"{number} stored as {kind} of {_bits(coarsest)} bits")


def _bits(name: str) -> int:
    return int("".join(letter for letter in name if letter.isdigit()))


def _of_tflite(path: Path) -> StoredPrecision:
    from ai_edge_litert import schema_py_generated as schema

    from toolchain.converters.tflite.reader import read_tflite

    kinds = schema.TensorType
    weight_kinds = {kinds.FLOAT16: "fp16", kinds.INT8: "w8", kinds.UINT8: "w8", kinds.INT4: "w4"}
    activation_kinds = {kinds.INT8: "int8", kinds.UINT8: "int8", kinds.INT16: "int16x8"}
    data = path.read_bytes()
    stored = read_tflite(data, str(path)).tensors
    graph: Any = schema.Model.GetRootAs(data, 0).Subgraphs(0)
    activations: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for index, tensor in enumerate(stored):
        found = graph.Tensors(index).Quantization()
        # Integers without a scale are pixels, indices or labels.
        has_scale = found is not None and found.ScaleLength() > 0
        if tensor.constant and tensor.type in weight_kinds and (has_scale or tensor.type == kinds.FLOAT16):
            weights[weight_kinds[tensor.type]] += 1
        elif not tensor.constant and tensor.type in activation_kinds and has_scale:
            activations[activation_kinds[tensor.type]] += 1
    return _judged(activations, weights)


def _of_onnx(path: Path) -> StoredPrecision:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    kinds = onnx.TensorProto
    bits = {kinds.INT4: 4, kinds.UINT4: 4, kinds.INT8: 8, kinds.UINT8: 8}
    activations: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for graph in _graphs(model.graph):
        constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
        constants |= {
            node.output[0]: node.attribute[0].t.data_type
            for node in graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }
        weights["fp16"] += sum(kind == kinds.FLOAT16 for kind in constants.values())
        for node in graph.node:
            if node.op_type == "QuantizeLinear" and node.input[0] not in constants:
                zero = constants.get(node.input[2]) if len(node.input) > 2 else None
                activations["int16x8" if zero in (kinds.INT16, kinds.UINT16) else "int8"] += 1
            elif node.op_type.startswith(INTEGER_OPERATORS):
                activations["int8"] += 1
            elif node.op_type == "MatMulNBits":
                width = next((int(a.i) for a in node.attribute if a.name == "bits"), 4)
                weights[f"w{width}"] += 1
            elif node.op_type in UNPACKING:
                held = [bits[constants[name]] for name in node.input[:2] if constants.get(name) in bits]
                weights.update([f"w{min(held)}"] if held else [])
            elif node.op_type == "QuantizeLinear":
                weights["w8"] += 1
    return _judged(activations, +weights)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graphs(inner)


def _of_coreml(path: Path) -> StoredPrecision:
    from toolchain.runtimes.coreml import PROGRAM
    from toolchain.runtimes.coreml_file import errors_of, read_coreml

    with errors_of(path):
        file = read_coreml(path)
        if file.kind == PROGRAM:
            from toolchain.runtimes.mil.program import read_program

            return _of_program(read_program(file.spec.mlProgram, file.folder).block)
        network = getattr(file.spec, file.kind)
        weights = Counter(name for message in _weight_messages(network) if (name := _of_weights(message)))
        return _judged(Counter(), weights)


def _of_program(block: Block) -> StoredPrecision:
    operations = list(_operations(block))
    types = {made.name: made.type for operation in operations for made in operation.outputs}
    activations: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for operation in operations:
        if operation.type == "quantize":
            activations["int8"] += 1
        elif operation.type.startswith("constexpr_"):
            weights.update(_packed(operation, types))
        else:
            weights["fp16"] += any(made.type.dtype == "float16" for made in operation.outputs)
    return _judged(activations, +weights)


def _operations(block: Block) -> Iterator[Operation]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def _packed(operation: Operation, types: dict[str, ValueType]) -> list[str]:
    """The precision of weights that an operator unpacks; none where it only leaves out zeros."""
    from toolchain.runtimes.mil.program import Constant

    given = {name: held.type for name, held in operation.attributes.items()}
    for name, arguments in operation.inputs.items():
        for held in arguments[:1]:
            given[name] = held.type if isinstance(held, Constant) else types[held.name]
    table = given.get("lut")
    if table is not None:
        # Tables of iOS 18 end in (entries, numbers for each entry); older ones have entries only.
        entries = table.shape[-2] if len(table.shape) > 1 else table.shape[0]
        return [f"palette{max(entries - 1, 1).bit_length()}"]
    packed = given.get("quantized_data") or given.get("nonzero_data") or given.get("data")
    if packed is None or packed.dtype not in ("int8", "uint8"):
        return []
    return [f"w{packed.bits or 8}"]


def _weight_messages(message: Any) -> Iterator[Any]:
    """All messages WeightParams of a neural network."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        is_list = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        for inner in value if is_list else [value]:
            if not hasattr(inner, "ListFields"):
                continue
            if inner.DESCRIPTOR.name == "WeightParams":
                yield inner
            else:
                yield from _weight_messages(inner)


def _of_weights(message: Any) -> str:
    """The precision of one message; nothing for float32."""
    if message.float16Value:
        return "fp16"
    if message.int8RawValue:
        return "w8"
    if not message.rawValue:
        return ""
    quantization = message.quantization
    is_table = quantization.WhichOneof("QuantizationType") == "lookupTableQuantization"
    return f"{'palette' if is_table else 'w'}{quantization.numberOfBits}"

"""Models that another tool quantized: which are taken as they are, and which are refused."""

from __future__ import annotations

import onnx_ir as ir

from toolchain.converters.graph.rewrite import STANDARD
from toolchain.errors import Refusal, UnsupportedOpsError

MICROSOFT = "com.microsoft"
PAIR = ("QuantizeLinear", "DequantizeLinear")
INT16_OPSET = 21

_INTEGER_OPERATORS = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
    }
)


def accept_quantized(model: ir.Model) -> bool:
    """Bring a model that came quantized into the form with QuantizeLinear and DequantizeLinear pairs.

    Pairs in ONNX Runtime's own domain, which it writes for 16 bits, are renamed to the standard one; the
    graph's opset becomes 21 then, the first that has 16 bits.

    Args:
        model: a loaded graph, before `clean`.

    Returns:
        Whether the model is quantized: it must not be quantized again.

    Raises:
        UnsupportedOpsError: it holds integer operators (ONNX Runtime's QOperator format, or dynamic
            quantization); all of them.
    """
    refusals = [
        Refusal(
            node.op_type if node.domain == STANDARD else f"{node.domain}::{node.op_type}",
            node.name or "",
            "an integer operator in place of a float one between QuantizeLinear and DequantizeLinear",
            "quantize with quant_format=QuantFormat.QDQ, or give the float model",
        )
        for node in model.graph
        if _is_integer_operator(node)
    ]
    if refusals:
        raise UnsupportedOpsError(refusals, "any target")
    pairs = [node for node in model.graph if node.op_type in PAIR and node.domain in (STANDARD, MICROSOFT)]
    foreign = [node for node in pairs if node.domain == MICROSOFT]
    for node in foreign:
        node.domain = STANDARD
    if foreign:
        model.opset_imports[STANDARD] = max(model.opset_imports.get(STANDARD) or 0, INT16_OPSET)
    return bool(pairs)


def _is_integer_operator(node: ir.Node) -> bool:
    if node.domain not in (STANDARD, MICROSOFT):
        return False
    return node.op_type in _INTEGER_OPERATORS or node.op_type.startswith("QLinear")

"""Refusals of coremltools are told apart from faults of our own."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from toolchain.converters.coreml.convert import convert
from toolchain.converters.coreml.lowering import NodeContext, handlers
from toolchain.converters.coreml.mil import mb
from toolchain.errors import UnsupportedOpsError


def relu() -> ir.Model:
    x = ir.val("x", ir.DataType.FLOAT, [1, 3, 4, 4])
    y = ir.val("y", ir.DataType.FLOAT, [1, 3, 4, 4])
    graph = ir.Graph([x], [y], nodes=[ir.node("Relu", [x], outputs=[y])], opset_imports={"": 18})
    return ir.Model(graph, ir_version=10)


def test_what_the_builder_refuses_is_a_refusal_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(context: NodeContext) -> None:
        context.store(mb.transpose(x=context.input(), perm=[0, 1]))

    monkeypatch.setitem(handlers()._entries, "Relu", handler)
    with pytest.raises(UnsupportedOpsError) as caught:
        convert(relu(), "fp32")
    assert caught.value.refusals[0].reason.startswith("coremltools refuses it: ")


@pytest.mark.parametrize("fault", [KeyError, ValueError, TypeError])
def test_a_fault_of_a_handler_is_not_hidden(fault: type, monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(context: NodeContext) -> None:
        context.shape()
        raise fault("ours")

    monkeypatch.setitem(handlers()._entries, "Relu", handler)
    with pytest.raises(fault, match="ours"):
        convert(relu(), "fp32")

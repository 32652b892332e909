"""Operators that the standard defines by others are written out, and compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import pytest

from toolchain.converters.graph import clean
from toolchain.converters.graph.expand_functions import expand_functions

HEADS = "(float[2,3,4,8] q, float[2,3,6,8] k, float[2,3,6,8] v)"
KEPT = ("Clip", "LogSoftmax", "Softmax")
ATTENTION, LATER = 23, 28


def written_out(model, kept=KEPT):
    """Write out and clean until nothing changes; how many rounds it took."""
    rounds = 0
    while expand_functions(model, kept):
        clean(model)
        rounds += 1
    return rounds


def reference(proto, feeds):
    return onnx.reference.ReferenceEvaluator(proto).run(None, feeds)


@pytest.mark.parametrize(
    ("opset", "text", "rounds"),
    [
        (ATTENTION, f"{HEADS} => (float[2,3,4,8] y) {{ y = Attention(q, k, v) }}", 1),
        (ATTENTION, f"{HEADS} => (float[2,3,4,8] y) {{ y = Attention<is_causal=1, scale=0.5>(q, k, v) }}", 1),
        (
            ATTENTION,
            f"{HEADS} => (float[2,3,4,8] y, float[2,3,4,6] p)"
            " { y, a, b, p = Attention<qk_matmul_output_mode=3>(q, k, v) }",
            1,
        ),
        (LATER, "(float[3,5] x, float[3,5] g) => (float[3,5] y) { y = SwiGLU(x, g) }", 2),
        (
            LATER,
            "(float[3] x) => (float[3] y) { a = SwiGLU<alpha=2.0>(x, x) y = SwiGLU(a, x) }",
            2,
        ),
        (18, "(float[2,9,7] x) => (float[5,9,8] y) { y = CenterCropPad<axes=[0,2]>(x, sizes) }", 1),
        (22, '(float[2,5] x) => (float y) { y = NegativeLogLikelihoodLoss<reduction="sum">(x, labels) }', 1),
        (18, '(float[2,5] x) => (float y) { y = NegativeLogLikelihoodLoss<reduction="mean">(x, labels) }', 1),
        (
            18,
            '(float[2,5] x) => (float[2] y) { y = SoftmaxCrossEntropyLoss<reduction="none">(x, labels) }',
            2,
        ),
    ],
    ids=[
        "attention",
        "attributes",
        "third output without the second",
        "nested",
        "twice",
        "shapes",
        "loss",
        "definition of an older opset",
        "both",
    ],
)
def test_the_definition_computes_the_same(graphs, opset, text, rounds):
    constants = {"sizes": np.array([5, 8]), "labels": np.array([3, 1])}
    used = {name: array for name, array in constants.items() if name in text}
    before = graphs.build(text, opset, **used)
    model = graphs.clean(before)
    assert written_out(model) == rounds
    assert not model.functions
    after = graphs.proto(model)
    onnx.checker.check_model(after, full_check=True)
    assert all(node.op_type in KEPT or not _has_definition(node, opset) for node in after.graph.node)
    feeds = graphs.random_inputs(before)
    for wanted, found in zip(reference(before, feeds), reference(after, feeds), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def _has_definition(node, opset):
    schema = onnx.defs.get_schema(node.op_type, opset)
    return schema.has_function or schema.has_context_dependent_function


@pytest.mark.parametrize(
    "text",
    [
        "(float[3] x) => (float[3] y) { y = Softmax(x) }",
        "(float[3] x) => (float[3] y) { y = Sin(x) }",
        "(float[3] x) => (float[3] y) { y = com.microsoft.SwiGLU(x) }",
        "(bool c, float[3] x) => (float[3] y) { y = If(c) <"
        "then_branch = a () => (float[3] t) { t = Celu(x) },"
        "else_branch = b () => (float[3] e) { e = Identity(x) }> }",
    ],
    ids=["kept", "without a definition", "foreign", "control flow"],
)
def test_everything_else_stays(graphs, text):
    before = graphs.build(text, 18)
    model = graphs.parse(before)
    assert not expand_functions(model, KEPT)
    assert graphs.ops(model) == {node.op_type: 1 for node in before.graph.node}


def test_new_nodes_carry_the_name_of_the_old(graphs):
    before = graphs.build(f"{HEADS} => (float[2,3,4,8] y) {{ y = Attention(q, k, v) }}", ATTENTION)
    before.graph.node[0].name = "block.3/attention"
    model = graphs.clean(before)
    written_out(model)
    assert all((node.name or "").startswith("block.3/attention/") for node in model.graph)

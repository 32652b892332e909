"""The passes as one make the same program as coremltools' pipeline, less those that change results."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from toolchain.converters.coreml import convert, passes, weights
from toolchain.converters.coreml.quiet import import_coremltools

KINDS = ("mlprogram", "neuralnetwork")


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_names_are_those_of_coremltools() -> None:
    known = import_coremltools().PassPipeline.DEFAULT.passes
    for name in (*passes.HALF, *passes.INEXACT, *passes.INTEGER, *passes.IDLE, *passes.LATER):
        assert f"common::{name}" in known


@pytest.mark.parametrize(
    ("kind", "precision"), [("mlprogram", "fp32"), ("mlprogram", "fp16"), (KINDS[1], "fp32")]
)
def test_program_is_that_of_all_passes(kind, precision, make_model, to_coreml, monkeypatch) -> None:
    constants = {"w": normal(8, 3, 3, 3), "d": normal(8, 1, 3, 3), "one": np.float32([1]), "m": normal(8, 5)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["a", "one"], ["b"]),
        helper.make_node("Sigmoid", ["b"], ["s"]),
        helper.make_node("Mul", ["b", "s"], ["c"]),
        helper.make_node("Conv", ["c", "d"], ["e"], group=8),
        helper.make_node("Transpose", ["e"], ["f"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["f", "m"], ["g"]),
        helper.make_node("Transpose", ["g"], ["h"], perm=[0, 3, 1, 2]),
        helper.make_node("Gelu", ["h"], ["y"]),
    ]
    model = make_model(nodes, {"x": normal(1, 3, 8, 8)}, constants=constants, opset=20)

    def operations():
        spec = to_coreml(model, kind, precision=precision).model.get_spec()
        if kind == "neuralnetwork":
            return [layer.SerializeToString(deterministic=True) for layer in spec.neuralNetwork.layers]
        (block,) = spec.mlProgram.functions["main"].block_specializations.values()
        return [operation.SerializeToString(deterministic=True) for operation in block.operations]

    made = operations()
    for module in (convert, weights):
        # coremltools itself drops the passes that round where it is told to compute in float32.
        monkeypatch.setattr(
            module, "optimization_pipeline", lambda *_, **__: import_coremltools().PassPipeline.DEFAULT
        )
    assert made == operations()


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (1, 1, 4, 5)])
def test_scale_and_shift_stay_exact(shape, check, make_model) -> None:
    """batch_norm with an epsilon of 1e-5 would be off by 5e-6, and would not repeat a single channel."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["t"], name="mul"),
        helper.make_node("Add", ["t", "shift"], ["y"], name="add"),
    ]
    feeds, constants = {"x": normal(*shape)}, {"scale": normal(3, 1, 1), "shift": normal(3, 1, 1)}
    check(make_model(nodes, feeds, constants=constants), feeds, rtol=1e-6, atol=1e-7)

"""Adaptive rounding: layers come closer to the float network than by rounding to nearest."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.quantize.patches import input_patches
from toolchain.converters.quantize.refine import refine
from toolchain.converters.quantize.walk import Walk, real
from toolchain.converters.quantize.weighted_layers import weighted_layers
from toolchain.errors import UsageError


def sqnr(wanted, found):
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum())


def normal(random, *shape):
    return (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def smooth(model, count, seed=0):
    """Inputs whose neighbouring pixels and channels are alike, as those of trained networks are."""
    random = np.random.default_rng(seed)
    shape = model.graph.inputs[0].shape.numpy()
    made = []
    for _ in range(count):
        base = random.standard_normal((shape[0], 2, *shape[2:]))
        for axis in range(2, len(shape)):
            base = sum(np.roll(base, step, axis) for step in range(4)) / 2
        mixed = np.einsum("nb...,bc->nc...", base, np.random.default_rng(9).standard_normal((2, shape[1])))
        made.append({"x": (mixed + 0.05 * random.standard_normal(shape)).astype(np.float32)})
    return made


NETS = {
    "conv": "(float[2,6,12,12] x) => (float[2,6,12,12] y) { y = Conv<pads=[1,1,1,1]>(x, w3, b) }",
    "depthwise": """(float[2,6,12,12] x) => (float[2,6,6,6] y)
        { y = Conv<group=6, pads=[1,1,1,1], strides=[2,2]>(x, wd, b) }""",
    "relu": "(float[2,6,12,12] x) => (float[2,6,12,12] y) { c = Conv<pads=[1,1,1,1]>(x, w3, b) y = Relu(c) }",
    "turned gemm": "(float[64,6] x) => (float[64,6] y) { y = Gemm<transB=1>(x, w, b) }",
    "gemm": "(float[64,6] x) => (float[64,6] y) { y = Gemm(x, w, b) }",
    "matmul": "(float[64,6] x) => (float[64,6] y) { y = MatMul(x, w) }",
}


@pytest.fixture
def build(kit):
    def make(text):
        random = np.random.default_rng(0)
        known = {
            "w3": normal(random, 6, 6, 3, 3),
            "wd": normal(random, 6, 1, 3, 3),
            "w": normal(random, 6, 6),
            "b": normal(random, 6),
        }
        model = kit.graph(
            text, **{name: a for name, a in known.items() if f"{name}," in text or f"{name})" in text}
        )
        feeds, held_out = smooth(model, 4), smooth(model, 2, seed=5)
        # All inputs lie within the ranges and weights are coarse: rounding them is what counts.
        made = kit.quantized(model, feeds + held_out)
        for layer in weighted_layers(made, model):
            scale = layer.scale * (8 if layer.float_weights.shape[1] == 1 else 24)
            layer.set_weights(np.rint(layer.float_weights / layer.along(scale)), scale)
        return model, made, feeds, held_out

    return make


@pytest.mark.parametrize("text", NETS.values(), ids=NETS)
def test_layer_with_alike_inputs_needs_it(kit, build, text):
    model, made, feeds, held_out = build(text)
    wanted = np.concatenate([kit.run(model, each)["y"] for each in held_out])
    before = sqnr(wanted, np.concatenate([kit.run(made, each)["y"] for each in held_out]))
    (report,) = refine(made, model, feeds, iterations=300)
    after = sqnr(wanted, np.concatenate([kit.run(made, each)["y"] for each in held_out]))
    assert after > before + 2
    assert report.error < 0.75
    assert 0 < report.changed < 1
    (layer,) = weighted_layers(made, model)
    distance = np.abs(layer.stored - layer.float_weights / layer.along(layer.scale))
    assert distance.max() <= 1 + 1e-5


CHAIN = """(float[1,6,12,12] x) => (float[1,6,12,12] y) {
    a = Conv<pads=[1,1,1,1]>(x, w3, b) f = Relu(a) d = Conv<group=6, pads=[1,1,1,1]>(f, wd, b)
    q = Conv<pads=[1,1,1,1]>(d, w3) y = Add(a, q)
}"""


def test_residual_chain(kit, build):
    """Every layer reads what the refined ones before it make; the same call gives the same network."""
    model, made, feeds, held_out = build(CHAIN)
    again = made.clone()
    wanted = np.concatenate([kit.run(model, each)["y"] for each in held_out])
    before = sqnr(wanted, np.concatenate([kit.run(made, each)["y"] for each in held_out]))
    seen = []
    report = refine(made, model, feeds, iterations=200, progress=lambda *step: seen.append(step))
    after = np.concatenate([kit.run(made, each)["y"] for each in held_out])
    assert sqnr(wanted, after) > before + 3
    assert [step[:2] for step in seen] == [(0, 3), (1, 3), (2, 3)]
    assert [step[2] for step in seen] == [each.layer for each in report]
    assert refine(again, model, feeds, iterations=200) == report
    assert np.array_equal(np.concatenate([kit.run(again, each)["y"] for each in held_out]), after)


def test_no_samples(build):
    model, made, _, _ = build(NETS["gemm"])
    with pytest.raises(UsageError, match="no calibration samples"):
        refine(made, model, [])


CONVOLUTIONS = [
    ("(float[2,4,7,9] x) => (float[2,4,?,?] y)"
     " { y = Conv<pads=[0,1,2,1], strides=[2,1]>(x, w) }", (4, 4, 3, 2)),
    ("(float[2,4,7,9] x) => (float[2,4,?,?] y) { y = Conv<dilations=[2,3], group=2>(x, w) }", (4, 2, 3, 2)),
    ('(float[1,4,7,9] x) => (float[1,8,?,?] y)'
     ' { y = Conv<auto_pad="SAME_UPPER", strides=[2,2], group=4>(x, w) }', (8, 1, 3, 3)),
    ('(float[1,4,7,9] x) => (float[1,8,?,?] y)'
     ' { y = Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w) }', (8, 4, 2, 2)),
    ("(float[1,4,17] x) => (float[1,2,?] y) { y = Conv<pads=[1,2]>(x, w) }", (2, 4, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shape"), CONVOLUTIONS)
def test_patches_times_weights_are_the_convolution(kit, text, shape):
    model = kit.graph(text, w=normal(np.random.default_rng(0), *shape))
    feeds = kit.random_feeds(model, 2)
    made = kit.quantized(model, feeds)
    layers = weighted_layers(made, model)
    layer = layers[0]
    for node in made.graph:
        if node.op_type == "Conv":
            node.outputs[0].name = "raw"
            made.graph.outputs.append(node.outputs[0])
    for visited, held in Walk(made, feeds).inputs(layers):
        assert visited is layer
        for each, array in zip(feeds, held, strict=True):
            wanted = np.moveaxis(kit.run(made, each)["raw"], 1, -1).reshape(-1, shape[0])
            positions = np.arange(0, len(wanted), 3)
            patches = real(layer.source, input_patches(layer, array, positions))
            groups = patches.shape[1]
            weights = layer.weights.reshape(groups, shape[0] // groups, -1)
            found = np.einsum("rgk,gok->rgo", patches, weights).reshape(len(positions), -1)
            assert np.abs(found - wanted[positions]).max() <= 1e-5 * np.abs(wanted).max()

"""Equalized networks compute the same and survive int8 where the originals do not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolchain.converters.quantize.channel_statistics import channel_statistics
from toolchain.converters.quantize.equalize import equalize, equalized_values
from toolchain.converters.quantize.scale_groups import scale_groups
from toolchain.errors import UsageError

WIDTH, WIDE, CLASSES, BATCH = 8, 24, 10, 128


def normal(random, *shape):
    fan = int(np.prod(shape[1:]))
    return (random.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def mobile(activation: str, spread: float, seed: int = 0):
    """Stem, two inverted residuals (one with its sum), classifier; channels scaled badly without a change.

    Factors between a convolution and its reader cancel. Under ReLU6 they only shrink channels, and the
    weights are small enough that nothing is clipped at 6.
    """
    random = np.random.default_rng(seed)
    limit = ", low, six" if activation == "Clip" else ""
    lines = [f"s = Conv<pads=[1,1,1,1], strides=[2,2]>(x, ws, bs) h0 = {activation}(s{limit})"]
    constants = {"ws": normal(random, WIDTH, 3, 3, 3), "bs": normal(random, WIDTH)}
    for index in (1, 2):
        lines.append(
            f"e{index} = Conv(h{index - 1}, we{index}, be{index}) f{index} = {activation}(e{index}{limit})"
            f" d{index} = Conv<group={WIDE}, pads=[1,1,1,1]>(f{index}, wd{index}, bd{index})"
            f" g{index} = {activation}(d{index}{limit}) p{index} = Conv(g{index}, wp{index}, bp{index})"
            f" h{index} = Add(h{index - 1}, p{index})"
        )
        first, second = (10 ** random.uniform(-spread, 0, (WIDE, 1, 1, 1)) for _ in range(2))
        expand, depthwise, project = (
            normal(random, WIDE, WIDTH, 1, 1),
            normal(random, WIDE, 1, 3, 3),
            normal(random, WIDTH, WIDE, 1, 1),
        )
        constants |= {
            f"we{index}": expand * first,
            f"be{index}": normal(random, WIDE) * first[:, 0, 0, 0],
            f"wd{index}": depthwise / first * second,
            f"bd{index}": normal(random, WIDE) * second[:, 0, 0, 0],
            f"wp{index}": project / second.reshape(1, -1, 1, 1),
            f"bp{index}": normal(random, WIDTH),
        }
    lines.append("a = GlobalAveragePool(h2) v = Flatten(a) y = Gemm<transB=1>(v, wc, bc)")
    constants |= {"wc": 4 * normal(random, CLASSES, WIDTH), "bc": normal(random, CLASSES)}
    if limit:
        constants |= {"low": np.zeros(()), "six": np.array(6.0)}
    text = f"(float[{BATCH},3,16,16] x) => (float[{BATCH},{CLASSES}] y) {{ {' '.join(lines)} }}"
    return text, {name: array.astype(np.float32) for name, array in constants.items()}


def pictures(count: int, seed: int = 1):
    """Patches that differ in colour and contrast."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        tone = random.standard_normal((BATCH, 3, 1, 1)) * 1.5
        grain = random.standard_normal((BATCH, 3, 16, 16)) * random.uniform(0.2, 1, (BATCH, 1, 1, 1))
        made.append({"x": (tone + grain).astype(np.float32)})
    return made


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_badly_scaled_depthwise_net_needs_it(kit, activation):
    text, constants = mobile(activation, 3.5, seed=1)
    model = kit.graph(text, **constants)
    calibration, held_out = pictures(4), pictures(4, seed=2)

    def agreement(network):
        made = kit.quantized(network, calibration)
        found = [kit.run(made, feeds)["y"].argmax(1) for feeds in held_out]
        return float(np.mean(np.concatenate(found) == np.concatenate(truth)))

    truth = [kit.run(model, feeds)["y"].argmax(1) for feeds in held_out]
    before = agreement(model.clone())
    assert equalize(model, calibration)
    after = agreement(model)
    assert before < 0.90
    assert after >= 0.98


@pytest.mark.parametrize(("activation", "seed"), [("Relu", 0), ("Relu", 1), ("Clip", 0), ("Clip", 1)])
def test_function_stays(kit, activation, seed):
    text, constants = mobile(activation, 1.5, seed)
    model = kit.graph(text, **constants)
    calibration = pictures(3)
    inputs = calibration if activation == "Clip" else pictures(3, seed=5)
    before = [kit.run(model, feeds)["y"] for feeds in inputs]
    assert equalize(model, calibration)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for feeds, wanted in zip(inputs, before, strict=True):
        assert np.abs(kit.run(model, feeds)["y"] - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_returned_ranges_are_those_of_the_new_network(kit):
    text, constants = mobile("Relu", 1.5)
    model = kit.graph(text, **constants)
    calibration = pictures(2)
    ranges = equalize(model, calibration)
    found = channel_statistics(model, dict.fromkeys(ranges, 1), calibration)
    for name, known in ranges.items():
        span = known.high - known.low
        assert known.low == pytest.approx(found[name].low.min(), abs=1e-4 * span)
        assert known.high == pytest.approx(found[name].high.max(), abs=1e-4 * span)


def test_clipped_channels_keep_their_factor(kit):
    """One channel reaches 6, two stay far below: only these are scaled, and the bound of none is passed."""
    weights = np.array([4.0, 0.02, 0.04], np.float32).reshape(3, 1, 1, 1)
    model = kit.graph(
        "(float[1,1,8,8] x) => (float[1,2,8,8] y) { c = Conv(x, w) r = Clip(c, low, six) y = Conv(r, v) }",
        w=weights,
        v=np.array([[0.1, 20, -10], [0.1, -20, 20]], np.float32).reshape(2, 3, 1, 1),
        low=np.zeros((), np.float32),
        six=np.array(6, np.float32),
    )
    feeds = [{"x": np.linspace(-2, 2, 64, dtype=np.float32).reshape(1, 1, 8, 8)}]
    before = kit.run(model, feeds[0])["y"]
    assert equalize(model, feeds)
    changed = next(node for node in model.graph).inputs[1].const_value.numpy().reshape(-1)
    assert changed[0] == 4.0
    assert (changed[1:] > 2 * weights.reshape(-1)[1:]).all()
    assert (changed[1:] * 2 * 1.1 <= 6.001).all()
    assert np.abs(kit.run(model, feeds[0])["y"] - before).max() <= 1e-5 * np.abs(before).max()


def test_offsets_bring_channels_together(kit):
    """Channels around -20 and +20 with small swings need a tenth of the range once they are moved."""
    random = np.random.default_rng(0)
    model = kit.graph(
        """(float[1,4,8,8] x) => (float[1,4,8,8] y) {
            k = Conv(x, u) c = Conv(x, w, b) s = Add(k, c) y = Conv(s, v)
        }""",
        w=normal(random, 4, 4, 1, 1),
        u=normal(random, 4, 4, 1, 1),
        b=np.array([20, -20, 20, -20], np.float32),
        v=normal(random, 4, 4, 1, 1),
    )
    calibration, feeds = kit.random_feeds(model), kit.random_feeds(model, 1, seed=3)[0]
    wanted = kit.run(model, feeds)["y"]

    def swing_sqnr(network):
        """Of the output less its mean, which needs no bits."""
        found = kit.run(kit.quantized(network, calibration), feeds)["y"]
        return sqnr(wanted - wanted.mean((0, 2, 3), keepdims=True), found - wanted)

    before = swing_sqnr(model.clone())
    assert equalize(model, calibration)
    assert np.abs(kit.run(model, feeds)["y"] - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert swing_sqnr(model) > before + 3


def sqnr(signal, noise):
    return 10 * np.log10(np.square(signal).sum() / np.square(noise).sum())


FIXED = {
    "graph output": "(float[1,3,4,4] x) => (float[1,3,4,4] c, float[1,3,4,4] y)"
    " { c = Conv(x, w) y = Conv(c, w) }",
    "sigmoid": "(float[1,3,4,4] x) => (float[1,3,4,4] y) { c = Conv(x, w) s = Sigmoid(c) y = Conv(s, w) }",
    "input in the sum": "(float[1,3,4,4] x) => (float[1,3,4,4] y)"
    " { c = Conv(x, w) s = Add(x, c) y = Conv(s, w) }",
    "concat": "(float[1,3,4,4] x) => (float[1,3,8,4] y)"
    " { c = Conv(x, w) s = Concat<axis=2>(c, x) y = Conv(s, w) }",
    "clip from below zero": "(float[1,3,4,4] x) => (float[1,3,4,4] y)"
    " { c = Conv(x, w) s = Clip(c, low, six) y = Conv(s, w) }",
    "computed weights": "(float[1,3,4,4] x, float[3,3,1,1] k) => (float[1,3,4,4] y)"
    " { c = Conv(x, w) y = Conv(c, k) }",
}


@pytest.mark.parametrize("text", FIXED.values(), ids=FIXED)
def test_others_stay_as_they_are(kit, text):
    constants = {"w": (np.eye(3) * [[1], [100], [0.01]]).astype(np.float32).reshape(3, 3, 1, 1)}
    if "six" in text:
        constants |= {"low": np.array(-1, np.float32), "six": np.array(6, np.float32)}
    model = kit.graph(text, **constants)
    assert scale_groups(model.graph) == []
    assert equalize(model, kit.random_feeds(model)) == {}


BETWEEN = {
    "nothing": "h = Identity(c)",
    "max pool": "h = MaxPool<kernel_shape=[2,2]>(c)",
    "padded average": "h = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(c)",
    "leaky": "h = LeakyRelu<alpha=0.2>(c)",
    "resize": 'h = Resize<mode="linear">(c, none, scales)',
    "difference": "k = Conv(x, u) r = Relu(k) h = Sub(r, c)",
}
READERS = {
    "conv": "y = Conv(h, v, d)",
    "padded conv": 'y = Conv<pads=[1,1,1,1], auto_pad="NOTSET">(h, v3, d)',
    "grouped conv": "y = Conv<group=2>(h, vg, d)",
    "transposed": "y = ConvTranspose<group=2, strides=[2,2]>(h, t)",
}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    between=st.sampled_from(sorted(BETWEEN)),
    reader=st.sampled_from(sorted(READERS)),
    seed=st.integers(0, 1000),
)
def test_any_path_keeps_its_function(kit, between, reader, seed):
    random = np.random.default_rng(seed)
    scale = 10 ** random.uniform(-2, 2, (4, 1, 1, 1))
    lines = f"c = Conv(x, w, b) {BETWEEN[between]} {READERS[reader]}"
    constants = {
        "w": normal(random, 4, 3, 1, 1) * scale,
        "u": normal(random, 4, 3, 1, 1) * scale,
        "b": random.standard_normal(4) * scale.reshape(-1) * 3,
        "v": normal(random, 2, 4, 1, 1),
        "v3": normal(random, 2, 4, 3, 3),
        "vg": normal(random, 2, 2, 1, 1),
        "t": normal(random, 4, 3, 2, 2),
        "d": normal(random, 2),
        "none": np.zeros(0),
        "scales": np.array([1, 1, 2, 2]),
    }
    used = {
        name: array.astype(np.float32)
        for name, array in constants.items()
        if f"{name}," in lines or f"{name})" in lines
    }
    model = kit.graph(f"(float[2,3,6,6] x) => (float[2,?,?,?] y) {{ {lines} }}", **used)
    feeds = kit.random_feeds(model, 1, seed=9)[0]
    wanted = kit.run(model, feeds)["y"]
    equalize(model, kit.random_feeds(model))
    assert np.abs(kit.run(model, feeds)["y"] - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_no_samples(kit):
    text, constants = mobile("Relu", 1)
    model = kit.graph(text, **constants)
    assert set(equalized_values(model)) >= {"f1", "g1", "d1"}
    with pytest.raises(UsageError, match="no calibration samples"):
        equalize(model, [])

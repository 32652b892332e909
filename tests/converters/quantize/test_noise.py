"""The slopes of the predicted noise are those of its differences."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.quantize.channel_statistics import channel_statistics
from toolchain.converters.quantize.equalize import equalized_values
from toolchain.converters.quantize.noise import Predictor
from toolchain.converters.quantize.offsets import offset_sources, spread
from toolchain.converters.quantize.scale_groups import scale_groups

NETS = {
    "sum and two readers": """(float[1,3,8,8] x) => (float[1,2,8,8] y, float[1,3,8,8] z) {
        a = Conv(x, wa, ba) b = Conv(x, wb) s = Add(a, b) y = Conv(s, v) z = Conv(s, u)
    }""",
    "depthwise": """(float[1,3,8,8] x) => (float[1,4,8,8] y) {
        a = Conv(x, wa, ba) r = Relu(a) y = Conv<group=4, pads=[1,1,1,1]>(r, k)
    }""",
    "two groups": """(float[1,3,8,8] x) => (float[1,2,8,8] y) {
        a = Conv(x, wa, ba) y = Conv<group=2>(a, g)
    }""",
}
SHAPES = {"wa": (4, 3, 1, 1), "ba": (4,), "wb": (4, 3, 1, 1), "v": (2, 4, 1, 1), "u": (3, 4, 1, 1)}
SHAPES |= {"k": (4, 1, 3, 3), "g": (2, 2, 1, 1)}


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_slopes_are_those_of_differences(graph, kit, name, seed):
    random, text = np.random.default_rng(seed), NETS[name]
    constants = {
        key: random.standard_normal(shape).astype(np.float32)
        for key, shape in SHAPES.items()
        if f"{key}," in text or f"{key})" in text
    }
    model = graph(text, **constants)
    (group,) = scale_groups(model.graph)
    known = channel_statistics(model, equalized_values(model), kit.random_feeds(model, 2, seed))
    sources, movable = offset_sources(group)
    shares = spread(group, movable, dict(zip(sources, np.eye(len(sources)), strict=True)))
    predictor = Predictor(group, known, shares, len(sources))
    logs = random.uniform(-1, 1, 4)
    offsets = random.uniform(-0.5, 0.5, (len(sources), 4))
    found = predictor.noise(np.exp(logs), offsets)
    assert 0 < found.exact <= found.smooth
    place = np.concatenate([logs[None], offsets])
    slopes = np.concatenate([found.by_log_factor[None], found.by_offset])
    for index in np.ndindex(place.shape):
        ends = []
        for side in (1e-4, -1e-4):
            moved = place.copy()
            moved[index] += side
            ends.append(predictor.noise(np.exp(moved[0]), moved[1:]).smooth)
        assert (ends[0] - ends[1]) / 2e-4 == pytest.approx(slopes[index], rel=1e-2, abs=1e-3 * found.smooth)

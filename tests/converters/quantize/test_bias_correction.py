"""Means of quantized channels are those of the float network after the correction."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.quantize.bias_correction import correct_biases
from toolchain.converters.quantize.weighted_layers import weighted_layers


def sqnr(wanted, found):
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum())


def shifted_net(kit):
    """Depthwise layers whose weights all lose in one direction when they are rounded, on positive inputs."""
    random = np.random.default_rng(0)
    lost = (np.full((12, 1, 3, 3), 10.4) + random.integers(-3, 3, (12, 1, 3, 3))) / 127
    lost[:, 0, 1, 1] = 1.0
    return kit.graph(
        """(float[2,3,12,12] x) => (float[2,4,12,12] y) {
            e = Conv(x, we, be) f = Relu(e)
            d = Conv<group=12, pads=[1,1,1,1]>(f, wd) g = Relu(d)
            h = Conv<group=12, pads=[1,1,1,1]>(g, wd, bh) y = Conv(h, wp)
        }""",
        we=random.standard_normal((12, 3, 1, 1)).astype(np.float32),
        be=np.full(12, 3, np.float32),
        wd=lost.astype(np.float32),
        bh=random.standard_normal(12).astype(np.float32),
        wp=random.standard_normal((4, 12, 1, 1)).astype(np.float32),
    )


def test_net_with_shifted_means_needs_it(kit):
    model = shifted_net(kit)
    calibration, held_out = kit.random_feeds(model, 6), kit.random_feeds(model, 6, seed=7)
    made = kit.quantized(model, calibration)
    wanted = np.concatenate([kit.run(model, feeds)["y"] for feeds in held_out])

    def figures():
        found = np.concatenate([kit.run(made, feeds)["y"] for feeds in held_out])
        return np.abs((found - wanted).mean((0, 2, 3))).max(), sqnr(wanted, found)

    shift, before = figures()
    assert correct_biases(made, model, calibration) == 4
    corrected, after = figures()
    assert corrected < shift / 5
    assert after > before + 6


def test_missing_biases_are_added_and_products_without_one_stay(kit):
    random = np.random.default_rng(0)
    model = kit.graph(
        "(float[2,6] x) => (float[2,3] y) { h = MatMul(x, v) r = Relu(h) y = Gemm(r, w) }",
        v=random.standard_normal((6, 5)).astype(np.float32),
        w=random.standard_normal((5, 3)).astype(np.float32),
    )
    feeds = kit.random_feeds(model, 8)
    made = kit.quantized(model, feeds)
    assert correct_biases(made, model, feeds) == 1
    product, last = weighted_layers(made, model)
    assert len(product.node.inputs) == 2
    assert len(last.node.inputs) == 3
    assert last.bias.shape == (3,)
    wanted, found = (np.concatenate([kit.run(net, each)["y"] for each in feeds]) for net in (model, made))
    step = kit.stored(made, "y")[0]
    assert np.abs((wanted - found).mean(0)).max() <= 0.2 * step + 1e-6


@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_mean_of_every_layer(kit, activations):
    """Read before it is rounded, each layer's mean output is the float one, on the calibration samples."""
    model = shifted_net(kit)
    feeds = kit.random_feeds(model, 4)
    made = kit.quantized(model, feeds, activations=activations)
    correct_biases(made, model, feeds)
    layers = weighted_layers(made, model)
    for net, nodes in ((model, [each.twin for each in layers]), (made, [each.node for each in layers])):
        for index, node in enumerate(nodes):
            node.outputs[0].name = f"layer{index}"
            if node.outputs[0] not in net.graph.outputs:
                net.graph.outputs.append(node.outputs[0])
    for index in range(len(layers)):
        wanted, found = (
            np.mean([kit.run(net, each)[f"layer{index}"].mean((0, 2, 3)) for each in feeds], axis=0)
            for net in (model, made)
        )
        assert np.abs(wanted - found).max() <= 2e-4 * np.abs(wanted).max() + 1e-3

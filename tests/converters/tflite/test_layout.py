"""Storage orders: what a reshape carries through, and which networks come out without a TRANSPOSE."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from toolchain.converters.tflite.carry import carry_reshape, merge_transposed, reshape_ways
from toolchain.converters.tflite.layout import (
    channels_last_perm,
    plain_perm,
    trailing_perm,
    without_axes,
)


@st.composite
def reshapes(draw):
    """Two shapes of equal size and a storage order of the first."""
    factors = draw(st.lists(st.integers(1, 4), max_size=6))

    def shape() -> list[int]:
        cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=5)))
        return [prod(factors[a:b]) for a, b in zip([0, *cuts], [*cuts, len(factors)], strict=True)]

    source, target = shape(), shape()
    return source, target, tuple(draw(st.permutations(range(len(source)))))


def stored(array: np.ndarray, perm) -> np.ndarray:
    return array.transpose(perm).reshape(-1)


@given(reshapes())
def test_a_carried_reshape_moves_nothing(case):
    source, target, perm = case
    carried = carry_reshape(source, target, perm)
    array = np.arange(prod(source)).reshape(source)
    if carried is None:
        assert perm != plain_perm(len(source))
    else:
        assert sorted(carried) == list(range(len(target)))
        assert (stored(array, perm) == stored(array.reshape(target), carried)).all()


@given(reshapes())
def test_every_way_of_a_reshape_is_right(case):
    source, target, perm = case
    array = np.arange(prod(source)).reshape(source)
    ways = reshape_ways(source, target, perm)
    assert len(ways) == (2 if ways[0].moves else 1)
    for way in ways:
        moved = stored(array, perm).reshape(way.split).transpose(way.order).reshape(-1)
        assert (moved == stored(array.reshape(target), way.perm)).all()


@given(st.data())
def test_a_transposition_of_merged_axes_is_the_same(data):
    shape = data.draw(st.lists(st.integers(1, 3), max_size=7))
    order = data.draw(st.permutations(range(len(shape))))
    array = np.arange(prod(shape)).reshape(shape)
    view, merged = merge_transposed(shape, order)
    assert (array.reshape(view).transpose(merged).reshape(-1) == array.transpose(order).reshape(-1)).all()
    assert all(after != before + 1 for before, after in pairwise(merged))


@given(reshapes())
def test_splitting_axes_never_moves(case):
    """Only merging can need axes that lie side by side."""
    source, _, perm = case
    target = [part for size in source for part in ((2, size // 2) if size % 2 == 0 else (size, 1))]
    assert carry_reshape(source, target, perm) is not None


@given(st.data())
def test_without_axes_and_trailing_perm(data):
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    rank = len(shape)
    perm = tuple(data.draw(st.permutations(range(rank))))
    axes = data.draw(st.sets(st.integers(0, rank - 1)))
    array = np.arange(prod(shape)).reshape(shape)
    places = tuple(perm.index(axis) for axis in axes)
    reduced = array.max(axis=tuple(axes)).transpose(without_axes(perm, axes))
    assert (array.transpose(perm).max(axis=places) == reduced).all()
    count = data.draw(st.integers(0, rank))
    kept = [axis for axis in perm if axis >= rank - count]
    assert [axis + rank - count for axis in trailing_perm(perm, count)] == kept


@pytest.mark.parametrize(
    ("source", "target", "perm", "carried"),
    [
        ((1, 8, 4, 6), (1, 2, 4, 4, 6), (0, 2, 3, 1), (0, 3, 4, 1, 2)),
        ((2, 8, 4, 6), (2, 8, 24), (0, 2, 3, 1), (0, 2, 1)),
        ((2, 8, 4, 6), (2, 192), (0, 2, 3, 1), None),
        ((2, 8, 1, 1), (2, 8), (0, 2, 3, 1), (0, 1)),
        ((2, 4, 3, 5), (2, 4, 1, 3, 5), (0, 2, 3, 1), (0, 2, 3, 4, 1)),
        ((0, 3), (3, 0), (0, 1), None),
    ],
)
def test_examples(source, target, perm, carried):
    found = carry_reshape(source, target, perm)
    if carried is None:
        assert found is None
        return
    array = np.arange(prod(source)).reshape(target)
    assert (stored(array, found) == stored(array, carried)).all()


def test_channels_last():
    assert [channels_last_perm(rank) for rank in (2, 3, 4)] == [(0, 1), (0, 2, 1), (0, 2, 3, 1)]


# Networks: what their authors think of as renaming axes moves no data.


class Net:
    """Nodes one after the other; constants get names of their own."""

    def __init__(self) -> None:
        self.nodes = []
        self.constants: dict[str, np.ndarray] = {}
        self.rng = np.random.default_rng(0)

    def __call__(self, op_type: str, *inputs, **attributes) -> str:
        """Add a node; arrays among its inputs become constants."""
        names = []
        for given_input in inputs:
            if not isinstance(given_input, str):
                name = f"k{len(self.constants)}"
                self.constants[name] = np.asarray(given_input)
                given_input = name
            names.append(given_input)
        made = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, names, [made], name=f"{op_type}{made}", **attributes))
        return made

    def weights(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(-1, 1, shape).astype(np.float32)

    def conv(self, x: str, source: int, made: int, size: int = 1, **attributes) -> str:
        return self("Conv", x, self.weights(made, source, size, size), **attributes)


def squeeze_and_excite(net: Net) -> str:
    """The pool as a ReduceMean that keeps the axes, then two 1x1 convolutions and a product."""
    x = net.conv("x", 4, 8)
    gate = net("ReduceMean", x, np.array([2, 3]))
    gate = net("Sigmoid", net.conv(net("Relu", net.conv(gate, 8, 2)), 2, 8))
    return net.conv(net("Mul", x, gate), 8, 4)


def squeeze_and_excite_with_vectors(net: Net) -> str:
    """The pool dropped its axes, the gate is unsqueezed again."""
    x = net.conv("x", 4, 8)
    gate = net("ReduceMean", x, np.array([2, 3]), keepdims=0)
    gate = net("Sigmoid", net("Gemm", gate, net.weights(8, 8)))
    return net.conv(net("Mul", x, net("Unsqueeze", gate, np.array([2, 3]))), 8, 4)


def classifier(net: Net) -> str:
    pooled = net("GlobalAveragePool", net.conv("x", 4, 8))
    return net("Gemm", net("Flatten", pooled), net.weights(8, 5), net.weights(5))


def patch_embedding(net: Net) -> str:
    """The start of a vision transformer."""
    x = net("Conv", "x", net.weights(8, 4, 2, 2), strides=[2, 2])
    x = net("Transpose", net("Reshape", x, np.array([1, 8, -1])), perm=[0, 2, 1])
    return net("MatMul", net("Add", x, net.weights(6, 8)), net.weights(8, 6))


def channels_last_block(net: Net) -> str:
    """A ConvNeXt block: permuted to (N, H, W, C) for its matrix products, and back."""
    x = net("Transpose", net.conv("x", 4, 8), perm=[0, 2, 3, 1])
    x = net("MatMul", net("Relu", net("MatMul", x, net.weights(8, 16))), net.weights(16, 8))
    return net.conv(net("Transpose", x, perm=[0, 3, 1, 2]), 8, 4)


def channel_shuffle(net: Net) -> str:
    x = net("Reshape", net.conv("x", 4, 8), np.array([1, 2, 4, 4, 6]))
    x = net("Reshape", net("Transpose", x, perm=[0, 2, 1, 3, 4]), np.array([1, 8, 4, 6]))
    return net.conv(x, 8, 4)


def pixel_unshuffle(net: Net) -> str:
    """As PyTorch exports it; a SpaceToDepth with the channels in another order, so something has to move."""
    x = net("Reshape", net.conv("x", 4, 8), np.array([1, 8, 2, 2, 3, 2]))
    x = net("Reshape", net("Transpose", x, perm=[0, 1, 3, 5, 2, 4]), np.array([1, 32, 2, 3]))
    return net.conv(x, 32, 4)


def pixel_shuffle(net: Net) -> str:
    x = net("Reshape", net.conv("x", 4, 8), np.array([1, 2, 2, 2, 4, 6]))
    x = net("Reshape", net("Transpose", x, perm=[0, 1, 4, 2, 5, 3]), np.array([1, 2, 8, 12]))
    return net.conv(x, 2, 4)


def attention(net: Net) -> str:
    """Queries, keys, values and the result each move once: heads stand before tokens in a batched product."""
    tokens = net("Transpose", net("Reshape", net.conv("x", 4, 4), np.array([1, 4, 24])), perm=[0, 2, 1])
    heads = []
    for _ in range(3):
        part = net("Reshape", net("MatMul", tokens, net.weights(4, 6)), np.array([1, 24, 2, 3]))
        heads.append(net("Transpose", part, perm=[0, 2, 1, 3]))
    scores = net("MatMul", heads[0], net("Transpose", heads[1], perm=[0, 1, 3, 2]))
    mixed = net("MatMul", net("Softmax", scores), heads[2])
    joined = net("Reshape", net("Transpose", mixed, perm=[0, 2, 1, 3]), np.array([1, 24, 6]))
    return net("MatMul", joined, net.weights(6, 4))


def group_statistics(net: Net) -> str:
    """A reduction over parts of the channels, as group normalization is exported."""
    x = net.conv("x", 4, 8)
    parts = net("Reshape", x, np.array([1, 2, 4, 4, 6]))
    centred = net("Sub", parts, net("ReduceMean", parts, np.array([2, 3, 4])))
    return net.conv(net("Reshape", centred, np.array([1, 8, 4, 6])), 8, 4)


def labels(net: Net) -> str:
    return net("ArgMax", net.conv("x", 4, 5), axis=1, keepdims=0)


def best_classes(net: Net) -> str:
    net.nodes.append(helper.make_node("TopK", [net.conv("x", 4, 5), "k"], ["v9", "i9"], name="topk", axis=1))
    net.constants["k"] = np.array([2])
    return "v9"


def split_and_join(net: Net) -> str:
    x = net.conv("x", 4, 8)
    left = net("Slice", x, np.array([0]), np.array([4]), np.array([1]))
    right = net("Slice", x, np.array([4]), np.array([8]), np.array([1]))
    return net.conv(net("Concat", net("Neg", right), left, axis=1), 8, 4)


def pyramid_heads(net: Net) -> str:
    """Detection heads: (N, anchors * classes, H, W) to (N, H * W * anchors, classes)."""
    x = net("Reshape", net.conv("x", 4, 6), np.array([1, 2, 3, 4, 6]))
    x = net("Transpose", x, perm=[0, 3, 4, 1, 2])
    return net("Reshape", x, np.array([1, 48, 3]))


NETWORKS = {
    squeeze_and_excite: 0,
    squeeze_and_excite_with_vectors: 0,
    classifier: 0,
    patch_embedding: 0,
    channels_last_block: 0,
    channel_shuffle: 1,
    pixel_shuffle: 1,
    pixel_unshuffle: 1,
    attention: 4,
    group_statistics: 0,
    labels: 0,
    best_classes: 0,
    split_and_join: 0,
    pyramid_heads: 0,
}


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_networks_move_only_what_they_must(check, make_model, network):
    net = Net()
    output = network(net)
    feeds = {"x": net.rng.uniform(-1, 1, (1, 4, 4, 6)).astype(np.float32)}
    ops = check(make_model(net.nodes, feeds, [output], net.constants), feeds)
    assert ops.get("TRANSPOSE", 0) == NETWORKS[network], ops

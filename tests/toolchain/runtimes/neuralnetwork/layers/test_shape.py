"""Layers that change shape or order, against numpy and the examples of NeuralNetwork.proto."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import UnsupportedError


def numbers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


X = numbers(2, 3, 4)
PICTURE = numbers(2, 3, 4, 6)
FIVE = numbers(2, 1, 3, 4, 5)
NAMES = {"name": "s", "input_name": "x", "output_name": "y"}


@pytest.mark.parametrize(
    ("name", "options", "x", "want"),
    [
        ("reshape_static", {"output_shape": (4, -1)}, X, X.reshape(4, 6)),
        ("rank_preserving_reshape", {"output_shape": (0, 2, -1)}, X, X.reshape(2, 2, 6)),
        ("flatten", {"mode": 0}, PICTURE, PICTURE.reshape(2, 72, 1, 1)),
        ("flatten", {"mode": 1}, PICTURE, PICTURE.transpose(0, 2, 3, 1).reshape(2, 72, 1, 1)),
        ("flatten_to_2d", {"axis": 2}, X, X.reshape(6, 4)),
        ("flatten_to_2d", {"axis": -2}, X, X.reshape(2, 12)),
        ("flatten_to_2d", {"axis": 0}, X, X.reshape(1, 24)),
        ("flatten_to_2d", {"axis": -1}, X[0, 0], X[0, 0].reshape(1, 4)),
        ("transpose", {"axes": (2, 0, 1)}, X, X.transpose(2, 0, 1)),
        ("expand_dims", {"axes": (0, 2)}, X[0], X[0].reshape(1, 3, 1, 4)),
        ("expand_dims", {"axes": (-2, -1)}, X[0], X[0].reshape(3, 4, 1, 1)),
        ("squeeze", {"axes": (0, 3)}, X.reshape(1, 2, 3, 1, 4), X),
        ("squeeze", {"squeeze_all": True}, X.reshape(1, 2, 3, 1, 4), X),
        ("squeeze", {"axes": (0,)}, X[0, 0, :1], X[0, 0, :1]),
        ("get_shape", {}, X, np.array([2, 3, 4])),
        ("reverse", {"reverse_dim": [True, False, True]}, X, X[::-1, :, ::-1]),
        ("reshape", {"target_shape": (2, 3, 4), "mode": 0}, numbers(1, 1, 4, 3, 2), X.reshape(1, 1, 2, 3, 4)),
        ("permute", {"dim": (0, 3, 1, 2)}, FIVE, FIVE.transpose(0, 1, 4, 2, 3)),
        ("permute", {"dim": (3, 1, 2, 0)}, FIVE, FIVE.transpose(4, 1, 2, 3, 0)),
    ],
)  # fmt: skip
def test_shape(check_layers, name, options, x, want):
    check_layers(lambda b: getattr(b, f"add_{name}")(**NAMES, **options), [x], [want])


def test_channel_last_reshape(check_layers):
    x = numbers(1, 1, 4, 3, 2)
    want = x[0, 0].transpose(1, 2, 0).reshape(3, 4, 2).transpose(2, 0, 1)[None, None]
    check_layers(lambda b: b.add_reshape("s", "x", "y", (2, 3, 4), 1), [x], want)


def test_reshape_with_sequence(check_layers):
    x = numbers(2, 1, 4, 3, 2)
    check_layers(lambda b: b.add_reshape("s", "x", "y", (4, 2, 3, 2), 0), [x], x.reshape(4, 1, 2, 3, 2))


def test_shape_of_another_tensor(check_layers):
    check_layers(lambda b: b.add_reshape_like("s", ["x", "x1"], "y"), [X, numbers(4, 6)], X.reshape(4, 6))


def test_shape_as_input(check_layers):
    shape = np.array([6, 4], np.float32)
    check_layers(lambda b: b.add_reshape_dynamic("s", ["x", "x1"], "y"), [X, shape], X.reshape(6, 4))


@pytest.mark.parametrize(
    ("mode", "want"),
    [
        ("DEPTH_TO_SPACE", [[[1, 5, 2, 6], [9, 13, 10, 14]], [[3, 7, 4, 8], [11, 15, 12, 16]]]),
        ("PIXEL_SHUFFLE", [[[1, 3, 2, 4], [5, 7, 6, 8]], [[9, 11, 10, 12], [13, 15, 14, 16]]]),
    ],
)
def test_depth_to_space(check_layers, mode, want):
    """The examples of ReorganizeDataLayerParams."""
    x = np.arange(1, 17, dtype=np.float32).reshape(8, 1, 2)
    check_layers(lambda b: b.add_reorganize_data("r", "x", "y", mode, 2), [x], [np.array(want)])


def test_space_to_depth(check_layers):
    want = np.stack([PICTURE[:, :, row::2, column::2] for row in range(2) for column in range(2)], 1)
    want = want.reshape(2, 12, 2, 3)
    check_layers(lambda b: b.add_reorganize_data("r", "x", "y", "SPACE_TO_DEPTH", 2), [PICTURE], want)


@pytest.mark.parametrize("axes", [(0, 1), (1, 2)])
def test_reverse_sequence(check_layers, axes):
    batch, sequence = axes
    lengths = np.array([2, 0, 3], np.float32)[: X.shape[batch]]
    want = X.copy()
    for index, length in enumerate(lengths.astype(int)):
        row = np.moveaxis(want, axes, (0, 1))[index]
        row[:length] = row[:length][::-1].copy()
    check_layers(lambda b: b.add_reverse_sequence("r", ["x", "x1"], "y", batch, sequence), [X, lengths], want)


@pytest.mark.parametrize("axis", [1, -2])
def test_sliding_windows(check_layers, axis):
    x = numbers(2, 7, 3)
    want = np.stack([x[:, start : start + 3] for start in (0, 2, 4)], 1)
    check_layers(lambda b: b.add_sliding_windows("w", "x", "y", axis, 3, 2), [x], want)


@pytest.mark.parametrize(
    ("name", "options", "x", "message"),
    [
        ("squeeze", {"axes": (0,)}, X, "not all of size 1"),
        ("transpose", {"axes": (0, 1)}, X, "transpose 's' failed"),
        ("rank_preserving_reshape", {"output_shape": (24,)}, X, "has not the rank"),
        ("permute", {"dim": (0, 3, 1, 2)}, X, "takes"),
        ("flatten_to_2d", {"axis": 4}, X, "axis 4 does not exist"),
    ],
)
def test_what_does_not_fit_is_refused(run_layers, name, options, x, message):
    with pytest.raises(UnsupportedError, match=message):
        run_layers(lambda b: getattr(b, f"add_{name}")(**NAMES, **options), [x])


A, B = numbers(2, 3, 4, 5), -numbers(2, 3, 4, 5)


def test_concat_of_channels(check_layers):
    check_layers(
        lambda b: b.add_elementwise("c", ["x", "x1"], "y", "CONCAT"),
        [A, B[:, :2]],
        np.concatenate([A, B[:, :2]], 1),
    )


def test_concat_of_sequences(check_layers):
    x, y = A[None], B[None]
    check_layers(
        lambda b: b.add_elementwise("c", ["x", "x1"], "y", "SEQUENCE_CONCAT"), [x, y], np.concatenate([x, y])
    )


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_concat_nd(check_layers, axis):
    want = np.concatenate([A, B], axis)
    check_layers(lambda b: b.add_concat_nd("c", ["x", "x1"], "y", axis), [A, B], want)
    mixed = np.empty_like(want)
    order = np.moveaxis(mixed, axis, 0)
    order[::2], order[1::2] = np.moveaxis(A, axis, 0), np.moveaxis(B, axis, 0)
    check_layers(lambda b: b.add_concat_nd("c", ["x", "x1"], "y", axis, interleave=True), [A, B], mixed)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_stack(check_layers, axis):
    want = np.stack([X, -X], axis)
    check_layers(lambda b: b.add_stack("c", ["x", "x1"], "y", axis), [X, -X], want)


def test_split_of_channels(check_layers):
    check_layers(lambda b: b.add_split("c", "x", ["y", "y1", "y2"]), [A], tuple(np.split(A, 3, 1)))


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({"axis": -2, "num_splits": 2}, (A[:, :, :2], A[:, :, 2:])),
        ({"axis": 3, "split_sizes": [1, 4]}, (A[..., :1], A[..., 1:])),
    ],
)
def test_split_nd(check_layers, options, want):
    check_layers(lambda b: b.add_split_nd("c", "x", ["y", "y1"], **options), [A], want)


@pytest.mark.parametrize("reps", [(2, 1, 3), (2,)])
def test_tile(check_layers, reps):
    check_layers(lambda b: b.add_tile("t", "x", "y", reps), [X], np.tile(X, reps))


def test_tile_by_input(check_layers):
    reps = np.array([1, 2, 2], np.float32)
    check_layers(lambda b: b.add_tile("t", ["x", "x1"], "y"), [X, reps], np.tile(X, (1, 2, 2)))


def test_sequence_repeat(check_layers, run_layers):
    x = numbers(1, 2, 3, 1, 1)
    check_layers(lambda b: b.add_sequence_repeat("r", 3, "x", "y"), [x], np.tile(x, (3, 1, 1, 1, 1)))
    with pytest.raises(UnsupportedError, match="sequenceRepeat 'r': repeats a sequence of several"):
        run_layers(lambda b: b.add_sequence_repeat("r", 3, "x", "y"), [numbers(2, 2, 3, 1, 1)])

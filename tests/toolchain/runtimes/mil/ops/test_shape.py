"""Operators that rearrange elements, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from toolchain.errors import UnsupportedError

X = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
ONES = np.arange(12, dtype=np.float32).reshape(1, 3, 1, 4)
PICTURE = np.arange(2 * 8 * 4 * 6, dtype=np.float32).reshape(2, 8, 4, 6)
PAGES = np.arange(8 * 3 * 4 * 5, dtype=np.float32).reshape(8, 3, 4, 5)


def _depth_to_space(x: np.ndarray) -> np.ndarray:
    made = np.zeros((2, 2, 8, 12), np.float32)
    for row in range(2):
        for column in range(2):
            first = (2 * row + column) * 2
            made[:, :, row::2, column::2] = x[:, first : first + 2]
    return made


def _space_to_batch(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    return np.concatenate([padded[:, :, i::2, j::3] for i in range(2) for j in range(3)])


def _batch_to_space(x: np.ndarray) -> np.ndarray:
    made = np.zeros((2, 3, 8, 10), np.float32)
    for place in range(4):
        made[:, :, place // 2 :: 2, place % 2 :: 2] = x[2 * place : 2 * place + 2]
    return made[:, :, 1:, :8]


def _reversed_sequence(x: np.ndarray) -> np.ndarray:
    made = x.copy()
    for batch, length in enumerate((0, 2, 3)):
        made[:, batch, :length] = x[:, batch, :length][:, ::-1]
    return made


ROWS: list[tuple[str, np.ndarray, dict[str, Any], np.ndarray, int]] = [
    ("reshape", X, {"shape": [4, 6]}, X.reshape(4, 6), 15),
    ("reshape", X, {"shape": [0, -1]}, X.reshape(3, 8), 17),
    ("reshape", X, {"shape": [0, -1, 2]}, X.reshape(2, 6, 2), 15),
    ("reshape", X.reshape(8, 3), {"shape": [1, 0, -1, 0]}, X.reshape(1, 1, 8, 3), 17),
    ("transpose", X, {"perm": [2, 0, 1]}, X.transpose(2, 0, 1), 15),
    ("transpose", X, {"perm": [-1, 0, -2]}, X.transpose(2, 0, 1), 15),
    ("squeeze", ONES, {}, ONES.squeeze(), 15),
    ("squeeze", ONES, {"axes": [-2]}, ONES.reshape(1, 3, 4), 15),
    ("squeeze", ONES, {"axes": [0, 1]}, ONES.reshape(3, 1, 4), 15),
    ("expand_dims", X, {"axes": [1]}, X[:, None], 15),
    ("expand_dims", X, {"axes": [-1, 0]}, X[None, ..., None], 15),
    ("flatten2d", X, {}, X.reshape(2, 12), 15),
    ("flatten2d", X, {"axis": -1}, X.reshape(6, 4), 15),
    ("flatten2d", X[0, 0], {"axis": -1}, X[0, :1], 15),
    ("shape", X, {}, np.array([2, 3, 4], np.int32), 15),
    ("identity", X, {}, X, 15),
    ("tile", X, {"reps": [2, 1, 3]}, np.tile(X, (2, 1, 3)), 15),
    ("reverse", X, {}, X[::-1, ::-1, ::-1], 15),
    ("reverse", X, {"axes": [0, -1]}, X[::-1, :, ::-1], 15),
    (
        "reverse_sequence",
        X,
        {"lengths": [0, 2, 3], "seq_axis": 2, "batch_axis": 1},
        _reversed_sequence(X),
        15,
    ),
    (
        "reverse_sequence",
        X.transpose(0, 2, 1),
        {"lengths": [0, 2, 3], "seq_axis": 1, "batch_axis": 2},
        _reversed_sequence(X).transpose(0, 2, 1),
        17,
    ),
    ("sliding_windows", X, {"axis": 2, "size": 3}, np.stack([X[..., :3], X[..., 1:]], 2), 15),
    ("sliding_windows", X, {"axis": -2, "size": 1, "stride": 2}, X[:, ::2, None], 15),
    ("depth_to_space", PICTURE, {"block_size": 2}, _depth_to_space(PICTURE), 15),
    ("space_to_depth", _depth_to_space(PICTURE), {"block_size": 2}, PICTURE, 15),
    (
        "pixel_shuffle",
        PICTURE,
        {"upscale_factor": 2},
        torch.pixel_shuffle(torch.from_numpy(PICTURE), 2).numpy(),
        15,
    ),
    (
        "pixel_unshuffle",
        PICTURE,
        {"downscale_factor": np.uint32(2)},
        torch.pixel_unshuffle(torch.from_numpy(PICTURE), 2).numpy(),
        16,
    ),
    (
        "space_to_batch",
        PICTURE,
        {"block_shape": [2, 3], "paddings": [[1, 1], [0, 0]]},
        _space_to_batch(PICTURE),
        15,
    ),
    (
        "batch_to_space",
        PAGES,
        {"block_shape": [2, 2], "crops": [[1, 0], [0, 2]]},
        _batch_to_space(PAGES),
        15,
    ),
]


@pytest.mark.parametrize(("op", "x", "parameters", "expected", "ios"), ROWS)
def test_rearranged(
    run_program: Callable, op: str, x: np.ndarray, parameters: dict, expected: np.ndarray, ios: int
) -> None:
    (got,) = run_program(lambda mb, x: getattr(mb, op)(x=x, **parameters), {"x": x}, ios).values()
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("references", "begins", "ends", "masks", "sizes"),
    [
        ([(5, 6, 9), (1, 2, 2)], [0, 1], [2, 0], [False, True], (5, 6, 2, 2)),
        ([(7, 120)], [1], [2], [False], (120,)),
    ],
    ids=["two references", "one reference"],
)
def test_reshape_like(
    run_program: Callable, references: list, begins: list, ends: list, masks: list, sizes: tuple
) -> None:
    x = np.arange(120, dtype=np.float32).reshape(10, 12)

    def build(mb, x):
        tensors = tuple(mb.const(val=np.zeros(shape, np.float32)) for shape in references)
        return mb.reshape_like(
            x=x,
            ref_tensors=tensors,
            begins=tuple(mb.const(val=np.int32(begin)) for begin in begins),
            ends=tuple(mb.const(val=np.int32(end)) for end in ends),
            end_masks=tuple(mb.const(val=mask) for mask in masks),
        )

    (got,) = run_program(build, {"x": x}, 16).values()
    np.testing.assert_array_equal(got, x.reshape(sizes))


@pytest.mark.parametrize("lengths", [[0, 5, 1], [-1, 0, 0]])
def test_lengths_outside_of_the_sequence_are_refused(run_program: Callable, lengths: list[int]) -> None:
    def build(mb, x):
        return mb.reverse_sequence(x=x, lengths=lengths, seq_axis=2, batch_axis=1)

    with pytest.raises(UnsupportedError, match="lengths"):
        run_program(build, {"x": X})

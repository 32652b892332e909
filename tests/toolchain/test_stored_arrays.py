"""Rows come one after the other as numpy would give them, and damaged files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import UnsupportedError, UsageError
from toolchain.stored_arrays import stored_arrays

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "floats": RANDOM.standard_normal((5, 3, 4)).astype(np.float32),
    "integers": RANDOM.integers(0, 9, (5,)),
    "by columns": np.asfortranarray(RANDOM.standard_normal((5, 3))),
    "big endian": np.arange(10, dtype=">f8").reshape(5, 2),
    "truth": RANDOM.integers(0, 2, (5, 2)).astype(bool),
    "empty": np.zeros((5, 0), np.float32),
}


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("count", [1, 2])
def test_rows_of_all_arrays_in_turn(write, count: int, tmp_path: Path) -> None:
    write(tmp_path / "all.npz", **ARRAYS)
    with stored_arrays(tmp_path / "all.npz") as found:
        assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
            name: (array.shape, array.dtype) for name, array in ARRAYS.items()
        }
        for start in range(0, 4, count):
            for name, array in ARRAYS.items():
                np.testing.assert_array_equal(found[name].next_rows(count), array[start : start + count])


def test_the_array_of_an_npy_file_has_no_name(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", ARRAYS["floats"])
    with stored_arrays(tmp_path / "one.npy") as found:
        np.testing.assert_array_equal(found[""].next_rows(2), ARRAYS["floats"][:2])
        np.testing.assert_array_equal(found[""].next_rows(3), ARRAYS["floats"][2:])


def test_a_number_is_an_array_without_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "number.npz", x=np.float32(3))
    with stored_arrays(tmp_path / "number.npz") as found:
        assert found["x"].shape == ()


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_what_was_changed_on_the_disk_is_refused_where_it_is_read(write, tmp_path: Path) -> None:
    path = tmp_path / "changed.npz"
    write(path, x=RANDOM.standard_normal((64, 64)))
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 64):
        content[place] ^= 255
    path.write_bytes(content)
    with (
        pytest.raises(UnsupportedError, match=r"changed\.npz' is not a readable"),
        stored_arrays(path) as found,
    ):
        for _ in range(64):
            found["x"].next_rows(1)


def test_objects_and_missing_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}, {}], dtype=object))
    with pytest.raises(UnsupportedError, match="objects"), stored_arrays(tmp_path / "objects.npz"):
        pass
    with pytest.raises(UsageError, match="no file at"), stored_arrays(tmp_path / "none.npz"):
        pass

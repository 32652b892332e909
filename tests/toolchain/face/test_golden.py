"""The golden files of the apps: written by one command, as this engine answers, readable by any language."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from toolchain.face.golden import FOLDERS, TOPICS, differences, main, write
from toolchain.face.golden_cases import alike, case, decoded, encoded, shares
from toolchain.face.region import Box, Square

CHECKOUT = Path(__file__).parents[3]
LARGEST_FILE, LARGEST_SET = 200_000, 1_500_000


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parts[0])
def test_committed_files_are_those_of_this_engine(folder: Path) -> None:
    assert differences(CHECKOUT / folder) == []


def test_both_apps_have_the_same_files() -> None:
    first, second = ({path.name: path.read_bytes() for path in (CHECKOUT / f).iterdir()} for f in FOLDERS)
    assert first == second
    assert {name.removesuffix(".json") for name in first} == set(TOPICS)
    assert max(map(len, first.values())) < LARGEST_FILE
    assert sum(map(len, first.values())) < LARGEST_SET


def test_every_case_has_a_name_of_its_own_and_four_parts() -> None:
    for topic in TOPICS:
        cases = json.loads((CHECKOUT / FOLDERS[0] / f"{topic}.json").read_text(encoding="utf-8"))
        assert len({entry["name"] for entry in cases}) == len(cases)
        for entry in cases:
            assert list(entry) == ["name", "function", "input", "expected"]
            assert isinstance(entry["input"], dict)
            assert isinstance(entry["expected"], dict)


def test_check_names_the_first_case_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    assert main(["--check", "--output", str(tmp_path)]) == 0
    path = tmp_path / "held_box.json"
    cases = json.loads(path.read_text(encoding="utf-8"))
    overlap = next(entry for entry in cases if entry["name"] == "overlap a third")
    overlap["expected"]["overlap"] += 1e-6
    path.write_text(json.dumps(cases), encoding="utf-8")
    (tmp_path / "output.json").write_text("[", encoding="utf-8")
    (tmp_path / "region.json").unlink()
    (tmp_path / "unwarp.json").write_text("[]", encoding="utf-8")
    (tmp_path / "old_topic.json").write_text("[]", encoding="utf-8")
    assert main(["--check", "--output", str(tmp_path)]) == 5
    said = capsys.readouterr().err
    for words in (
        "held_box.json' differs from case 'overlap a third' on",
        "output.json' is no JSON",
        "region.json' cannot be read",
        "unwarp.json' has other cases",
        "old_topic.json' is of no topic",
        "hint: run `python -P -m toolchain.face.golden`",
    ):
        assert words in said
    assert main(["--output", str(tmp_path)]) == 0
    assert differences(tmp_path) == [f"'{tmp_path / 'old_topic.json'}' is of no topic"]


def test_the_command_wants_a_checkout(
    tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert "run it in a checkout, or give --output" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    assert main(["--output", str(file)]) == 2
    assert "cannot be written to" in capsys.readouterr().err


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.int8, np.float32]),
        arrays.array_shapes(max_dims=3, max_side=9),
        elements={"min_value": 0, "max_value": 100},
    )
)
def test_arrays_come_back(array: np.ndarray) -> None:
    again = decoded(json.loads(json.dumps(encoded(array))))
    assert again.dtype == array.dtype
    # Nine digits are enough for any float32.
    np.testing.assert_array_equal(again, array)


def test_what_is_computed_is_computed_from_the_file() -> None:
    made = case("twice", lambda value: {"twice": 2 * value}, "a third", value=1 / 3)
    assert made["input"] == {"value": 0.333333333}
    assert made["expected"] == {"twice": 0.666666666}


def test_boxes_squares_and_shares_come_back() -> None:
    given = {"box": Box(1.0, 2.0, 3.0, 4.5), "square": Square(-1.0, 0.5, 8.0), "none": None}
    assert decoded(encoded(given)) == given
    stored = shares(np.array([[0, 128, 255]], np.uint8))
    assert decoded(stored).tolist() == [[0.0, 0.5, 0.99609375]]
    endless = encoded(np.array([np.inf, -np.inf, np.nan, -0.0], np.float32))
    assert endless["values"] == ["inf", "-inf", "nan", 0.0]
    assert str(endless["values"][3]) == "0.0"
    np.testing.assert_array_equal(decoded(endless), np.array([np.inf, -np.inf, np.nan, 0], np.float32))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1.0, 1.0 + 1e-9, True),
        (1.0, 1.0 + 1e-8, False),
        (1, 2, False),
        (True, 1, False),
        (True, 1.0, False),
        ([1.0, 2.0], [1.0], False),
        ({"a": 1}, {"b": 1}, False),
        ("inf", "inf", True),
        (None, 0.0, False),
    ],
)
def test_the_last_digit_of_a_float_may_differ(one: object, other: object, same: bool) -> None:
    assert alike(one, other) is same

"""Golden cases of tracking, answered by toolchain.face.tracking."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import RegressionError
from toolchain.face import engine, tracking
from toolchain.face.golden import text_of
from toolchain.face.golden_cases import decoded
from toolchain.face.golden_engine import engine_cases
from toolchain.face.golden_tracking import held_box_cases, mask_reader_cases
from toolchain.face.tracking import MaskReader

READ = mask_reader_cases()
REASONS = {
    "the mask shows hardly any face",
    "the mask has no eyes, nose or mouth",
    "the mask changed its size abruptly",
    "the mask is not sure",
    "the mask reaches the edge of the region or of the picture",
}


@pytest.mark.parametrize("entry", READ, ids=[entry["name"] for entry in READ])
def test_faces_in_masks(entry: dict) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    reader = MaskReader(given["labels"])
    made = reader.read(given["probabilities"], np.array(given["matrix"]), given["box"], tuple(given["shape"]))
    assert (made.lost, made.doubt) == (wanted["lost"], wanted["doubt"])
    assert made.confidence == pytest.approx(wanted["confidence"], abs=1e-6)
    for side in ("x", "y", "width", "height"):
        assert getattr(made.box, side) == pytest.approx(getattr(wanted["box"], side), abs=1e-4)


def test_every_reason_to_doubt_or_to_lose_a_face_is_shown() -> None:
    shown = {entry["expected"][kind] for entry in READ for kind in ("lost", "doubt")}
    assert shown == {*REASONS, ""}


def test_held_boxes_both_stay_and_move() -> None:
    followed = [entry for entry in held_box_cases() if entry["function"] == "follow"]
    moved = {move for entry in followed for move in entry["expected"]["moved"]}
    assert moved == {True, False}
    still = next(entry for entry in followed if entry["name"] == "follow within the dead band")
    assert still["expected"]["moved"] == [False, False, False]


def test_a_detection_corrects_by_so_much_at_most() -> None:
    found = {
        entry["name"]: entry["expected"] for entry in held_box_cases() if entry["function"] == "correction"
    }
    assert found["correction scale is clipped"]["scale"] == 1.25
    assert found["correction a small one is clipped"]["scale"] == 0.8
    assert found["correction shift is clipped"]["shift"] == [0.12, -0.12]


def test_sequences_show_patience_doubles_and_further_faces() -> None:
    found = {entry["name"]: entry["expected"]["frames"] for entry in engine_cases()}
    patience = found["doubt asks the detector once, and again after so many frames of patience"]
    assert [frame["detected"] for frame in patience] == [True, True, *[False] * 9, True, False, False]
    doubles = found["two tracks of one face end as one, the longer known stays"]
    assert [[face["number"] for face in frame["faces"]] for frame in doubles] == [[1, 2], [1], [1]]
    further = found["further faces are looked for every three frames"]
    assert [len(frame["faces"]) for frame in further] == [1, 1, 1, 2, 2, 2, 2, 2]
    again = found["doubt where the face is elsewhere: parsed again there"]
    assert [len(frame["parsed"]) for frame in again] == [1, 2, 1]
    after_a_cut = found["a cut: another face in the old region gives way to the one that is found"]
    assert [[face["number"] for face in frame["faces"]] for frame in after_a_cut] == [[1], [2], [2]]
    kept = found["a cut, and nothing is found, or no face where the detector says so: followed on"]
    assert [len(frame["parsed"]) for frame in kept] == [1, 1, 2, 1]
    wrong = found["a detector that is wrong: the masks decide, one more box is tried"]
    # The parser of the first box has forgotten its mask before it looks at the second one.
    assert wrong[0]["previous"] == [False, False]


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (tracking, "JUMP", 1.2),
        (tracking, "LEAST_PART", 0.02),
        (tracking, "LEAST_FACE", 0.5),
        (tracking, "DRIFT", 0.1),
        (tracking, "GROWTH", 1.1),
        (tracking, "MOST_SCALE", 1.5),
        (tracking, "MOST_SHIFT", 0.2),
        (tracking, "LEAST_CONFIDENCE", 0.5),
        (tracking, "OUTLINE", 0.3),
        (engine, "PATIENCE", 8),
        (engine, "FURTHER_TRIES", 0),
        (engine, "SAME_FACE", 0.8),
        (engine, "DOUBLE", 0.97),
    ],
)
def test_another_rule_of_the_engine_makes_other_files(
    module, name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files() -> list[str]:
        try:
            return [text_of(cases()) for cases in (mask_reader_cases, held_box_cases, engine_cases)]
        except RegressionError as error:
            return [error.message]

    before = files()
    assert len(before) == 3
    monkeypatch.setattr(module, name, value)
    assert files() != before

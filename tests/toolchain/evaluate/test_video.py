"""Face parsers on drawn clips whose flicker and whose recovery after a cut are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import toolchain
from toolchain.errors import UnsupportedError, UsageError
from toolchain.evaluate.cuts import HORIZON, Cut, recovery, site_frames
from toolchain.evaluate.strip import busiest
from toolchain.evaluate.video import ClipEvaluation, evaluate_clips
from toolchain.evaluate.video_tables import clip_table, remarks
from toolchain.models.faces import PALETTE

SIDE = 64
FRAMES = 25
NOSE, EYE = 6, 4
NOSE_PIXELS, EYE_PIXELS = 10 * 8, 5 * 6
# In frames whose number leaves these remainders by 4 a mark in the corner is lit.
LIT = (2, 3)

# The mark switches the networks: they read colours where it is dark.
NETWORKS = '''
import torch
from torch import nn

from toolchain.models.faces import PALETTE, face_spec


class Colours(nn.Module):
    """Scores a class by how near its colour is."""

    def __init__(self):
        super().__init__()
        colors = torch.tensor(PALETTE).float() / 127.5 - 1
        self.conv = nn.Conv2d(3, 10, 1)
        with torch.no_grad():
            self.conv.weight.copy_(100 * colors[:, :, None, None])
            self.conv.bias.copy_(-50 * (colors**2).sum(1))
        # How far the nose is ahead of the next class where its colour is.
        self.lead = 50 * ((colors - colors[6]) ** 2).sum(1).sort().values[1]

    def lit(self, image):
        return (image[:, :1, :1, :1] > -0.8).float()


class Blinking(Colours):
    """Misses nose and eye while the mark is lit; a previous mask holds the nose."""

    def __init__(self):
        super().__init__()
        self.hold = nn.Conv2d(10, 10, 1, bias=False)
        with torch.no_grad():
            self.hold.weight.copy_(20 * torch.eye(10)[:, :, None, None])

    def forward(self, image, previous):
        unit = torch.eye(10)
        missed = (self.lead + 10) * unit[6] + 10000 * unit[4]
        return self.conv(image) - self.lit(image) * missed[None, :, None, None] + self.hold(previous)


class Forgetful(Blinking):
    """The same without a previous mask."""

    def forward(self, image):
        return super().forward(image, torch.zeros(1, 10, 64, 64))


class Copying(Colours):
    """Repeats the previous mask while the mark is lit."""

    def forward(self, image, previous):
        return self.conv(image) + 10000 * self.lit(image) * previous


class Stuck(Colours):
    """Repeats the previous mask for ever."""

    def forward(self, image, previous):
        return self.conv(image) + 10000 * previous


def blinking():
    return Blinking(), face_spec("blinking", "", "", True, 64)


def forgetful():
    return Forgetful(), face_spec("forgetful", "", "", False, 64)


def copying():
    return Copying(), face_spec("copying", "", "", True, 64)


def stuck():
    return Stuck(), face_spec("stuck", "", "", True, 64)
'''


def drawn(left: int) -> np.ndarray:
    """Labels (SIDE, SIDE) of a face that begins `left` pixels from the left edge."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[10:58, left : left + 36] = 1
    labels[20:25, left + 22 : left + 28] = EYE
    labels[28:38, left + 14 : left + 22] = NOSE
    return labels


def write_clip(path: Path, labels: np.ndarray) -> Path:
    """FRAMES times the face in the colours of its labels, losslessly; the mark is lit in some."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 25, (SIDE, SIDE))
    assert writer.isOpened()
    for number in range(FRAMES):
        picture = np.array(PALETTE, np.uint8)[labels]
        # Nearer to black than to any other colour.
        picture[:2, :2] = 40 if number % 4 in LIT else 0
        writer.write(picture[:, :, ::-1])
    writer.release()
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("video_networks") / "video_networks.py"
    path.write_text(NETWORKS)
    return str(path)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two clips, one face at the left and one at the right."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a.avi", drawn(6))
    write_clip(folder / "b.avi", drawn(20))
    return folder


def test_flicker_is_what_blinks(networks: str, clips: Path) -> None:
    made = evaluate_clips([f"{networks}:blinking", f"{networks}:forgetful"], clips, whole=True)
    with_mask, without = made.as_json()["artifacts"]
    # The mark changes with every second frame, from 2 on.
    pairs, blinks = FRAMES - 1, FRAMES // 2
    face = 48 * 36
    expected = 100 * blinks * (NOSE_PIXELS + EYE_PIXELS) / (pairs * face)
    for entry in (without, *without["clips"]):
        assert entry.get("flicker", entry)["without_previous"] == pytest.approx(expected, rel=0.01)
        assert entry.get("flicker", entry)["ratio"] is None
    assert without["recovery"] is None
    figures = with_mask["flicker"]
    assert figures["pairs"] == 2 * pairs
    assert figures["without_previous"] == pytest.approx(expected, rel=0.01)
    assert figures["with_previous"] == pytest.approx(100 * blinks * EYE_PIXELS / (pairs * face), rel=0.01)
    assert figures["ratio"] == pytest.approx(EYE_PIXELS / (NOSE_PIXELS + EYE_PIXELS), rel=0.01)
    assert figures["compared_pixels"] == pytest.approx(2 * pairs * face, rel=0.01)
    assert figures["pairs_left_out"] == 0
    # One pixel inside of its outline an eye has nothing but eye before, and skin has come near the outline.
    assert figures["without_previous_beyond_1px"] < figures["without_previous"]


@pytest.mark.parametrize("network", ["copying", "stuck"])
def test_no_mask_is_carried_over_a_cut(network: str, networks: str, clips: Path) -> None:
    made = evaluate_clips([f"{networks}:{network}"], clips, whole=True)
    [entry] = made.as_json()["artifacts"]
    assert len(entry["cuts"]) == 2 * 2 * len(site_frames(FRAMES))
    # Either network would paint the mask that it is given; the loop gives it none.
    for cut in entry["cuts"]:
        assert cut["frames_to_recover"] == 0
        assert cut["after"][0] == 100
        assert cut["after"] == cut["begun"]
    for key in ("recovery", "recovery_other_shot", "recovery_jump"):
        figures = entry[key]
        assert (figures["frames_worst"], figures["not_recovered"]) == (0, 0)
        assert figures["within_3"] == figures["cuts"]
    assert entry["recovery"]["cuts"] == 2 * entry["recovery_jump"]["cuts"]


def test_one_shot_has_no_other_frame_to_take(networks: str, clips: Path) -> None:
    made = evaluate_clips([f"{networks}:copying"], clips / "a.avi", whole=True)
    [entry] = made.as_json()["artifacts"]
    assert {cut["kind"] for cut in entry["cuts"]} == {"jump"}
    assert entry["recovery_other_shot"] is None


def test_recovery_counts_what_does_not_recover() -> None:
    steady = (1.0,) * HORIZON
    late = Cut("a", 5, "jump", (0.5, 0.5, *steady[2:]), steady, (0.4,) * HORIZON)
    never = Cut("a", 9, "jump", (0.5,) * HORIZON, steady, steady)
    assert (late.frames, never.frames) == (2, None)
    assert (late.frames_to_steady, never.frames_to_steady) == (0, None)
    figures = recovery([late, never])
    assert figures is not None
    assert (figures["frames_median"], figures["frames_worst"]) == (None, None)
    assert (figures["within_3"], figures["not_recovered"], figures["cuts"]) == (1, 1, 2)
    assert figures["steady_within_3"] == 1


@pytest.mark.parametrize(
    ("format_", "head"),
    [("tflite", None), ("tflite", "argmax"), ("onnx", "softmax"), ("coreml", None)],
)
def test_a_file_does_as_its_network(
    format_: str, head: str | None, networks: str, clips: Path, tmp_path: Path
) -> None:
    [artifact] = toolchain.export(
        f"{networks}:blinking", formats=[format_], precisions=["fp32"], head=head, output=tmp_path
    )
    made = evaluate_clips([artifact.path, f"{networks}:blinking"], clips, limit=14, whole=True, threads=1)
    file, network = made.as_json()["artifacts"]
    assert (file["format"], network["format"]) == (format_, "torch")
    assert file["flicker"] == network["flicker"]
    assert file["cuts"] == network["cuts"]
    assert file["flicker"]["pairs"] == 2 * 13


def test_short_shots_have_no_cuts(networks: str, clips: Path) -> None:
    made = evaluate_clips([f"{networks}:blinking"], clips, limit=3, whole=True)
    [entry] = made.as_json()["artifacts"]
    assert entry["cuts"] == []
    assert entry["recovery"] is None
    assert entry["flicker"]["pairs"] == 4


def test_tables_and_remarks(networks: str, clips: Path) -> None:
    made = evaluate_clips([f"{networks}:blinking", f"{networks}:forgetful"], clips, limit=12, whole=True)
    first, second = (clip_table(made, judgement) for judgement in made.judgements)
    assert [row[0] for row in first.rows] == ["a.avi", "b.avi", "all clips"]
    assert all(len(row) == len(first.columns) for row in first.rows)
    assert first.rows[0][4] == f"{EYE_PIXELS / (NOSE_PIXELS + EYE_PIXELS):.2f}"
    assert second.rows[0][3:5] == ("-", "-")
    assert any("forgetful takes no previous mask" in remark for remark in remarks(made))
    assert json.loads(json.dumps(made.as_json()))["clips"][0]["frames"] == 12


def test_strips_show_both_runs(networks: str, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "strips"
    evaluate_clips([f"{networks}:blinking"], clips / "a.avi", limit=12, whole=True, strips=folder)
    [file] = folder.iterdir()
    strip = cv2.imread(str(file))
    assert strip.shape == (2 * SIDE, 8 * SIDE, 3)
    nose = np.s_[32, 24::SIDE]
    above, below = strip[nose], strip[SIDE + 32, 24::SIDE]
    # The nose comes and goes above, and stays below.
    assert len(np.unique(above, axis=0)) == 2
    assert len(np.unique(below, axis=0)) == 1


def test_the_busiest_frames() -> None:
    changes = np.array([0, 1, 5, 5, 0, 0])
    assert busiest(changes, 2) == 2
    assert busiest(changes, 3) == 1
    assert busiest(changes, 99) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clips": "nowhere"}, "no clip or folder"),
        ({"limit": 1}, "at least 2"),
        ({"strips": "a.avi"}, "no folder"),
        ({"weights": "w.safetensors", "artifacts": []}, "nothing to evaluate"),
        ({"artifacts": ["lenet"]}, "no face parser"),
        ({"threads": 2}, "--threads is for model files"),
    ],
)
def test_calls_that_are_refused(options: dict[str, object], words: str, networks: str, clips: Path) -> None:
    given = {"artifacts": [f"{networks}:stuck"], "clips": clips, "whole": True, **options}
    for name in ("strips", "weights"):
        if name in options:
            given[name] = clips / str(options[name])
    with pytest.raises((UsageError, UnsupportedError), match=words):
        evaluate_clips(**given)


def test_clips_without_a_face_are_refused(networks: str, clips: Path) -> None:
    with pytest.raises(UnsupportedError, match="no face was found") as caught:
        evaluate_clips([f"{networks}:stuck"], clips, limit=4)
    assert "--whole" in caught.value.hint


def test_a_clip_that_ends_early_is_refused(networks: str, clips: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    data = (clips / "a.avi").read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnsupportedError, match=rf"cut\.avi' ends early: \d+ of {FRAMES} frames") as caught:
        evaluate_clips([f"{networks}:stuck"], cut, whole=True)
    frames = int(caught.value.hint.split()[-1])
    assert 2 <= frames < FRAMES - 2
    # Its beginning is there.
    made = evaluate_clips([f"{networks}:stuck"], cut, whole=True, limit=frames)
    assert made.clips[0].frames == frames


def real(data_folder: Path, name: str, limit: int) -> ClipEvaluation:
    return evaluate_clips(["mobile-hourglass"], data_folder / "videos" / name, limit=limit)


def test_a_real_clip(data_folder: Path | None) -> None:
    if data_folder is None:
        return
    made = real(data_folder, "d18.mp4", 3)
    [entry] = made.as_json()["artifacts"]
    figures = entry["flicker"]
    assert figures["pairs"] == 2
    # The face fills a third of the crop or more, hardly moves, and is found the same way both times.
    assert figures["matched"] > 90
    assert figures["compared_pixels"] > 2 * 256 * 256 / 4
    assert 0 < figures["without_previous"] < 5
    assert figures["same_label"] > 95

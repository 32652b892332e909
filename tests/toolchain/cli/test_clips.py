"""`toolchain evaluate --clips` from arguments to a table and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.cli import run
from toolchain.models.faces import PALETTE

SIDE, FRAMES = 32, 13
NETWORK = """
import torch
from torch import nn

from toolchain.models.faces import PALETTE, face_spec


class Painted(nn.Module):
    def forward(self, image, previous):
        colors = torch.tensor(PALETTE).float() / 127.5 - 1
        return nn.functional.conv2d(image, 2 * colors[:, :, None, None], -(colors**2).sum(1))


def painted():
    print("made a network")
    return Painted(), face_spec("painted", "", "", True, 32)
"""


@pytest.fixture
def network(tmp_path: Path) -> str:
    """Reads the class of a pixel off its colour, and does not look at the previous mask."""
    path = tmp_path / "painted.py"
    path.write_text(NETWORK)
    return f"{path}:painted"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A face that stands still."""
    path = tmp_path / "face.avi"
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[4:28, 6:26], labels[14:18, 14:18] = 1, 6
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 25, (SIDE, SIDE))
    for _ in range(FRAMES):
        writer.write(np.array(PALETTE, np.uint8)[labels][:, :, ::-1])
    writer.release()
    return path


def test_json_holds_the_figures(network: str, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", network, "--clips", str(clip), "--whole", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clips"] == [
        {
            "name": "face.avi",
            "frames": FRAMES,
            "fps": 25.0,
            "shots": [{"start": 0, "stop": FRAMES, "face_found": 100.0, "used": True}],
        }
    ]
    [entry] = report["artifacts"]
    figures = entry["flicker"]
    assert (figures["pairs"], figures["without_previous"], figures["with_previous"]) == (12, 0, 0)
    assert (figures["compared_pixels"], figures["matched"], figures["same_label"]) == (12 * 480, 100, 100)
    assert (entry["recovery"]["frames_worst"], entry["recovery"]["within_3"]) == (
        0,
        entry["recovery"]["cuts"],
    )


def test_table_and_pictures(
    network: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "strips"
    call = ["evaluate", network, "--clips", str(clip.parent), "--whole", "--limit", "5", "-o", str(folder)]
    assert run(call) == 0
    shown = capsys.readouterr().out
    [row] = [line for line in shown.splitlines() if line.startswith("face.avi")]
    # Pairs, then shares with and without and their ratio; too few frames for cuts.
    assert row.split()[1:] == ["4", "0.00", "0.00", "1.00", "0.00", "0.00", "1.00", "100.00", *"---"]
    assert f"wrote pictures into {folder}" in shown
    assert "made a network" not in shown
    [picture] = folder.iterdir()
    assert cv2.imread(str(picture)).shape == (2 * SIDE, 5 * SIDE, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--clips", "CLIP", "--data", "celebamask:x"], "--data is not for --clips"),
        (["--clips", "CLIP", "--previous", "none"], "--previous is not for --clips"),
        (["--clips", "nowhere.mp4"], "no clip or folder 'nowhere.mp4'"),
        (["--data", "celebamask:x", "--whole"], "--whole is for --clips"),
        ([], "--clips"),
    ],
)
def test_calls_that_are_refused(
    options: list[str], words: str, network: str, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(clip) if option == "CLIP" else option for option in options]
    assert run(["evaluate", network, *given]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""

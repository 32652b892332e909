"""`toolchain evaluate` from arguments to tables, JSON and the page."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.cli import run
from toolchain.models.faces import PALETTE

SIDE = 32
NETWORK = """
import torch
from torch import nn

from toolchain.models.faces import PALETTE, face_spec


def painted():
    colors = torch.tensor(PALETTE).float() / 127.5 - 1
    network = nn.Conv2d(3, 10, 1)
    with torch.no_grad():
        network.weight.copy_(2 * colors[:, :, None, None])
        network.bias.copy_(-(colors**2).sum(1))
    print("made a network")
    return network, face_spec("painted", "", "", False, 32)
"""


@pytest.fixture
def network(tmp_path: Path) -> str:
    """Reads the class of a pixel off its colour."""
    path = tmp_path / "painted.py"
    path.write_text(NETWORK)
    return f"{path}:painted"


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Two pairs; in one the picture shows half of the nose that is annotated."""
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, shown in (("whole", 8), ("half", 4)):
            index = np.zeros((SIDE, SIDE), np.uint8)
            index[8:24, 8:24] = 1
            picture = np.array(PALETTE, np.uint8)[index]
            # CelebAMask-HQ calls the nose 2.
            index[12:20, 12:20] = 2
            picture[12 : 12 + shown, 12:20] = PALETTE[6]
            for place, pixels in ((f"images/{name}.jpg", picture[:, :, ::-1]), (f"labels/{name}.png", index)):
                archive.writestr(f"val/{place}", cv2.imencode(".png", pixels)[1].tobytes())
    return f"celebamask:{path}"


def test_tables(network: str, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", network, "--data", data]) == 0
    shown = capsys.readouterr()
    lines = [line.split() for line in shown.out.splitlines()]
    # Of 128 nose pixels 96 are found: 2 * 96 / (96 + 128).
    assert ["overall", "F1", "85.71"] in lines
    assert next(line for line in lines if line[:1] == ["nose"])[1:3] == ["85.71", "75.00"]
    assert any(line[-4:] == ["half", "66.7", "whole", "100.0"] for line in lines)
    assert "previous mask" not in shown.out
    assert "all 2 val pictures of CelebAMask-HQ subset" in shown.out
    assert "pictures a second" in shown.out
    assert "made a network" in shown.err
    assert "terms of the data: trained on CelebAMask-HQ" in shown.err


def test_json_and_page(network: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "report.html"
    arguments = ["evaluate", network, "--baseline", network, "--data", data, "-o", str(output), "--json"]
    assert run(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["version"] == 1
    assert report["data"]["pictures"] == report["data"]["available"] == 2
    assert report["baseline"] == network
    first, second = report["artifacts"]
    assert (first["agreement"], second["agreement"]) == (None, 1)
    assert second["overall_f1"] == 85.714
    assert second["overall_f1_difference_interval"] == [0, 0]
    assert second["worst"][0] == {"name": "half", "overall_f1": 66.667}
    assert second["confusion"][6][:7] == [0, 32, 0, 0, 0, 0, 96]
    page = output.read_text(encoding="utf-8")
    assert "85.71" in page
    assert page.count("data:image/jpeg") == 2 * 2 * 4


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["-o", "report.pdf"], 2, "no name for a page"),
        (["--data", "celebamask:none.zip"], 2, "no data at"),
        (["--data", "nothing:x"], 2, "unknown data scheme"),
        (["--like", "lenet"], 3, "no face parser"),
        (["--limit", "0"], 2, ""),
        (["--previous", "best"], 2, ""),
    ],
)
def test_refusals(
    extra: list[str], code: int, message: str, network: str, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", network, "--data", data, *extra]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err

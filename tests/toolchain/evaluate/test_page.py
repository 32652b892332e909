"""The page of an evaluation: complete, self-contained, and showing what was found."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.errors import UsageError
from toolchain.evaluate import Evaluation, evaluate
from toolchain.evaluate.page import ERRORS, check_page, data_uri, error_picture, page, write_page

CLOSED_BY_NOTHING = {"meta", "img"}


class Reader(HTMLParser):
    """Tables as lists of rows, pictures, addresses, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.pictures: list[tuple[str, np.ndarray]] = []
        self.addresses: list[str] = []
        self.captions: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        values = dict(attrs)
        self.addresses += [values[name] for name in ("src", "href", "srcset", "action") if name in values]
        if tag == "img":
            data = base64.b64decode(values["src"].removeprefix("data:image/jpeg;base64,"))
            self.pictures.append((values["alt"], cv2.imdecode(np.frombuffer(data, np.uint8), 1)))
        if tag not in CLOSED_BY_NOTHING:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag == "figcaption":
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data.strip()
        if "figcaption" in self._open:
            self.captions[-1] += data


@pytest.fixture(scope="module")
def made(factories: str, painted_data: str) -> Evaluation:
    return evaluate([f"{factories}:painted", f"{factories}:noseless"], painted_data, worst=2)


def test_page_holds_everything(made: Evaluation) -> None:
    text = page(made, "toolchain evaluate <x>")
    reader = Reader(text)
    assert all(address.startswith("data:image/jpeg;base64,") for address in reader.addresses)
    assert "http" not in text
    assert "url(" not in text
    figures, f1, _iou, _boundary, first, second = reader.tables
    names = [judgement.contender.name for judgement in made.judgements]
    assert figures[0] == ["", *names]
    assert figures[1] == ["overall F1", "100.00", f"{made.judgements[1].figures.scores.overall:.2f}"]
    assert ["nose", "100.00", "0.00"] in f1
    diagonal = [row[1 + index] for index, row in enumerate(first[1:])]
    assert diagonal == ["100.0"] * 10
    assert second[7][7] == ""
    assert sum(float(cell) for cell in second[7][1:] if cell) == pytest.approx(100, abs=0.5)
    # The name of a pair is text.
    assert "&lt;d&gt;" in text
    assert any("<d>" in caption for caption in reader.captions)
    assert "toolchain evaluate &lt;x&gt;" in text
    assert made.terms in text


def test_pictures_of_the_contact_sheet(made: Evaluation) -> None:
    reader = Reader(page(made))
    bad = made.judgements[1].worst[0]
    shown = dict(reader.pictures)
    picture = shown[f"picture of {bad.name}"]
    assert picture.shape == (32, 32, 3)
    # JPEG keeps small bright parts roughly.
    nose = bad.truth == 6
    found, true = (shown[f"{kind} of {bad.name}"].astype(int) for kind in ("prediction", "truth"))
    assert np.abs(found - true).max(-1)[nose].mean() > 20
    assert len(reader.pictures) == 2 * 2 * 4


def test_colours_of_errors() -> None:
    picture = np.full((1, 6, 3), 90, np.uint8)
    truth = np.array([[6, 1, 6, 0, 255, 6]], np.uint8)
    found = np.array([[1, 6, 4, 1, 6, 6]], np.uint8)
    missed, extra, mixed_up, skin = (color for _, color, _ in ERRORS)
    drawn = error_picture(picture, truth, found)[0].tolist()
    assert drawn == [list(color) for color in (missed, extra, mixed_up, skin)] + [[30, 30, 30]] * 2


def test_large_pictures_are_made_smaller() -> None:
    large = np.zeros((1024, 1024, 3), np.uint8)
    data = base64.b64decode(data_uri(large).partition(",")[2])
    assert cv2.imdecode(np.frombuffer(data, np.uint8), 1).shape == (384, 384, 3)


def test_a_page_without_worst_pictures(factories: str, painted_data: str) -> None:
    text = page(evaluate([f"{factories}:painted"], painted_data, worst=0))
    assert Reader(text).pictures == []
    assert "Worst pictures" not in text


def test_write_page(made: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, made)
    assert path.read_text(encoding="utf-8") == page(made)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("report.pdf", "no name for a page"), ("missing/report.html", "no folder"), (".", "no name for a page")],
)
def test_names_that_cannot_be_written(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        check_page(tmp_path / name)

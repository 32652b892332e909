"""An evaluation as one HTML file that needs nothing from outside."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from toolchain.errors import UsageError
from toolchain.evaluate import BadPicture, Evaluation, Judgement
from toolchain.evaluate.tables import UNKNOWN, class_tables, figures_table, remarks
from toolchain.face.colorize import colorize
from toolchain.models.faces import LABELS, PALETTE
from toolchain.training.datasets.pairs import IGNORE
from toolchain.training.metrics import SKIN

TEMPLATE = "page.html.j2"
SUFFIXES = (".html", ".htm")
# Pictures are shown no larger than this, in pixels.
SHOWN = 384
JPEG_QUALITY = 85
UNANNOTATED = (110, 110, 120)
# What is wrong with a pixel: name, colour, explanation.
MISSED, EXTRA, MIXED_UP, OUTLINE = range(4)
ERRORS = (
    ("missed", (255, 176, 0), "a part of the face that was not found"),
    ("extra", (60, 150, 255), "found where there is none"),
    ("mixed up", (235, 60, 190), "one part taken for another"),
    ("skin", (130, 130, 130), "skin and background taken for each other; not in the overall F1"),
)


def check_page(path: Path) -> None:
    """Raises UsageError when a page could not be written to `path`: ask before doing the work."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"'{path}' is no name for a page", "give a name that ends in .html")
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder", "give the name of a file")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder '{path.parent}'", "make it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"folder '{path.parent}' cannot be written to", "choose another with -o")


def write_page(path: Path, made: Evaluation, command: str = "") -> None:
    """Write an evaluation as a page and move it into place.

    Raises:
        UsageError: the file cannot be written; nothing is left behind then.
    """
    check_page(path)
    text = page(made, command)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}", "choose another with -o") from error
    finally:
        aside.unlink(missing_ok=True)


def page(made: Evaluation, command: str = "") -> str:
    """The HTML of an evaluation; pictures are part of it.

    Args:
        made: the evaluation.
        command: how it was called.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(
        figures=figures_table(made),
        classes=class_tables(made),
        remarks=list(remarks(made)),
        terms=made.terms,
        judgements=[_shown(judgement) for judgement in made.judgements],
        labels=LABELS,
        colours=[_css(color) for color in PALETTE],
        errors=[(name, _css(color), meaning) for name, color, meaning in ERRORS],
        unannotated=_css(UNANNOTATED),
        versions=made.as_json()["versions"],
        command=command,
        unknown=UNKNOWN,
    )


def _shown(judgement: Judgement) -> dict[str, Any]:
    return {
        "name": judgement.contender.name,
        "confusion": list(_confusion_rows(judgement)),
        "worst": [_strip(bad) for bad in judgement.worst],
    }


def _confusion_rows(judgement: Judgement) -> Iterator[list[tuple[float | None, float]]]:
    """(percent of the true class, strength of the colour 0-1) per cell; None for an absent class."""
    for row in judgement.figures.confusion.double():
        total = float(row.sum())
        # The root keeps small shares visible.
        yield [(100 * v / total, (v / total) ** 0.5) if total else (None, 0.0) for v in row.tolist()]


def _strip(bad: BadPicture) -> dict[str, Any]:
    return {
        "name": bad.name,
        "overall_f1": f"{bad.overall_f1:.1f}",
        "pictures": [
            ("picture", data_uri(bad.picture)),
            ("truth", data_uri(_overlay(bad.picture, bad.truth))),
            ("prediction", data_uri(_overlay(bad.picture, bad.found))),
            ("error", data_uri(error_picture(bad.picture, bad.truth, bad.found))),
        ],
    }


def _overlay(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    known = np.where(labels == IGNORE, len(PALETTE), labels).astype(np.uint8)
    return colorize(picture, known, (*PALETTE, UNANNOTATED))


def error_picture(picture: np.ndarray, truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The picture in pale grey, its wrong pixels in the colours of ERRORS; unannotated ones stay pale.

    Args:
        picture: (H, W, 3) RGB uint8.
        truth: annotated labels (H, W), 255 where unknown.
        found: labels (H, W).
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    drawn = np.repeat((grey // 3)[:, :, None], 3, 2)
    is_part, is_found = truth > SKIN, found > SKIN
    wrong = (truth != found) & (truth != IGNORE)
    for chosen, index in (
        (wrong & is_part & ~is_found, MISSED),
        (wrong & ~is_part & is_found, EXTRA),
        (wrong & is_part & is_found, MIXED_UP),
        (wrong & ~is_part & ~is_found, OUTLINE),
    ):
        drawn[chosen] = ERRORS[index][1]
    return drawn


def data_uri(picture: np.ndarray) -> str:
    """A picture (H, W, 3) RGB uint8 as the JPEG that a page can hold, at most SHOWN pixels wide and high."""
    scale = SHOWN / max(picture.shape)
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _css(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)

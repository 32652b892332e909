"""The built page in a real browser with a fake camera: its masks are LiteRT's, its console has no errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.demo.web_demo import DemoServer
from toolchain.face import effects
from toolchain.face.motion import MovingMask, shrunk_planes
from toolchain.face.parse import contract_of
from toolchain.face.picture import read_picture
from toolchain.face.preprocess import class_probabilities, picture_input, to_input
from toolchain.face.region import Square, crop, crop_matrix, unwarp_labels
from toolchain.runtimes import load
from toolchain.spec import load_sidecar

# tests/toolchain/demo/web/conftest.py has the class.
Browser = Any
LEAST_AGREEMENT = 0.995


def planes(flat: np.ndarray, classes: int) -> np.ndarray:
    """(classes, size, size) of the page's values, in which the classes of a pixel lie side by side."""
    size = math.isqrt(flat.size // classes)
    return np.ascontiguousarray(flat.reshape(size, size, classes).transpose(2, 0, 1))


def by_litert(frame: dict[str, Any], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the whole frame and probabilities of its region, of LiteRT in Python on what the page saw."""
    contract = contract_of(load_sidecar(path))
    matrix = crop_matrix(Square(**frame["square"]), contract.size)
    cut = crop(frame["pixels"], matrix, contract.size, contract.preprocess.resize)
    classes = len(contract.labels)
    before = np.zeros((classes, contract.size, contract.size), np.float32)
    if frame["previous"].size:
        before = planes(frame["previous"], classes)
    assert contract.previous is not None
    with load(path) as runtime:
        result = runtime.run(
            {
                contract.image.name: picture_input(cut, contract.preprocess, contract.image),
                contract.previous.name: to_input(before, contract.previous),
            }
        )
    found = class_probabilities(result[contract.logits.name], contract.logits)
    return unwarp_labels(found, matrix, frame["pixels"].shape), found


def check_alike(expected: np.ndarray, found: np.ndarray) -> None:
    """OpenCV interpolates with weights of 1/32 pixel, which a few pixels of steep outlines show."""
    apart = np.abs(expected.astype(int) - found)
    assert apart.max() <= 8
    assert (apart > 1).mean() < 1e-4


def inside(frame: dict[str, Any]) -> tuple[slice, slice]:
    """Rows and columns of the region of interest."""
    square = frame["square"]
    left, top = max(0, int(square["x"])), max(0, int(square["y"]))
    return slice(top, int(square["y"] + square["side"])), slice(left, int(square["x"] + square["side"]))


@pytest.mark.parametrize("index", [0, 1], ids=["fp32", "int8"])
def test_labels_are_those_of_litert(filmed: Browser, artifacts: list[Path], index: int) -> None:
    filmed.choose("artifact", str(index))
    filmed.hears("Loading")
    filmed.hears("Live.")
    first, second = filmed.frames(2)
    # The second frame of a face has a mask before it.
    assert second["previous"].size == second["probabilities"].size
    for frame in (first, second):
        labels, _ = by_litert(frame, artifacts[index])
        region = inside(frame)
        assert (labels[region] == frame["labels"][region]).mean() >= LEAST_AGREEMENT
        # A face that fills a good part of its region, with all of its parts but perhaps the inner mouth.
        assert (frame["labels"][region] > 0).mean() > 0.2
        assert len(np.unique(frame["labels"])) >= 9
    assert filmed.errors == []


@pytest.mark.parametrize("name", list(effects.EFFECTS))
def test_effects_are_those_of_the_engine(filmed: Browser, artifacts: list[Path], name: str) -> None:
    contract = contract_of(load_sidecar(artifacts[0]))
    filmed.choose("effect", name)
    (frame,) = filmed.frames(1)
    matrix = crop_matrix(Square(**frame["square"]), contract.size)
    probabilities = planes(frame["probabilities"], len(contract.labels))
    face = effects.Face(probabilities, matrix, contract.labels, contract.palette)
    expected = effects.effect(name).apply(frame["pixels"], [face], None, None, None)
    check_alike(expected, frame["shown"])
    assert (frame["shown"] != frame["pixels"]).any()


def test_a_colour_of_ones_own(filmed: Browser, artifacts: list[Path]) -> None:
    contract = contract_of(load_sidecar(artifacts[0]))
    filmed.choose("effect", "lipstick")
    filmed.value("document.getElementById('own-color').click()")
    filmed.choose("color", "#3050c0")
    filmed.choose("strength", "1")
    (frame,) = filmed.frames(1)
    matrix = crop_matrix(Square(**frame["square"]), contract.size)
    face = effects.Face(planes(frame["probabilities"], len(contract.labels)), matrix, contract.labels)
    expected = effects.lipstick(frame["pixels"], face, (0x30, 0x50, 0xC0), 1.0)
    check_alike(expected, frame["shown"])
    # Blue lips, and nothing else.
    changed = (frame["shown"] != frame["pixels"]).any(axis=-1)
    assert frame["shown"][changed].mean(axis=0).argmax() == 2
    assert 0 < changed.mean() < 0.01


def test_masks_are_carried_like_the_engine_does(filmed: Browser, artifacts: list[Path]) -> None:
    contract = contract_of(load_sidecar(artifacts[0]))
    classes = len(contract.labels)
    # Frames are far apart on a busy computer; the page may then forget the mask, as the engine would.
    pairs = pairwise(filmed.frames(6))
    carried = [(before, now) for before, now in pairs if now["previous"].size]
    assert carried
    shares = []
    for before, now in carried:
        moving_mask = MovingMask()
        sides = [crop_matrix(Square(**frame["square"]), contract.size) for frame in (before, now)]
        cuts = [
            crop(frame["pixels"], matrix, contract.size, contract.preprocess.resize)
            for frame, matrix in zip((before, now), sides, strict=True)
        ]
        said = planes(before["probabilities"], classes)
        moving_mask.put(cuts[0], sides[0], shrunk_planes(said))
        expected = moving_mask.carried(cuts[1], sides[1])
        found = planes(now["previous"], classes)
        if expected is not None:
            shares.append((expected.argmax(axis=0) == found.argmax(axis=0)).mean())
    assert shares
    assert np.median(shares) > 0.9


@pytest.mark.parametrize(("width", "height", "name"), [(360, 740, "phone"), (1280, 900, "laptop")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits(
    filmed: Browser, tmp_path: Path, width: int, height: int, name: str, scheme: str
) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    filmed.call("Emulation.setEmulatedMedia", features=features)
    filmed.resize(width, height)
    filmed.frames(1)
    picture = filmed.screenshot(tmp_path / f"{name}-{scheme}.png")
    assert picture.shape[:2] == (height, width)
    assert filmed.value("document.documentElement.scrollWidth") == width
    # The ground at the very edge is light or dark.
    assert bool(picture[:, :4].mean() > 128) is (scheme == "light")
    # Nothing that a finger must hit is smaller than 24 pixels (WCAG 2.2, 2.5.8).
    smallest = filmed.value(
        "Math.min(...[...document.querySelectorAll('button, select, input:not([hidden])')]"
        ".map((one) => Math.min(one.offsetWidth, one.offsetHeight)))"
    )
    assert smallest >= 24
    assert filmed.errors == []


def test_keys_reach_every_control(filmed: Browser) -> None:
    filmed.resize(1280, 900)
    filmed.value("document.activeElement.blur()")
    reached, outlined = [], []
    for _ in range(12):
        filmed.press("Tab", 9)
        reached.append(filmed.value("document.activeElement.id"))
        outlined.append(filmed.value("getComputedStyle(document.activeElement).outlineStyle"))
    wanted = {"camera", "pause", "save", "choose", "effect", "strength", "mirror", "artifact", "backend"}
    assert wanted <= set(reached)
    assert {style for name, style in zip(reached, outlined, strict=True) if name} == {"solid"}
    unnamed = filmed.value(
        "[...document.querySelectorAll('button, select, input:not([hidden])')].filter((one) => "
        "!(one.labels?.length || one.ariaLabel || one.textContent.trim())).map((one) => one.id)"
    )
    assert unnamed == []
    filmed.value("document.getElementById('pause').focus()")
    filmed.press("Enter", 13, "\r")
    filmed.hears("Paused.")
    filmed.press("Enter", 13, "\r")
    filmed.hears("Live.")


def test_stages_are_timed(filmed: Browser) -> None:
    filmed.wait("document.querySelector('#times td').textContent !== ''")
    rows = filmed.value(
        "[...document.querySelectorAll('#times tr')].map((row) => row.innerText.split('\\t'))"
    )
    assert [row[0] for row in rows] == [
        "capture", "detection", "crop", "inference", "unwarp", "colorization", "total"
    ]  # fmt: skip
    assert all(0 <= float(half) <= float(most) for _, half, most in rows)
    (frame,) = filmed.frames(1)
    parts = sum(value for stage, value in frame["times"].items() if stage != "total")
    assert parts <= frame["times"]["total"] + 1


def test_an_upload_without_a_camera(
    start: Callable[..., Browser], server: DemoServer, picture: Path, artifacts: list[Path]
) -> None:
    browser = start()
    browser.open(server.url, 1280, 900)
    browser.hears("No camera was found.")
    browser.ask()
    browser.drop(picture.read_bytes(), "face.jpg")
    (frame,) = browser.frames()
    browser.hears("Done.")
    assert np.abs(frame["pixels"].astype(int) - read_picture(picture)).mean() < 1
    labels, _ = by_litert(frame, artifacts[0])
    region = inside(frame)
    assert (labels[region] == frame["labels"][region]).mean() >= LEAST_AGREEMENT
    nose = np.argwhere(frame["labels"] == 6).mean(axis=0)
    assert np.abs(nose - (130, 225)).max() < 15
    assert browser.errors == []

"""What the page's canvas holds after drawing, read back pixel by pixel."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from toolchain.demo.web_demo import DemoServer
from toolchain.face.parse import contract_of
from toolchain.face.picture import read_picture
from toolchain.spec import load_sidecar

# tests/toolchain/demo/web/conftest.py has the class.
Browser = Any
# The face in the photograph; enlarged, its lips are some pixels wide between their outlines.
FACE = (slice(0, 260), slice(95, 355))
LIPS = ("upper lip", "lower lip")
# Pixels of the picture from the outline of the lips within which the paint may begin and end.
INSIDE, OUTSIDE = 3, 8


def png(picture: np.ndarray) -> bytes:
    """A file that a browser decodes to exactly these pixels."""
    good, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert good
    return data.tobytes()


def canvas(browser: Browser) -> np.ndarray:
    """(height, width, 3) RGB: what is on the page's canvas now."""
    found = browser.value(
        """{
          const {width, height} = document.getElementById('canvas');
          const context = document.getElementById('canvas').getContext('2d');
          const {data} = context.getImageData(0, 0, width, height);
          let text = '';
          for (let at = 0; at < data.length; at += 32768) {
            text += String.fromCharCode(...data.subarray(at, at + 32768));
          }
          ({width, height, data: btoa(text)});
        }"""
    )
    pixels = np.frombuffer(base64.b64decode(found["data"]), np.uint8)
    pixels = pixels.reshape(found["height"], found["width"], 4)
    assert (pixels[..., 3] == 255).all()
    return pixels[..., :3].copy()


def lips(frame: dict[str, Any], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Where the mask says lips for certain, and where they are not even near."""
    labels = contract_of(load_sidecar(path)).labels
    found = np.isin(frame["labels"], [labels.index(name) for name in LIPS]).astype(np.uint8)
    around = [np.ones((2 * count + 1, 2 * count + 1), np.uint8) for count in (INSIDE, OUTSIDE)]
    return cv2.erode(found, around[0]) > 0, cv2.dilate(found, around[1]) == 0


@pytest.fixture(scope="module")
def opened(
    start: Callable[..., Browser], server: DemoServer, picture: Path
) -> tuple[Browser, np.ndarray, dict[str, Any]]:
    """The page with a photograph: the browser, the photograph's pixels, and what the page found in it."""
    pixels = cv2.resize(read_picture(picture)[FACE], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    browser = start()
    browser.open(server.url, 1280, 900)
    browser.hears("No camera was found.")
    browser.ask()
    browser.drop(png(pixels), "face.png")
    (frame,) = browser.frames()
    browser.hears("Done.")
    return browser, pixels, frame


def lipstick(browser: Browser, color: str) -> None:
    browser.choose("effect", "lipstick")
    if browser.value("!document.getElementById('own-color').checked"):
        browser.value("document.getElementById('own-color').click()")
    browser.choose("color", color)
    browser.choose("strength", "1")


@pytest.mark.parametrize(("color", "channel"), [("#3050c0", 2), ("#209030", 1), ("#c01020", 0)])
def test_lipstick_is_on_the_lips_and_nowhere_else(
    opened: tuple[Browser, np.ndarray, dict[str, Any]], artifacts: list[Path], color: str, channel: int
) -> None:
    browser, before, frame = opened
    lipstick(browser, color)
    after = canvas(browser)
    inside, outside = lips(frame, artifacts[0])
    assert inside.sum() > 50
    np.testing.assert_array_equal(after[outside], before[outside])
    changed = (after != before).any(axis=-1)
    assert changed[inside].mean() > 0.99
    assert after[inside].mean(axis=0).argmax() == channel
    others = [one for one in range(3) if one != channel]
    turned = [np.median(one[..., channel] - one[..., others].mean(axis=-1)) for one in
              (after[inside].astype(float), before[inside].astype(float))]  # fmt: skip
    assert turned[0] > turned[1] + 15
    assert browser.errors == []


@pytest.mark.parametrize("name", ["mask", "lipstick"])
def test_without_an_effect_the_canvas_is_the_picture(
    opened: tuple[Browser, np.ndarray, dict[str, Any]], name: str
) -> None:
    browser, before, _ = opened
    browser.choose("effect", name)
    assert (canvas(browser) != before).any()
    browser.choose("effect", "none")
    np.testing.assert_array_equal(canvas(browser), before)
    browser.choose("effect", name)
    browser.choose("strength", "0")
    np.testing.assert_array_equal(canvas(browser), before)


def test_the_camera_is_seen_as_in_a_mirror(filmed: Browser) -> None:
    """The canvas has the frame as it is; the page turns it round, unless the user does not want that."""
    turned = "getComputedStyle(document.getElementById('canvas')).transform"
    for ticked, wanted in ((True, "matrix(-1, 0, 0, 1, 0, 0)"), (False, "none")):
        if filmed.value("document.getElementById('mirror').checked") is not ticked:
            filmed.value("document.getElementById('mirror').click()")
        filmed.frames(1)
        assert filmed.value(turned) == wanted
    shown = canvas(filmed)
    assert shown.shape == (480, 640, 3)
    assert shown.std() > 20


@pytest.mark.parametrize(("width", "height"), [(10_000, 1), (1, 10_000), (4000, 200)])
def test_a_strip_is_refused_and_what_is_shown_stays(
    opened_again: tuple[Browser, np.ndarray], width: int, height: int
) -> None:
    browser, before = opened_again
    strip = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    browser.drop(png(strip), "strip.png")
    browser.hears(f"“strip.png” is {width} x {height} pixels, too narrow to find a face in")
    assert browser.value("document.getElementById('status').classList.contains('failed')")
    np.testing.assert_array_equal(canvas(browser), before)
    assert browser.errors == []


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (1600, 100), (90, 1440)])
def test_small_and_narrow_pictures_are_looked_at(
    opened_again: tuple[Browser, np.ndarray], width: int, height: int
) -> None:
    browser, _ = opened_again
    browser.drop(png(np.full((height, width, 3), (90, 100, 110), np.uint8)), "wall.png")
    browser.hears("No face was found in this picture.")
    shown = canvas(browser)
    longest = max(width, height)
    scale = min(1, 1280 / longest)
    assert shown.shape == (max(1, round(scale * height)), max(1, round(scale * width)), 3)
    assert (shown == (90, 100, 110)).all()
    assert browser.errors == []


@pytest.fixture(scope="module")
def opened_again(
    start: Callable[..., Browser], server: DemoServer, picture: Path
) -> tuple[Browser, np.ndarray]:
    """A page of its own with a photograph and no effect, and what its canvas shows."""
    browser = start()
    browser.open(server.url, 360, 740)
    browser.hears("No camera was found.")
    browser.drop(picture.read_bytes(), "face.jpg")
    browser.hears("Done.")
    browser.choose("effect", "none")
    return browser, canvas(browser)

"""What is written on the screen, and when it is written anew."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.demo import screen
from toolchain.demo.figures import Figures
from toolchain.demo.look import Controls, Look
from toolchain.demo.scene import Drawn
from toolchain.demo.screen import LEFT, LINE_HEIGHT, Ink, Screen, write


def drawn(picture: np.ndarray, faces: int = 1) -> Drawn:
    return Drawn(picture, faces, {}, {}, None, None, (), None, 0.0)


@pytest.mark.parametrize("shape", [(480, 640), (30, 640), (480, 90)])
def test_ink_is_what_writing_on_the_picture_gives(shape):
    """But for rounding, once for each stroke that covers a pixel."""
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    lines = ["24.9 frames/s  faces 1", "ms: inference 17.2"]
    made, wanted = picture.copy(), picture.copy()
    Ink.of(lines, shape).lay_over(made)
    for number, line in enumerate(lines):
        write(wanted, line, LEFT, (number + 1) * LINE_HEIGHT)
    assert np.abs(made.astype(int) - wanted).max() <= 5


def test_figures_stay_for_a_while_and_words_change_at_once(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(screen, "monotonic", lambda: now[0])
    black, shown, figures, controls = (
        np.zeros((480, 640, 3), np.uint8),
        Screen(),
        Figures(),
        Controls(Look(effect="mask")),
    )

    def composed() -> np.ndarray:
        return shown.compose(drawn(black), figures, controls).copy()

    figures.add_stages({"inference": 10.0}, {}, 1)
    first = composed()
    figures.add_stages({"inference": 30.0}, {}, 1)
    assert np.array_equal(composed(), first)
    now[0] += 0.3
    later = composed()
    assert not np.array_equal(later, first)
    controls.look = Look(effect="lipstick")
    assert not np.array_equal(composed(), later)


def test_a_smaller_picture_is_written_on():
    shown, figures, controls = Screen(), Figures(), Controls(Look())
    for height, width in ((480, 640), (640, 20), (20, 640), (480, 640)):
        canvas = shown.compose(drawn(np.zeros((height, width, 3), np.uint8)), figures, controls)
        assert canvas.shape == (height, width, 3)
        assert canvas.any()


def test_status_names_rate_stages_network_and_steadiness():
    figures = Figures()
    for number in range(3):
        figures.add_stages({"detection": 1.0, "inference": 17.25}, {}, 1)
        figures.add_shown(number / 25, number / 25 - 0.05)
    shown = Drawn(np.zeros((4, 4, 3), np.uint8), 2, {}, {}, 0.9876, None, (), None, 0.0)
    lines = screen.status_lines(shown, figures, Controls(Look("brows")), ["a.tflite  int8  LiteRT 2.3"])
    assert lines == [
        "25.0 frames/s  glass to glass 50 ms  faces 2  steady 98.8%  brows",
        "ms: detection 1.0  inference 17.2",
        "a.tflite  int8  LiteRT 2.3",
    ]

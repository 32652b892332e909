"""The picture as it appears on the screen: brought to size, with figures, messages and keys written on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import cv2
import numpy as np

from toolchain.demo.figures import STAGES, Figures
from toolchain.demo.look import KEYS, Controls
from toolchain.demo.scene import Drawn

# Pictures are enlarged or shrunk so that their longer side is within these, in pixels.
SHORTEST, LONGEST = 640, 1440
FONT, SCALE, LINE_HEIGHT, LEFT = cv2.FONT_HERSHEY_SIMPLEX, 0.45, 18, 8
WHITE, SHADE, ALERT = (255, 255, 255), (0, 0, 0), (80, 220, 255)
GAP, ELLIPSIS = "  ", "..."
# Seconds for which figures stay on the screen: nobody reads them faster, and writing costs time.
HOLD = 0.25
NO_FACE = "no face"
WAITING = "waiting for the first frame"


@dataclass(frozen=True)
class Ink:
    """Lines of text, ready to be laid over a picture: canvas * remains / 255 + light.

    Attributes:
        remains: (height, width, 3) uint8, 255 where there is no text.
        light: the same, 0 where there is no text.
    """

    remains: np.ndarray
    light: np.ndarray

    @classmethod
    def of(cls, lines: Sequence[str], shape: tuple[int, ...]) -> Ink:
        """Write lines into the upper left corner of a canvas (height, width) of that shape."""
        width = LEFT + max(map(text_width, lines), default=0) + LEFT
        size = min(shape[0], (len(lines) + 1) * LINE_HEIGHT), min(shape[1], width), 3
        black, white = np.zeros(size, np.uint8), np.full(size, 255, np.uint8)
        for number, line in enumerate(lines):
            for canvas in (black, white):
                write(canvas, line, LEFT, (number + 1) * LINE_HEIGHT)
        # What becomes of black and of white says what becomes of all between.
        return cls(white - black, black)

    def lay_over(self, canvas: np.ndarray) -> None:
        """In place, on (height, width, 3) uint8."""
        height, width = self.light.shape[:2]
        part = canvas[:height, :width]
        cv2.add(cv2.multiply(part, self.remains, scale=1 / 255), self.light, part)


class Screen:
    """Writes over pictures; its array is used again."""

    def __init__(self) -> None:
        self._canvas = np.empty((0, 0, 3), np.uint8)
        self._lines: list[str] = []
        self._ink = Ink.of((), (0, 0))
        self._inked = 0.0

    def compose(
        self,
        drawn: Drawn | None,
        figures: Figures,
        controls: Controls,
        networks: Sequence[str] = (),
        message: str = "",
    ) -> np.ndarray:
        """(height, width, 3) BGR uint8, which holds until the next call.

        Args:
            drawn: the latest picture; None for a black one.
            figures: rates and times of late.
            controls: what is drawn, and whether the keys are shown.
            networks: file, precision and runtime, a line for each file.
            message: what the user should know now, in the middle; "" for nothing.
        """
        canvas = self._base(drawn)
        lines = status_lines(drawn, figures, controls, networks)
        self._write_status(lines, canvas)
        if drawn is not None:
            write_captions(canvas, drawn, len(lines) + 2)
        if not message and (drawn is None or not drawn.faces):
            message = WAITING if drawn is None else NO_FACE
        if controls.paused:
            message = f"paused{': ' if message else ''}{message}"
        for number, line in enumerate(wrapped(message, canvas.shape[1])):
            write(canvas, line, None, canvas.shape[0] // 2 + number * LINE_HEIGHT, ALERT)
        if controls.help:
            keys = wrapped(KEYS, canvas.shape[1], GAP)
            for number, line in enumerate(keys):
                write(canvas, line, LEFT, canvas.shape[0] - 8 - (len(keys) - 1 - number) * LINE_HEIGHT)
        return canvas

    def _write_status(self, lines: list[str], canvas: np.ndarray) -> None:
        """Write anew when words have changed, and when figures have been there for a while."""
        new_words = without_figures(lines) != without_figures(self._lines)
        fits = self._ink.light.shape[0] <= canvas.shape[0] and self._ink.light.shape[1] <= canvas.shape[1]
        if new_words or not fits or (lines != self._lines and monotonic() - self._inked > HOLD):
            self._lines, self._inked = lines, monotonic()
            self._ink = Ink.of(lines, canvas.shape)
        self._ink.lay_over(canvas)

    def _base(self, drawn: Drawn | None) -> np.ndarray:
        if drawn is None:
            self._resize((480, 640))
            self._canvas.fill(0)
            return self._canvas
        height, width = drawn.picture.shape[:2]
        longest = max(height, width)
        scale = min(max(SHORTEST / longest, 1.0), LONGEST / longest)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        self._resize(size)
        if scale == 1.0:
            cv2.cvtColor(drawn.picture, cv2.COLOR_RGB2BGR, self._canvas)
        else:
            rule = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            cv2.cvtColor(
                cv2.resize(drawn.picture, size[::-1], interpolation=rule), cv2.COLOR_RGB2BGR, self._canvas
            )
        return self._canvas

    def _resize(self, size: tuple[int, int]) -> None:
        if self._canvas.shape[:2] != size:
            self._canvas = np.empty((*size, 3), np.uint8)


def without_figures(lines: Sequence[str]) -> list[str]:
    """The lines with a mark for every number."""
    return [re.sub(r"[0-9]+(\.[0-9]+)?", "#", line) for line in lines]


def status_lines(
    drawn: Drawn | None, figures: Figures, controls: Controls, networks: Sequence[str]
) -> list[str]:
    """What stands in the upper corner."""
    rate, glass = figures.recent_rate, figures.recent_glass
    first = [f"{rate:.1f} frames/s" if rate else "- frames/s"]
    if glass is not None:
        first.append(f"glass to glass {glass:.0f} ms")
    if drawn is not None:
        first.append(f"faces {drawn.faces}")
        if drawn.steady is not None:
            first.append(f"steady {drawn.steady:.1%}")
    first.append(controls.look.effect)
    lines = ["  ".join(first)]
    recent = figures.recent_stages()
    times = [f"{stage} {recent[stage]:.1f}" for stage in STAGES if stage in recent]
    if drawn is not None and drawn.second:
        times.append(f"second inference {drawn.second.get('inference', 0.0):.1f}")
    if times:
        lines.append(f"ms: {'  '.join(times)}")
    lines += networks
    if drawn is not None and drawn.agreement is not None:
        lines.append(agreement_line(drawn.agreement))
    return lines


def annotate(drawn: Drawn) -> np.ndarray:
    """A picture of two files with what is needed to read it, in place: names and agreement.

    Returns:
        (height, width, 3) RGB uint8, `drawn.picture`.
    """
    write_captions(drawn.picture, drawn, 1)
    if drawn.agreement is not None:
        write(drawn.picture, agreement_line(drawn.agreement), LEFT, drawn.picture.shape[0] - LEFT)
    return drawn.picture


def write_captions(canvas: np.ndarray, drawn: Drawn, row: int) -> None:
    """Names beside the line where two parts meet, in place."""
    if drawn.line is None or len(drawn.captions) != 2:
        return
    middle, height = round(drawn.line * canvas.shape[1]), row * LINE_HEIGHT
    left, right = (shortened(caption, canvas.shape[1] // 2 - 2 * LEFT) for caption in drawn.captions)
    write(canvas, left, max(LEFT, middle - LEFT - text_width(left)), height)
    write(canvas, right, max(LEFT, min(middle + LEFT, canvas.shape[1] - text_width(right))), height)


def agreement_line(shares: tuple[float, float]) -> str:
    """Of all pixels and of face pixels, each 0-1."""
    return f"labels agree {shares[0]:.2%}, of face pixels {shares[1]:.2%}"


def write(
    canvas: np.ndarray, text: str, left: int | None, bottom: int, color: tuple[int, int, int] = WHITE
) -> None:
    """One line of text with a dark outline, in place.

    Args:
        canvas: (height, width, 3) BGR uint8.
        text: characters that OpenCV's font lacks become question marks.
        left: where it begins; None for the middle of the canvas.
        bottom: the base line.
        color: BGR.
    """
    text = text.encode("ascii", "replace").decode()
    if left is None:
        left = max(LEFT, (canvas.shape[1] - text_width(text)) // 2)
    for shade, thickness in ((SHADE, 3), (color, 1)):
        cv2.putText(canvas, text, (left, bottom), FONT, SCALE, shade, thickness, cv2.LINE_AA)


def text_width(text: str) -> int:
    """Width of a line in pixels."""
    return int(cv2.getTextSize(text, FONT, SCALE, 1)[0][0])


def shortened(text: str, width: int) -> str:
    """A line that fits into so many pixels: what is too much is left out in the middle, but for the ends."""
    kept, result = len(text), text
    while text_width(result) > width and kept > 2:
        kept -= 1
        result = f"{text[: (kept + 1) // 2]}{ELLIPSIS}{text[-(kept // 2) :]}"
    return result


def wrapped(text: str, width: int, gap: str = " ") -> list[str]:
    """Lines that fit into so many pixels, broken where `gap` is; a part that is too long stays whole."""
    lines: list[str] = []
    for word in text.split(gap):
        if lines and text_width(f"{lines[-1]}{gap}{word}") <= width - 2 * LEFT:
            lines[-1] = f"{lines[-1]}{gap}{word}"
        else:
            lines.append(word)
    return [line for line in lines if line.strip()]

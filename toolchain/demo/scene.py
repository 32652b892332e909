"""One frame in, one picture out: the networks, the effect, and two files side by side or along a line."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np

from toolchain.demo.figures import STAGES, Agreement, Steadiness
from toolchain.demo.lanes import Follower, Leader, Parsed
from toolchain.demo.look import NO_EFFECT, Look
from toolchain.face.colorize import blend
from toolchain.face.effects import effect
from toolchain.face.engine import ParsedFrame
from toolchain.face.parse import Stages

DIFFERENCE, DIFFERENCE_OPACITY = (255, 225, 0), 190
LINE_COLOR = (255, 255, 255)
# Pictures that wait to be drawn on again; one is shown, one waits, one is drawn.
SPARE = 4


class Pool:
    """Pictures that are used again: any thread may take and give."""

    def __init__(self) -> None:
        self._spare: deque[np.ndarray] = deque(maxlen=SPARE)

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """(height, width, 3) uint8 of that shape, with anything in it."""
        while True:
            try:
                found = self._spare.popleft()
            except IndexError:
                return np.empty(shape, np.uint8)
            if found.shape == shape:
                return found

    def give(self, picture: np.ndarray) -> None:
        """Whoever gives it must not touch it afterwards."""
        self._spare.append(picture)


@dataclass(frozen=True)
class Drawn:
    """What became of a frame.

    Attributes:
        picture: (height, width, 3) RGB uint8 of the scene's pool; with two files side by side twice as wide.
        faces: how many there are.
        stages: milliseconds of each stage.
        second: the same of the second file; empty without one.
        steady: steadiness of late, 0-1; None when that is not known.
        agreement: of the labels of both files so far, 0-1: of all pixels, and of face pixels; None for one.
        captions: what to write over the left and the right part; empty for a single picture.
        line: where the parts meet, 0-1; None for a single picture.
        arrival: when the frame came; None when it was drawn again.
    """

    picture: np.ndarray
    faces: int
    stages: dict[str, float]
    second: dict[str, float]
    steady: float | None
    agreement: tuple[float, float] | None
    captions: tuple[str, ...]
    line: float | None
    arrival: float | None = None


@dataclass
class Scene:
    """Networks and what they said of the latest frame. Not to be shared between threads.

    Attributes:
        leader: finds the faces.
        follower: the second file; None without one. May be set while the scene is at work.
        compare: both pictures side by side, with the differences marked, instead of one along a line.
        optional: go on without the follower when it fails on a frame.
        failure: why it was given up, until whoever set it takes note; None while it works.
        pool: where pictures come from; give them back when they are not needed.
        steadiness: of the leader.
        agreement: of both files.
    """

    leader: Leader
    follower: Follower | None = None
    compare: bool = False
    optional: bool = False
    failure: BaseException | None = None
    pool: Pool = field(default_factory=Pool)
    steadiness: Steadiness = field(default_factory=Steadiness)
    agreement: Agreement = field(default_factory=Agreement)
    _picture: np.ndarray | None = None
    _led: ParsedFrame | None = None
    _parsed: list[Parsed] = field(default_factory=list)
    _differs: np.ndarray | None = None

    def process(self, picture: np.ndarray, look: Look, first: bool, arrival: float) -> Drawn:
        """Parse and draw the next frame.

        Args:
            picture: (height, width, 3) RGB uint8; kept for `redraw`, and not changed.
            look: what to draw.
            first: whether it does not follow the frame before.
            arrival: when it came.

        Raises:
            UnsupportedError: a network's output is not finite; of the follower only if it is not optional.
        """
        first = first or (self._picture is not None and self._picture.shape != picture.shape)
        if first:
            self._forget()
        stages, second = Stages(dict.fromkeys(STAGES, 0.0)), Stages()
        led, parsed = self.leader.process(picture, stages)
        self._picture, self._led, self._parsed, self._differs = picture, led, [parsed], None
        self.steadiness.add(picture, led)
        self._follow(look, second)
        return self._draw(look, stages, second, arrival)

    def redraw(self, look: Look) -> Drawn | None:
        """Draw the latest frame as it is wanted now; None before the first one.

        Raises:
            UnsupportedError: the second network's output is not finite, and it is not optional.
        """
        if self._picture is None:
            return None
        second = Stages()
        if len(self._parsed) == 1:
            self._follow(look, second)
        return self._draw(look, Stages(), second, None)

    def _follow(self, look: Look, stages: Stages) -> None:
        """Let the second file parse the latest frame, where it is wanted."""
        follower = self.follower
        if follower is None:
            return
        if not (self.compare or look.split):
            # Its masks would be of long ago when it is wanted again.
            follower.reset()
            return
        assert self._picture is not None
        assert self._led is not None
        try:
            other = follower.process(self._picture, self._led, stages)
        except Exception as error:
            if not self.optional:
                raise
            self.follower, self.failure = None, error
            return
        self._parsed.append(other)
        self._differs = self.agreement.add(self._parsed[0].labels, other.labels)

    def _forget(self) -> None:
        self.leader.reset()
        if self.follower is not None:
            self.follower.reset()
        self.steadiness.forget()

    def _draw(self, look: Look, stages: Stages, second: Stages, arrival: float | None) -> Drawn:
        assert self._picture is not None
        two = len(self._parsed) == 2 and (self.compare or look.split)
        with stages.measure("colorization"):
            if two and self.compare:
                picture, line = self._side_by_side(look), 0.5
            elif two:
                picture, line = self._along_a_line(look), look.line
            else:
                picture, line = self._single(look), None
        shares = (self.agreement.of_all, self.agreement.of_face)
        return Drawn(
            picture,
            len(self._parsed[0].faces),
            stages.milliseconds,
            second.milliseconds,
            self.steadiness.latest,
            (shares[0], 1.0 if shares[1] is None else shares[1]) if two and shares[0] is not None else None,
            self._captions() if two else (),
            line,
            arrival,
        )

    def _captions(self) -> tuple[str, ...]:
        assert self.follower is not None
        networks = (self.leader.network, self.follower.network)
        return tuple(one.label if self.compare else one.artifact.precision for one in networks)

    def _single(self, look: Look) -> np.ndarray:
        assert self._picture is not None
        result = self.pool.take(self._picture.shape)
        self._paint(self._parsed[0], look, result)
        if look.mirror:
            cv2.flip(result, 1, result)
        return result

    def _along_a_line(self, look: Look) -> np.ndarray:
        assert self._picture is not None
        result, other = (self.pool.take(self._picture.shape) for _ in range(2))
        for parsed, picture in zip(self._parsed, (result, other), strict=True):
            self._paint(parsed, look, picture)
            if look.mirror:
                cv2.flip(picture, 1, picture)
        width = result.shape[1]
        column = round(look.line * width)
        result[:, column:] = other[:, column:]
        self.pool.give(other)
        result[:, min(column, width - 1)] = LINE_COLOR
        return result

    def _side_by_side(self, look: Look) -> np.ndarray:
        assert self._picture is not None
        height, width, channels = self._picture.shape
        result, part = self.pool.take((height, 2 * width, channels)), self.pool.take(self._picture.shape)
        for index, parsed in enumerate(self._parsed):
            self._paint(parsed, look, part)
            self._mark(part)
            half = result[:, index * width : (index + 1) * width]
            np.copyto(half, cv2.flip(part, 1) if look.mirror else part)
        self.pool.give(part)
        return result

    def _mark(self, picture: np.ndarray) -> None:
        """Colour the pixels whose labels differ."""
        if self._differs is None:
            return
        left, top, width, height = cv2.boundingRect(self._differs)
        if width == 0:
            return
        box = (slice(top, top + height), slice(left, left + width))
        color = np.empty((height, width, 3), np.uint8)
        color[:] = DIFFERENCE
        blend(picture[box], color, np.minimum(self._differs[box], np.uint8(DIFFERENCE_OPACITY)))

    def _paint(self, parsed: Parsed, look: Look, out: np.ndarray) -> None:
        assert self._picture is not None
        if look.effect == NO_EFFECT:
            np.copyto(out, self._picture)
        else:
            effect(look.effect).apply(self._picture, parsed.faces, look.color, None, out)

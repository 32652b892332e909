"""One drawn face with exact labels.

Face coordinates: the origin lies between the eyes and the nose, x grows to the viewer's right, y downwards,
and the head is about two units wide. The subject's left is at positive x.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from toolchain.training.datasets.canvas import Canvas
from toolchain.training.datasets.drawn_parts import (
    draw_beard,
    draw_brows,
    draw_eyes,
    draw_glasses,
    draw_mouth,
    draw_nose,
)
from toolchain.training.datasets.drawn_shapes import Face, blob, head_outline

# Painted this much finer than the result, so that edges are smooth.
_FINER = 2

# From very light to very dark, RGB.
_SKINS = np.array(
    [
        (246, 222, 203),
        (240, 205, 178),
        (231, 188, 155),
        (216, 166, 128),
        (195, 142, 104),
        (168, 115, 80),
        (137, 90, 62),
        (106, 68, 48),
        (78, 50, 37),
        (56, 37, 30),
    ],
    np.float64,
)
_HAIRS = np.array(
    [
        (22, 18, 17),
        (45, 30, 22),
        (84, 56, 35),
        (128, 86, 52),
        (190, 150, 95),
        (222, 190, 135),
        (140, 62, 32),
        (120, 118, 116),
        (205, 203, 200),
    ],
    np.float64,
)
_DARK_HAIRS = 3


@dataclass(frozen=True)
class _Looks:
    """The colours that parts share."""

    skin: np.ndarray
    hair: np.ndarray


def draw_face(random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A face before clutter, with light from somewhere, noise, and often hair, a beard, glasses or a hat.

    Args:
        random: generator that every choice is drawn from.
        size: side in pixels.

    Returns:
        Picture (size, size, 3) RGB uint8, and label map (size, size) uint8 with the classes of
        `toolchain.models.faces.LABELS`, 255 under glasses.
    """
    side = size * _FINER
    face = Face(random)
    looks = _looks(random)
    canvas = Canvas(_background(random, side), _placement(random, side))
    long_hair = random.random() < 0.45
    bald = not long_hair and random.random() < 0.2
    if not bald:
        _back_hair(canvas, random, looks, long_hair)
    _body(canvas, random, looks)
    _head(canvas, random, face, looks)
    draw_beard(canvas, random, face, looks.skin, looks.hair)
    draw_nose(canvas, random, face, looks.skin)
    draw_mouth(canvas, random, face, looks.skin)
    draw_eyes(canvas, random, face, looks.skin)
    draw_brows(canvas, random, face, looks.skin, looks.hair)
    if not bald:
        _front_hair(canvas, random, face, looks)
    if random.random() < 0.15:
        draw_glasses(canvas, random, face)
    if random.random() < 0.12:
        _hat(canvas, random)
    small = cv2.resize(canvas.picture, (size, size), interpolation=cv2.INTER_AREA)
    return _lit(random, small), np.ascontiguousarray(canvas.label[::_FINER, ::_FINER])


def _looks(random: np.random.Generator) -> _Looks:
    # A little more light skin than dark: shadows darken all of them.
    tone = (len(_SKINS) - 1) * random.random() ** 1.3
    low = int(tone)
    high = min(low + 1, len(_SKINS) - 1)
    skin = _SKINS[low] + (tone - low) * (_SKINS[high] - _SKINS[low])
    # Fair hair on dark skin is rare, but happens.
    choices = len(_HAIRS) if tone < 5 or random.random() < 0.15 else _DARK_HAIRS
    hair = _HAIRS[random.integers(choices)]
    if random.random() < 0.05:
        hair = random.uniform(40, 220, 3)
    return _Looks(skin + random.uniform(-7, 7, 3), hair * random.uniform(0.85, 1.15))


def _placement(random: np.random.Generator, side: int) -> np.ndarray:
    """(2, 3) from face coordinates to pixels: framed as in CelebAMask-HQ, and a little beside."""
    angle = np.radians(random.normal(0, 9))
    scale = side * random.uniform(0.27, 0.35)
    across = scale * random.uniform(0.94, 1.06)
    x, y = side * (0.5 + random.normal(0, 0.025)), side * (0.52 + random.normal(0, 0.025))
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[across * cos, -scale * sin, x], [across * sin, scale * cos, y]])


def _background(random: np.random.Generator, side: int) -> np.ndarray:
    cells = int(random.integers(2, 9))
    base = random.uniform(20, 225) + random.normal(0, 35, 3)
    contrast = random.uniform(4, 60)
    coarse = np.clip(base + random.normal(0, contrast, (cells, cells, 3)), 0, 255).astype(np.uint8)
    picture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)
    for _ in range(int(random.integers(0, 9))):
        color = tuple(random.uniform(0, 255, 3))
        start = tuple(int(v) for v in random.integers(0, side, 2))
        end = tuple(int(v) for v in random.integers(0, side, 2))
        kind = random.random()
        if kind < 0.4:
            cv2.rectangle(picture, start, end, color, -1)
        elif kind < 0.7:
            cv2.circle(picture, start, int(random.integers(2, side // 4)), color, -1)
        else:
            cv2.line(picture, start, end, color, int(random.integers(1, max(2, side // 24))))
    return picture


def _back_hair(canvas: Canvas, random: np.random.Generator, looks: _Looks, long_hair: bool) -> None:
    rise = random.uniform(0.05, 0.35)
    canvas.fill(blob(0, -0.35, 1.08 + 0.7 * rise, 1.1 + rise), looks.hair * 0.85)
    if not long_hair:
        return
    width, length = random.uniform(1.1, 1.5), random.uniform(0.8, 2.4)
    curtain = np.array([(-width, -0.5), (width, -0.5), (width * 1.05, length), (-width * 1.05, length)])
    canvas.fill(curtain, looks.hair * 0.8)
    x = random.uniform(-width, width, 9)
    strands = np.stack([np.stack([x, np.full(9, -0.6)], 1), np.stack([x * 1.04, np.full(9, length)], 1)], 1)
    for group in np.split(strands, 3):
        canvas.strands(group, looks.hair * random.uniform(0.6, 1.15), 0.03)


def _body(canvas: Canvas, random: np.random.Generator, looks: _Looks) -> None:
    neck = random.uniform(0.5, 0.72)
    canvas.fill(
        np.array([(-neck, 0.5), (neck, 0.5), (neck * 1.1, 2.2), (-neck * 1.1, 2.2)]), looks.skin * 0.8
    )
    cloth = random.uniform(10, 240, 3)
    shoulder, collar = random.uniform(1.9, 2.3), random.uniform(1.5, 1.9)
    outline = [(-shoulder - 2, 4), (-shoulder, 2.1), (-neck * 1.2, collar - 0.05), (0, collar + 0.35)]
    outline += [(neck * 1.2, collar - 0.05), (shoulder, 2.1), (shoulder + 2, 4)]
    canvas.fill(np.array(outline), cloth)


def _head(canvas: Canvas, random: np.random.Generator, face: Face, looks: _Looks) -> None:
    reach = random.uniform(0.98, 1.1)
    for side in (-1, 1):
        # The ear of the side that turns away is hidden.
        if side * face.yaw < 0.55:
            canvas.fill(blob(side * reach, 0.02, 0.13, 0.27), looks.skin * 0.9, 0)
            canvas.fill(blob(side * reach, 0.02, 0.06, 0.15), looks.skin * 0.75, 0)
    outline = head_outline(face)
    canvas.fill(outline, looks.skin, 1)
    rosy = looks.skin * (1.0, 0.86, 0.84)
    share = random.uniform(0, 0.5)
    for side in (-1, 1):
        canvas.tint(face.turned(blob(side * 0.52, 0.36, 0.24, 0.2)), rosy, share, 1)
        # The sides of a head turn away from the light.
        edge = face.turned(
            np.array([(side * 0.8, -0.9), (side * 1.3, -0.9), (side * 1.3, 1), (side * 0.62, 1)])
        )
        canvas.tint(edge, looks.skin * 0.72, random.uniform(0.1, 0.6), 1)
    if random.random() < 0.3:
        for y in np.linspace(-0.85, -0.62, int(random.integers(1, 4))):
            x = np.linspace(-0.45, 0.45, 8)
            canvas.line(face.turned(np.stack([x, y + 0.03 * np.cos(4 * x)], 1)), looks.skin * 0.86, 0.015)
    for x, y in random.uniform(-0.8, 0.8, (int(random.integers(0, 6)), 2)):
        canvas.fill(blob(x * 0.8, y, 0.02, 0.02), looks.skin * 0.65)


def _front_hair(canvas: Canvas, random: np.random.Generator, face: Face, looks: _Looks) -> None:
    """Hair over the forehead: its lower edge is a curve that may reach the brows on one side."""
    x = np.linspace(-1.12, 1.12, 15)
    line = random.uniform(-1.0, -0.62)
    part, drop = random.uniform(-0.6, 0.6), random.uniform(0.0, 0.5)
    lower = line + drop * np.abs(x - part) ** 1.5 + random.normal(0, 0.02, len(x))
    # Beside the forehead hair reaches down to the ears.
    lower = np.where(np.abs(x) > 0.95, np.maximum(lower, random.uniform(-0.6, 0.2)), lower)
    upper = -0.4 - np.sqrt(np.maximum(0.0, 1 - (x / 1.16) ** 2)) * random.uniform(1.0, 1.2)
    outline = np.concatenate([np.stack([x, lower], 1), np.stack([x, upper], 1)[::-1]])
    canvas.fill(outline, looks.hair, 0)
    strands = np.stack([np.stack([x, upper], 1), np.stack([x + 0.04, lower], 1)], 1)[1:-1]
    for group in np.array_split(random.permutation(strands)[:9], 3):
        canvas.strands(group, looks.hair * random.uniform(0.65, 1.35), 0.025)


def _hat(canvas: Canvas, random: np.random.Generator) -> None:
    color = random.uniform(10, 240, 3)
    brim = random.uniform(-0.95, -0.6)
    canvas.fill(
        np.concatenate([blob(0, brim, 1.15, random.uniform(0.7, 1.1))[20:41], [(1.15, brim)]]), color, 0
    )
    wide = random.uniform(1.15, 1.7)
    canvas.fill(blob(0, brim, wide, random.uniform(0.06, 0.16)), color * 0.8, 0)


def _lit(random: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Light from one side, a colour cast, sometimes blur, and noise."""
    size = len(picture)
    angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0, 0.45)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    slope = (np.cos(angle) * ramp)[None, :] + (np.sin(angle) * ramp)[:, None]
    cast = random.uniform(0.93, 1.07, 3) * random.uniform(0.8, 1.2)
    if random.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.3, size / 160 + 0.3))
    light = cv2.merge([slope * np.float32(strength * share) + np.float32(share) for share in cast])
    noise = random.standard_normal((size, size, 3), np.float32) * np.float32(random.uniform(0.5, 9))
    return cv2.add(cv2.multiply(picture, light, dtype=cv2.CV_32F), noise, dtype=cv2.CV_8U)

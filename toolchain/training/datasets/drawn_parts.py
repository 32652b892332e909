"""Brows, eyes, nose, mouth, beard and glasses of a drawn face."""

from __future__ import annotations

import numpy as np

from toolchain.training.datasets.canvas import Canvas
from toolchain.training.datasets.drawn_shapes import Face, blob, eye_edges, rotated
from toolchain.training.datasets.pairs import IGNORE

SKIN, NOSE, UPPER_LIP, INNER_MOUTH, LOWER_LIP = 1, 6, 7, 8, 9
# By the side in face coordinates: positive x is the subject's left.
BROW = {1: 2, -1: 3}
EYE = {1: 4, -1: 5}

_IRISES = np.array([(60, 38, 24), (96, 62, 34), (120, 110, 60), (92, 120, 132), (70, 100, 150), (30, 22, 20)])


def draw_eyes(canvas: Canvas, random: np.random.Generator, face: Face, skin: np.ndarray) -> None:
    """Both eyes, open or nearly closed, looking the same way."""
    width = random.uniform(0.17, 0.23)
    opened = random.uniform(0.75, 1.2) if random.random() < 0.9 else random.uniform(0.15, 0.35)
    tilt = random.normal(0.03, 0.07)
    gaze = random.normal(0, 0.25)
    iris_color = _IRISES[random.integers(len(_IRISES))] * random.uniform(0.8, 1.2)
    white = np.array([236, 232, 228]) * random.uniform(0.8, 1.0)
    t = np.linspace(-1, 1, 13)
    upper, lower = eye_edges(t, width, opened)
    makeup = random.random() < 0.3
    for side in (1, -1):

        def placed(points: np.ndarray, side: int = side) -> np.ndarray:
            points = rotated(points, -tilt) * (side, 1) + (side * face.eye_distance, face.eye_height)
            return face.turned(points)

        lids = np.concatenate([np.stack([t * width, upper], 1), np.stack([t * width, lower], 1)[::-1]])
        canvas.tint(placed(lids * (1.35, 1.9)), skin * 0.72, random.uniform(0.2, 0.7), SKIN)
        canvas.fill(placed(lids), white, EYE[side])
        radius = width * 0.46
        for share, color in ((1.0, iris_color), (0.45, iris_color * 0.15)):
            round_ = blob(side * gaze * width * 0.5, -0.1 * width, radius * share, radius * share)
            top, bottom = eye_edges(np.clip(round_[:, 0] / width, -1, 1), width, opened)
            round_[:, 1] = np.clip(round_[:, 1], top, bottom)
            canvas.fill(placed(round_), color)
        if opened > 0.5:
            canvas.fill(
                placed(blob(side * (gaze * width * 0.5 + 0.02), -0.05, 0.018, 0.018)), (250, 250, 250)
            )
        lash = (25, 18, 16) if makeup else skin * 0.4
        canvas.line(placed(np.stack([t * width, upper], 1)), lash, 0.035 if makeup else 0.018)
        fold = np.stack([t * width, upper * 1.25 - 0.045], 1)
        canvas.line(placed(fold[2:-1]), skin * 0.75, 0.012)


def draw_brows(
    canvas: Canvas, random: np.random.Generator, face: Face, skin: np.ndarray, hair: np.ndarray
) -> None:
    """Both brows, curved, thinner to the temples, sometimes raised or frowning."""
    color = 0.25 * skin + 0.75 * hair * random.uniform(0.5, 0.95)
    height, bend = random.uniform(0.2, 0.3), random.uniform(0.02, 0.11)
    thick, frown = random.uniform(0.03, 0.065), random.normal(0, 0.12)
    t = np.linspace(0, 1, 9)
    middle = -bend * np.sin(np.pi * np.clip(t * 1.1 - 0.1, 0, 1)) + frown * (0.3 - t) * 0.3
    half = thick * np.clip(1.15 - t**2, 0.15, 1)
    x = 0.2 + t * random.uniform(0.44, 0.54)
    for side in (1, -1):
        raised = face.eye_height - height - random.uniform(0, 0.04)
        y = raised + middle
        outline = np.concatenate([np.stack([x, y - half], 1), np.stack([x, y + half], 1)[::-1]])
        canvas.fill(face.turned(outline * (side, 1)), color, BROW[side])
        strands = np.stack([np.stack([x, y + half * 0.8], 1), np.stack([x + 0.05, y - half * 0.8], 1)], 1)
        # The last ones would stick out.
        places = face.turned(strands[1:-1].reshape(-1, 2) * (side, 1)).reshape(-1, 2, 2)
        canvas.strands(places, color * random.uniform(0.6, 1.1), 0.012)


def draw_nose(canvas: Canvas, random: np.random.Generator, face: Face, skin: np.ndarray) -> None:
    """Bridge, wings and nostrils; the tip stands out, so that it moves most when the head turns."""
    wing, bridge = random.uniform(0.19, 0.27), random.uniform(0.07, 0.1)
    top = face.eye_height + 0.02
    tip = top + face.nose_length
    right = np.array(
        [
            (bridge, top),
            (bridge * 0.95, top + 0.45 * face.nose_length),
            (wing * 0.75, tip - 0.16),
            (wing, tip - 0.05),
            (wing * 0.95, tip + 0.02),
            (wing * 0.55, tip + 0.03),
            (0.0, tip + 0.07),
        ]
    )
    right = _smooth(right)
    depth = np.interp(right[:, 1], (top, tip), (0.05, 0.5))
    outline = np.concatenate([face.turned(right, depth), face.turned(right * (-1, 1), depth)[::-1]])
    canvas.fill(outline, skin * random.uniform(0.97, 1.06), NOSE)
    dark = 1 if random.random() < 0.5 else -1
    shade = np.concatenate([right * (dark, 1), right[::-1] * (0.35 * dark, 1)])
    shade_depth = np.concatenate([depth, depth[::-1]])
    canvas.tint(face.turned(shade, shade_depth), skin * 0.68, random.uniform(0.3, 0.8), NOSE)
    canvas.tint(face.turned(blob(0, tip - 0.08, 0.07, 0.07), 0.5), skin * 1.25, random.uniform(0, 0.7), NOSE)
    for side in (1, -1):
        hole = blob(side * wing * 0.48, tip + 0.005, wing * 0.26, 0.025 + 0.02 * (1 - face.pitch))
        canvas.fill(face.turned(hole, 0.45), skin * 0.32)
        crease = np.array([(wing * 0.85, tip - 0.1), (wing * 1.0, tip - 0.04), (wing * 0.93, tip + 0.02)])
        canvas.line(face.turned(crease * (side, 1), 0.4), skin * 0.7, 0.018)
        if random.random() < 0.4:
            fold = _smooth(np.array([(wing + 0.03, tip - 0.02), (0.36, tip + 0.12), (0.42, tip + 0.28)]))
            canvas.line(face.turned(fold * (side, 1)), skin * 0.8, 0.015)


def draw_mouth(canvas: Canvas, random: np.random.Generator, face: Face, skin: np.ndarray) -> None:
    """Lips, and when it is open teeth or a dark gap between them."""
    width = random.uniform(0.27, 0.4)
    smile = random.normal(0.05, 0.05)
    opened = random.uniform(0.03, 0.28) if random.random() < 0.55 else 0.0
    upper_lip, lower_lip = random.uniform(0.045, 0.1), random.uniform(0.07, 0.13)
    if random.random() < 0.3:
        color = np.array([random.uniform(130, 220), random.uniform(20, 70), random.uniform(40, 100)])
    else:
        color = skin * (0.95, 0.66, 0.66) + (6, 0, 4)
    t = np.linspace(-1, 1, 25)
    arc = 1 - t**2
    base = face.mouth_height - smile * t**2 + 0.2 * opened
    bow = 1 - 0.3 * np.exp(-((t / 0.16) ** 2))
    edges = [
        base - 0.35 * opened * arc - upper_lip * arc**0.8 * bow,
        base - 0.35 * opened * arc,
        base + 0.65 * opened * arc,
        base + 0.65 * opened * arc + lower_lip * arc**0.7,
    ]

    def between(first: int, second: int) -> np.ndarray:
        outline = [np.stack([t * width, edges[first]], 1), np.stack([t * width, edges[second]], 1)[::-1]]
        return face.turned(np.concatenate(outline), 0.15)

    canvas.fill(between(2, 3), color * random.uniform(1.0, 1.15), LOWER_LIP)
    canvas.fill(between(0, 1), color * random.uniform(0.82, 0.95), UPPER_LIP)
    if opened:
        canvas.fill(between(1, 2), np.array([58, 22, 22]) * random.uniform(0.5, 1.3), INNER_MOUTH)
        if random.random() < 0.75:
            reach = random.uniform(0.35, 0.85)
            teeth = edges[1] + reach * (edges[2] - edges[1])
            outline = [np.stack([t * width, edges[1]], 1), np.stack([t * width, teeth], 1)[::-1]]
            white = np.array([238, 232, 222]) * random.uniform(0.75, 1.0)
            canvas.fill(face.turned(np.concatenate(outline) * (0.96, 1), 0.15), white)
    else:
        canvas.line(face.turned(np.stack([t * width, edges[1]], 1), 0.15), color * 0.5, 0.02)
    gloss = blob(0, float(edges[2][12] + 0.45 * lower_lip), width * 0.4, lower_lip * 0.25)
    canvas.tint(face.turned(gloss, 0.15), (255, 235, 235), random.uniform(0, 0.4), LOWER_LIP)


def draw_beard(
    canvas: Canvas, random: np.random.Generator, face: Face, skin: np.ndarray, hair: np.ndarray
) -> None:
    """Often nothing; else stubble, a full beard or a moustache, labelled as the skin that it grows on."""
    kind = random.random()
    if kind > 0.35:
        return
    color = 0.15 * skin + 0.85 * hair * random.uniform(0.7, 1.0)
    share = random.uniform(0.25, 0.95)
    x = np.linspace(-1.15, 1.15, 25)
    if kind < 0.25:
        cheek = random.uniform(0.25, 0.5)
        upper = 0.5 + 0.12 * np.cos(x * 3) - cheek * np.abs(x) ** 2.5
        outline = np.concatenate([np.stack([x, upper], 1), np.stack([x, np.full_like(x, 1.6)], 1)[::-1]])
        canvas.tint(face.turned(outline), color, share, SKIN)
    if kind > 0.12:
        above = face.mouth_height - 0.14
        canvas.tint(face.turned(blob(0, above, random.uniform(0.3, 0.42), 0.09), 0.1), color, share, SKIN)


def draw_glasses(canvas: Canvas, random: np.random.Generator, face: Face) -> None:
    """Clear or dark glasses: lenses and frame hide what lies below and are labelled `IGNORE`."""
    width, height = random.uniform(0.26, 0.34), random.uniform(0.18, 0.27)
    power = random.choice([1.0, 0.6])
    frame = random.uniform(5, 90) if random.random() < 0.8 else random.uniform(90, 230)
    color = np.array([frame, frame * random.uniform(0.8, 1), frame * random.uniform(0.7, 1)])
    thick = random.uniform(0.02, 0.06)
    dark = random.random() < 0.3
    for side in (1, -1):
        lens = blob(0, 0, 1, 1)
        # A power below 1 makes the ellipse squarer.
        lens = np.sign(lens) * np.abs(lens) ** power * (width, height)
        centre = np.array([side * (face.eye_distance + 0.01), face.eye_height + 0.03])
        lens = face.turned(lens + centre, 0.2)
        tint = random.uniform(10, 60, 3) if dark else np.array([235, 240, 245])
        canvas.tint(lens, tint, 0.92 if dark else random.uniform(0.02, 0.2))
        canvas.mark(lens, IGNORE)
        canvas.line(lens, color, thick, IGNORE, closed=True)
        inner = face.eye_distance + 0.01 + width
        arm = np.array([(side * inner, face.eye_height), (side * 1.05, face.eye_height - 0.04)])
        canvas.line(face.turned(arm, 0.1), color, thick, IGNORE)
    gap = face.eye_distance + 0.01 - width
    bridge = np.array([(-gap, face.eye_height), (0, face.eye_height - 0.04), (gap, face.eye_height)])
    canvas.line(face.turned(bridge, 0.2), color, thick, IGNORE)


def _smooth(points: np.ndarray) -> np.ndarray:
    """A polyline with its corners cut twice (Chaikin 1974)."""
    for _ in range(2):
        near, far = 0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]
        middle = np.stack([near, far], 1).reshape(-1, 2)
        points = np.concatenate([points[:1], middle, points[-1:]])
    return points

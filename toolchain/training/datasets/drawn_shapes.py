"""The shapes that drawn faces are made of."""

from __future__ import annotations

import numpy as np

_TURN = np.linspace(0, 2 * np.pi, 41)
_UNIT = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


class Face:
    """How one face is built and turned; lengths in face units.

    Attributes:
        yaw: turn to the viewer's right, -1 to 1.
        pitch: turn down, -1 to 1.
        eye_distance: from the middle to an eye's centre.
        eye_height, mouth_height, nose_length: where they are.
        jaw: width of the jaw as share of the head's.
        chin: height of the chin.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.yaw = float(np.clip(random.normal(0, 0.35), -1, 1))
        self.pitch = float(np.clip(random.normal(0, 0.35), -1, 1))
        self.eye_distance = random.uniform(0.38, 0.46)
        self.eye_height = random.uniform(-0.24, -0.14)
        self.mouth_height = random.uniform(0.6, 0.72)
        self.nose_length = random.uniform(0.42, 0.56)
        self.jaw = random.uniform(0.62, 0.9)
        self.chin = random.uniform(1.12, 1.32)

    def turned(self, points: np.ndarray, depth: float | np.ndarray = 0.0) -> np.ndarray:
        """Points of the face as seen after its turn: what is near the middle moves, the outline hardly.

        Args:
            points: (n, 2) on the unturned face.
            depth: how far they, or each of them, stand out of the face; the tip of the nose about 0.5.
        """
        x, y = points[:, 0], points[:, 1]
        front = np.maximum(1 - 0.7 * x * x, 0) + depth
        seen = np.empty_like(points)
        seen[:, 0] = x + 0.2 * self.yaw * front
        seen[:, 1] = y + 0.1 * self.pitch * front
        return seen


def blob(x: float, y: float, width: float, height: float) -> np.ndarray:
    """(41, 2) outline of an ellipse with that centre and those half axes."""
    return _UNIT * (width, height) + (x, y)


def head_outline(face: Face) -> np.ndarray:
    """(41, 2) outline of the skin: a round skull, narrower at the jaw."""
    x, y = _UNIT.T
    below = np.clip(y, 0, 1)
    width = 1 - (1 - face.jaw) * below**1.5
    # A flatter arc below than an ellipse's makes cheeks.
    width = width * (1 + 0.1 * np.sin(np.pi * below))
    height = np.where(y > 0, face.chin, 1.18)
    return np.stack([x * width, y * height], 1)


def eye_edges(t: np.ndarray, width: float, opened: float) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lid of an eye at positions t in -1 (nose) to 1 (temple), y only."""
    arc = 1 - t**2
    upper = -opened * width * arc * (0.62 - 0.1 * t)
    return upper, 0.3 * opened * width * arc * (1 + 0.2 * t)


def rotated(points: np.ndarray, angle: float) -> np.ndarray:
    """(n, 2) points turned around the origin; radians, clockwise as seen."""
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])

"""Golden cases of tracking: a face in a mask, the box that holds still, corrections and overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.face import golden_formulas as exact
from toolchain.face import tracking
from toolchain.face.golden_cases import case, shares
from toolchain.face.landmarks import (
    SIDE_BY_SPREAD,
    UP_FROM_CENTROID,
    UP_FROM_FACE,
    box_around,
    side_of,
)
from toolchain.face.region import Box, Square, crop_matrix
from toolchain.face.tracking import Correction, HeldBox, MaskFace, overlap

FEW = ("background", "skin", "left eye", "right eye", "nose", "mouth")
MANY = (
    "background", "skin", "left brow", "right brow", "left eye", "right eye", "nose", "upper lip",
    "inner mouth", "lower lip",
)  # fmt: skip
HAIRY = (*FEW, "hair")
NO_PARTS = ("background", "skin")
SIZE = 32
# Of one face: where the parts are in units of the crop, and how large: x, y, half-width, half-height.
PARTS = {
    "skin": (0.5, 0.52, 0.3, 0.34),
    "left brow": (0.63, 0.35, 0.08, 0.03),
    "right brow": (0.37, 0.35, 0.08, 0.03),
    "left eye": (0.63, 0.42, 0.06, 0.04),
    "right eye": (0.37, 0.42, 0.06, 0.04),
    "nose": (0.5, 0.53, 0.05, 0.08),
    "mouth": (0.5, 0.68, 0.11, 0.05),
    "upper lip": (0.5, 0.65, 0.11, 0.03),
    "inner mouth": (0.5, 0.69, 0.09, 0.02),
    "lower lip": (0.5, 0.73, 0.1, 0.03),
    "hair": (0.5, 0.1, 0.4, 0.08),
}


def face_mask(
    labels: Sequence[str], sure: int = 250, grow: float = 1.0, move: tuple[float, float] = (0.0, 0.0),
    without: Sequence[str] = (), size: int = SIZE,
) -> np.ndarray:  # fmt: skip
    """(classes, size, size) uint8 in 1 / 256: ovals that lie over each other; the rest is background.

    Args:
        labels: class names.
        sure: probability of the class that an oval is of.
        grow: size of the face, about the middle of the crop.
        move: of its centre, in units of the crop.
        without: parts that are not drawn.
        size: side of the crop.
    """
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size
    owner = np.zeros((size, size), int)
    for label, (across, down, wide, high) in PARTS.items():
        if label in labels and label not in without:
            middle = 0.5 + grow * (across - 0.5) + move[0], 0.5 + grow * (down - 0.5) + move[1]
            far = ((x - middle[0]) / (grow * wide)) ** 2 + ((y - middle[1]) / (grow * high)) ** 2
            owner[far <= 1] = labels.index(label)
    mask = np.zeros((len(labels), size, size), np.uint8)
    mask[0] = np.where(owner == 0, 255, 256 - sure)
    np.put_along_axis(mask, owner[None], np.where(owner == 0, 255, sure)[None].astype(np.uint8), 0)
    return mask


def mask_reader_cases() -> list[dict[str, Any]]:
    """All cases of mask_reader.json."""
    whole, box = Square(100.0, 60.0, 160.0), Box(128.0, 88.0, 104.0, 104.0)
    shape = [480, 640]

    def read(name: str, mask: np.ndarray, labels: Sequence[str] = FEW, **changes: Any) -> dict[str, Any]:
        given = {"matrix": crop_matrix(whole, mask.shape[1]).tolist(), "box": box, "shape": shape, **changes}
        return case("read", read_mask, name, labels=labels, probabilities=shares(mask), **given)

    edge = Square(-30.0, 380.0, 160.0)
    half = face_mask(FEW)
    half[0][half[1] == 250] = 128
    half[1][half[1] == 250] = 128
    return [
        read("a face", face_mask(FEW)),
        read("a face with lips and brows", face_mask(MANY), MANY),
        read("hair is no face", face_mask(HAIRY), HAIRY),
        read("skin alone has no parts to ask for", face_mask(NO_PARTS), NO_PARTS),
        read("one eye is hidden", face_mask(FEW, without=("left eye",))),
        read("eyes only", face_mask(FEW, without=("nose", "mouth"))),
        read("eyes and mouth", face_mask(FEW, without=("nose",))),
        read("names in capitals", face_mask(FEW), [label.upper() for label in FEW]),
        read("no eyes, nose or mouth", face_mask(FEW, without=("nose", "mouth", "left eye", "right eye"))),
        read("nothing but background", face_mask(FEW, grow=0.001)),
        read("hardly any face", face_mask(FEW, grow=0.4)),
        read("grown abruptly", face_mask(FEW, grow=1.5), box=Box(155.0, 115.0, 50.0, 50.0)),
        read("shrunk abruptly", face_mask(FEW, grow=0.75), box=Box(100.0, 60.0, 150.0, 150.0)),
        read("grown, and still followed", face_mask(FEW), box=Box(142.0, 102.0, 74.0, 74.0)),
        read("shrunk, and still followed", face_mask(FEW), box=Box(110.0, 70.0, 139.0, 139.0)),
        read("not sure", face_mask(FEW, sure=200)),
        read("half is likely, and not sure", half),
        read("at the edge of the region", face_mask(FEW, move=(0.3, 0.0))),
        read(
            "at the edge of the picture", face_mask(FEW, move=(-0.06, 0.0)),
            matrix=crop_matrix(edge, SIZE).tolist(), box=Box(-2.0, 408.0, 104.0, 104.0),
        ),
        read("a finer mask", face_mask(FEW, size=44)),
    ]  # fmt: skip


def read_mask(
    labels: Sequence[str],
    probabilities: np.ndarray,
    matrix: list[list[float]],
    box: Box,
    shape: Sequence[int],
) -> MaskFace:
    """The face in a mask, as `toolchain.face.tracking.MaskReader` finds it."""
    to_crop, size = np.array(matrix), probabilities.shape[1]
    scale = exact.scale_of(to_crop)
    unit = side_of(box) * scale
    groups = _groups(labels)
    face = _blob(_face_plane(labels, probabilities))
    if face is None or face["area"] < tracking.LEAST_FACE * unit**2:
        return MaskFace(box, 0.0, lost="the mask shows hardly any face")
    points = [([index], "eye") for index in groups["eye"]]
    points += [(groups[kind], kind) for kind in ("nose", "mouth") if groups[kind]]
    seen = {}
    for number, (indices, kind) in enumerate(points):
        part = _blob(probabilities[indices].astype(np.float64).sum(axis=0))
        if part is not None and part["area"] >= tracking.LEAST_PART * unit**2:
            seen[number] = (part, kind)
    side = SIDE_BY_SPREAD * face["spread"]
    if points and len(seen) == len(points):
        middle = [float(np.mean([part[axis] for part, _ in seen.values()])) for axis in ("x", "y")]
        up = UP_FROM_CENTROID
    else:
        middle, up = [face["x"], face["y"]], UP_FROM_FACE
    centre = exact.inverse(to_crop) @ (middle[0], middle[1] - up * side, 1.0)
    found = box_around((float(centre[0]), float(centre[1])), side / scale)
    wanted = min(2, sum(bool(groups[kind]) for kind in ("eye", "nose", "mouth")))
    lost = ""
    if len({kind for _, kind in seen.values()}) < wanted:
        lost = "the mask has no eyes, nose or mouth"
    elif not 1 / tracking.JUMP <= side / unit <= tracking.JUMP:
        lost = "the mask changed its size abruptly"
    elif face["confidence"] < tracking.LEAST_CONFIDENCE:
        lost = "the mask is not sure"
    reaches = _on_outline(face["likely"], to_crop, shape) > 4 * tracking.OUTLINE * size
    doubt = "the mask reaches the edge of the region or of the picture" if reaches else ""
    return MaskFace(found, face["confidence"], lost, doubt)


def _groups(labels: Sequence[str]) -> dict[str, list[int]]:
    """Classes of each kind, by the words in their names; an eyebrow is no eye."""
    words = {
        "skin": ("skin",),
        "eye": ("eye",),
        "brow": ("brow",),
        "nose": ("nose",),
        "mouth": ("lip", "mouth"),
    }
    return {
        kind: [
            index
            for index, label in enumerate(labels)
            if index
            and any(word in label.lower() for word in of)
            and (kind == "brow" or "brow" not in label.lower())
        ]
        for kind, of in words.items()
    }


def _face_plane(labels: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
    indices = sorted({index for of in _groups(labels).values() for index in of})
    values = probabilities.astype(np.float64)
    return 1 - values[0] if len(indices) == len(labels) - 1 else values[indices].sum(axis=0)


def _blob(plane: np.ndarray) -> dict[str, Any] | None:
    likely = plane >= tracking.LIKELY
    y, x = np.nonzero(likely)
    if x.size == 0:
        return None
    return {
        "area": float(x.size),
        "x": float(x.mean()),
        "y": float(y.mean()),
        "spread": math.sqrt(float(x.var() + y.var())),
        "confidence": float(plane[likely].mean()),
        "likely": likely,
    }


def _on_outline(likely: np.ndarray, matrix: np.ndarray, shape: Sequence[int]) -> int:
    corners = matrix @ np.array([[0.0, shape[1] - 1], [0.0, shape[0] - 1], [1.0, 1.0]])
    (left, right), (top, bottom) = np.clip(np.rint(corners), 0, likely.shape[0] - 1).astype(int).tolist()
    return int(likely[top].sum() + likely[bottom].sum() + likely[:, left].sum() + likely[:, right].sum())


def held_box_cases() -> list[dict[str, Any]]:
    """All cases of held_box.json."""
    start = Box(100.0, 100.0, 100.0, 100.0)
    return [*_follow_cases(start), *_off_cases(start), *_correction_cases(), *_overlap_cases(start)]


def _follow_cases(start: Box) -> list[dict[str, Any]]:
    def moved(*places: tuple[float, float, float]) -> list[Box]:
        return [Box(x, y, side, side) for x, y, side in places]

    ways = {
        "still": moved(*[(100.0, 100.0, 100.0)] * 3),
        "within the dead band": moved((104.0, 100.0, 100.0), (109.0, 95.0, 101.0), (111.5, 100.0, 100.0)),
        "steadily to the right": moved(*[(100.0 + 4 * step, 100.0, 100.0) for step in range(1, 13)]),
        "fast, ahead is clipped": moved(
            *[(100.0 + 30 * step, 100.0 - 25 * step, 100.0) for step in range(1, 5)]
        ),
        "growing": moved(*[(100.0 - 4 * step, 100.0 - 4 * step, 100.0 + 8 * step) for step in range(1, 7)]),
        "shrinking": moved(*[(100.0 + 4 * step, 100.0 + 4 * step, 100.0 - 8 * step) for step in range(1, 7)]),
        "a jump": moved((100.0, 100.0, 100.0), (300.0, 220.0, 140.0), (300.0, 220.0, 140.0)),
        "a box that is not square": [Box(100.0, 90.0, 100.0, 126.0), Box(100.0, 90.0, 100.0, 118.0)],
    }
    made = [case("follow", _follow, f"follow {name}", box=start, boxes=boxes) for name, boxes in ways.items()]
    high = Box(10.0, 20.0, 40.0, 60.0)
    return [*made, case("follow", _follow, "follow starts with a square", box=high, boxes=[high])]


def _follow(box: Box, boxes: Sequence[Box]) -> dict[str, Any]:
    held = HeldBox(box)
    first = held.box
    steps = [(held.follow(one), held.box) for one in boxes]
    return {"first": first, "moved": [moved for moved, _ in steps], "held": [place for _, place in steps]}


def _off_cases(start: Box) -> list[dict[str, Any]]:
    boxes = {
        "the same": start,
        "just inside": Box(111.875, 100.0, 100.0, 100.0),
        "just outside": Box(112.125, 100.0, 100.0, 100.0),
        "up": Box(100.0, 87.5, 100.0, 100.0),
        "larger, still held": Box(90.5, 90.5, 119.0, 119.0),
        "too large": Box(89.5, 89.5, 121.0, 121.0),
        "too small": Box(108.5, 108.5, 83.0, 83.0),
    }
    return [case("is_off", _is_off, f"is_off {name}", held=start, box=box) for name, box in boxes.items()]


def _is_off(held: Box, box: Box) -> dict[str, bool]:
    return {"off": HeldBox(held).is_off(box)}


def _correction_cases() -> list[dict[str, Any]]:
    mask = Box(100.0, 100.0, 80.0, 80.0)
    boxes = {
        "the same": mask,
        "a little larger and lower": Box(99.0, 104.0, 86.0, 86.0),
        "scale is clipped": Box(60.0, 60.0, 160.0, 160.0),
        "a small one is clipped": Box(120.0, 120.0, 40.0, 40.0),
        "shift is clipped": Box(130.0, 60.0, 80.0, 80.0),
        "a box that is not square": Box(102.0, 98.0, 70.0, 90.0),
    }
    made = []
    for name, detected in boxes.items():
        made.append(case("correction", _correction, f"correction {name}", mask=mask, detected=detected))
        later = Box(140.0, 90.0, 88.0, 92.0)
        found = _correction(mask, detected)
        made.append(case("applied", _applied, f"applied {name}", correction=found, mask=later))
    return made


def _correction(mask: Box, detected: Box) -> dict[str, Any]:
    found = Correction.between(mask, detected)
    return {"scale": found.scale, "shift": list(found.shift)}


def _applied(correction: dict[str, Any], mask: Box) -> Box:
    x, y = correction["shift"]
    return Correction(correction["scale"], (x, y)).applied(mask)


def _overlap_cases(start: Box) -> list[dict[str, Any]]:
    boxes = {
        "the same": start,
        "none": Box(300.0, 300.0, 50.0, 50.0),
        "edges that touch": Box(200.0, 100.0, 100.0, 100.0),
        "apart in one direction": Box(110.0, 400.0, 100.0, 100.0),
        "inside": Box(125.0, 125.0, 50.0, 50.0),
        "a third": Box(150.0, 100.0, 100.0, 100.0),
    }
    return [
        case("overlap", _overlap, f"overlap {name}", first=start, second=box) for name, box in boxes.items()
    ]


def _overlap(first: Box, second: Box) -> dict[str, float]:
    return {"overlap": overlap(first, second)}

"""A face parser that takes no time and knows one face only: the drawn one of `toolchain.face.source`.

Every class has one colour, and a pixel belongs to the nearest of those that are possible where it lies in the
crop: a 1x1 convolution and a constant. What the demo does beside inference can thus be measured, and tested,
without weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolchain.benchmarks.harness.files import digest_and_size
from toolchain.models.faces import FACE_PREPROCESS, LABELS, PALETTE
from toolchain.spec import SEGMENTATION, Artifact, TensorSpec, sidecar_path

NAME = "stand-in"
SIZE = 64
# Class -> colour of `drawn_face`, and where it may be: left, top, right, bottom in units of the face box.
PLACES: dict[str, tuple[tuple[int, int, int], tuple[float, float, float, float]]] = {
    "background": ((88, 96, 104), (-9.0, -9.0, 9.0, 9.0)),
    "skin": ((214, 170, 146), (-0.5, -0.6, 0.5, 0.7)),
    "right brow": ((78, 52, 40), (-0.32, -0.33, -0.05, -0.18)),
    "left brow": ((78, 52, 40), (0.05, -0.33, 0.32, -0.18)),
    "right eye": ((240, 236, 230), (-0.34, -0.2, -0.04, -0.04)),
    "left eye": ((240, 236, 230), (0.04, -0.2, 0.34, -0.04)),
    "nose": ((200, 150, 126), (-0.1, -0.1, 0.1, 0.22)),
    "upper lip": ((170, 74, 80), (-0.22, 0.2, 0.22, 0.3)),
    "inner mouth": ((96, 30, 36), (-0.2, 0.27, 0.2, 0.33)),
    "lower lip": ((170, 74, 80), (-0.22, 0.3, 0.22, 0.4)),
}
# Of the squared distance of colours, in the network's own range; and what is added where a class cannot be.
SHARPNESS, IMPOSSIBLE = 80.0, -500.0


def write_stand_in(folder: Path, precision: str = "fp32", shift: float = 0.0) -> Path:
    """Write `stand-in-PRECISION.onnx` with its sidecar.

    Args:
        folder: exists.
        precision: what the name and the sidecar say; the file computes with float32.
        shift: added to the scores of the skin: files with another shift give other labels at its outline.

    Returns:
        The file.
    """
    mean, std = (np.array(values)[:, None] for values in (FACE_PREPROCESS.mean, FACE_PREPROCESS.std))
    colors = (np.array([PLACES[label][0] for label in LABELS], float).T - mean) / std
    # -|x - c|^2 without |x|^2, which all classes share.
    weights = (2 * SHARPNESS * colors.T)[:, :, None, None].astype(np.float32)
    offsets = _possible() - SHARPNESS * (colors**2).sum(axis=0)[:, None, None]
    offsets[LABELS.index("skin")] += shift
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(offsets[None].astype(np.float32), "offsets"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["scores"], name="nearest"),
        helper.make_node("Add", ["scores", "offsets"], ["logits"], name="where"),
    ]
    tensors = {"image": (1, 3, SIZE, SIZE), "logits": (1, len(LABELS), SIZE, SIZE)}
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()
    }
    graph = helper.make_graph(nodes, NAME, [values["image"]], [values["logits"]], constants)
    path = folder / f"{NAME}-{precision}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    specs = {name: TensorSpec(name, shape, layout="NCHW") for name, shape in tensors.items()}
    digest, size = digest_and_size(path)
    artifact = Artifact(
        path=path,
        format="onnx",
        precision=precision,
        name=NAME,
        task=SEGMENTATION,
        inputs=(specs["image"],),
        outputs=(specs["logits"],),
        preprocess=FACE_PREPROCESS,
        labels=LABELS,
        palette=PALETTE,
        bytes=size,
        sha256=digest,
    )
    sidecar_path(path).write_text(json.dumps(artifact.sidecar()), encoding="utf-8")
    return path


def _possible() -> np.ndarray:
    """(classes, SIZE, SIZE): 0 where a class may be in the crop of a detected face, else IMPOSSIBLE."""
    middle = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    across = middle * FACE_PREPROCESS.margin
    down = middle * FACE_PREPROCESS.margin + FACE_PREPROCESS.shift
    result = np.full((len(LABELS), SIZE, SIZE), IMPOSSIBLE)
    for plane, label in zip(result, LABELS, strict=True):
        left, top, right, bottom = PLACES[label][1]
        plane[np.ix_((down >= top) & (down <= bottom), (across >= left) & (across <= right))] = 0.0
    return result

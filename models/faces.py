"""The contract that every face-parsing network shares: classes, colours, sizes, preprocessing."""

from __future__ import annotations

from toolchain.spec import SEGMENTATION, ModelSpec, Preprocess, TensorSpec

LABELS = (
    "background",
    "skin",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "nose",
    "upper lip",
    "inner mouth",
    "lower lip",
)
PALETTE = (
    (0, 0, 0),
    (255, 205, 160),
    (60, 180, 75),
    (170, 255, 90),
    (0, 130, 200),
    (70, 240, 240),
    (245, 130, 48),
    (230, 25, 75),
    (255, 255, 255),
    (170, 40, 110),
)
SIZE = 256

# Measured on the training pictures (see the docstring of toolchain.face.region): the detector's box
# times `margin`, moved down by `shift`, is what the pictures that the networks are trained on show.
FACE_PREPROCESS = Preprocess(margin=1.9, shift=0.0)


def face_spec(name: str, description: str, source: str, previous: bool, size: int = SIZE) -> ModelSpec:
    """ModelSpec of a face parser.

    Args:
        name: zoo name.
        description: one line for listings.
        source: paper that the architecture follows.
        previous: whether the network takes the previous frame's class probabilities as second input.
        size: side of the square input in pixels.
    """
    classes = len(LABELS)
    inputs = [TensorSpec("image", (1, 3, size, size), layout="NCHW")]
    if previous:
        inputs.append(TensorSpec("previous", (1, classes, size, size), layout="NCHW"))
    return ModelSpec(
        name=name,
        task=SEGMENTATION,
        inputs=tuple(inputs),
        outputs=(TensorSpec("logits", (1, classes, size, size), layout="NCHW"),),
        preprocess=FACE_PREPROCESS,
        labels=LABELS,
        palette=PALETTE,
        description=description,
        source=source,
    )

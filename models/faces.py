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
    (120, 120, 255),
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

# Measured with toolchain.face.detector on every second validation picture of CelebAMask-HQ (200), which show
# what the networks are trained on: a face was found in 193, and the picture's side is 1.561 times the box's
# (10th to 90th percentile 1.42 to 1.73), its centre 0.082 (0.061 to 0.101) of the box's side above the box's
# centre and 0.006 beside it. Training zooms by 0.75 to 1.4 and shifts by 8 % around that.
FACE_PREPROCESS = Preprocess(resize="area", margin=1.56, shift=-0.08)


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

"""The end of a classifier."""

from __future__ import annotations

from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes


@computes("classify")
def classify(probabilities: Tensor, classes: list[str | int]) -> tuple[str | int, dict[str | int, float]]:
    """The label of the highest probability, the first of equal ones, and label -> probability.

    Core ML's outputs of a classifier as Python values: a string or an integer, and a dictionary, which is in
    the order of the labels here.
    """
    values = probabilities.reshape(-1)
    labels = [label if isinstance(label, str) else int(label) for label in classes]
    if len(labels) != len(values):
        raise UnsupportedError(f"classify: {len(labels)} labels for {len(values)} probabilities")
    return labels[int(values.argmax())], dict(zip(labels, values.tolist(), strict=True))

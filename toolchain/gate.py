"""What a written file may lose by the flags of its export, and what to do about one that loses more."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.jobs import ExportOptions
from toolchain.parity import Arrays
from toolchain.quantize import ACTIVATIONS
from toolchain.source import Source
from toolchain.spec import ModelSpec, shape_text
from toolchain.task_metric import allowed_points

# Precisions that lose so little that a failed gate is a fault, not a choice.
EXACT = ("fp32", "fp16")


def allowed_drop(
    spec: ModelSpec,
    options: ExportOptions,
    precision: str,
    expected: Sequence[Arrays],
    actual: Sequence[Arrays],
) -> float | None:
    """Points of label agreement that a file may lose because of `max_drop`; None for the usual gate.

    Args:
        spec: the network's contract.
        options: of the export.
        precision: of the file.
        expected: the network's answers to the first samples.
        actual: the file's, to the same.
    """
    if options.max_drop is None or precision not in ACTIVATIONS:
        return None
    return allowed_points(spec, options.calibration, options.max_drop, expected, actual)


def way_out(source: Source, options: ExportOptions, precision: str) -> str:
    """What to do about a file of this precision that fails its gate."""
    if precision in EXACT:
        return "please report this fault of the converter with the network"
    if precision == "int8" and source.head == "softmax":
        return "int8 probabilities are steps of 1/256, and ties lose their labels: try --head argmax"
    if precision in ACTIVATIONS and options.max_drop is not None:
        return (
            "the file rounds otherwise than the graph that its layers were chosen on: try another --max-drop"
        )
    if precision in ACTIVATIONS and options.calibration is None:
        return f"it was judged on synthetic inputs; on real ones: {_with_real_inputs(source.spec, options)}"
    return "this network needs more bits: choose another precision"


def _with_real_inputs(spec: ModelSpec, options: ExportOptions) -> str:
    """The command that calibrates and judges on real inputs, and what they are."""
    command = f"{options.command} --calibration".lstrip()
    if spec.preprocess is not None:
        return f"`{command} FOLDER`, a folder of pictures"
    wanted = ", ".join(f"'{tensor.name}' (N x {shape_text(tensor.shape[1:])})" for tensor in spec.inputs)
    return f"`{command} FILE.npz`, with samples in the network's own range: {wanted}"

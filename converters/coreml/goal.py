"""What is written: which kind of Core ML model, in which precision, for which iOS. Needs no coremltools."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.errors import UsageError

ML_PROGRAM = "mlprogram"
NEURAL_NETWORK = "neuralnetwork"
PRECISIONS = {
    ML_PROGRAM: ("fp32", "fp16", "w8", "int8", "palette4", "palette6", "palette8"),
    NEURAL_NETWORK: ("fp32", "fp16", "w8"),
}
IOS_VERSIONS = (15, 16, 17, 18)
NEURAL_NETWORK_IOS = 13
# Oldest iOS that has the operators which unpack compressed weights, and those that quantize activations.
QUANTIZED_IOS = 17
LEAST_IOS = {"w8": 16, "int8": QUANTIZED_IOS, "palette4": 16, "palette6": 16, "palette8": 16}


@dataclass(frozen=True)
class Goal:
    """What is written.

    Attributes:
        kind: ML_PROGRAM or NEURAL_NETWORK.
        ios: oldest iOS that must run it: 13 (neural networks) or 15 to 18.
        half: whether it computes in float16.
    """

    kind: str = ML_PROGRAM
    ios: int = 15
    half: bool = False


def check_precision(kind: str, precision: str) -> None:
    """Raises UsageError for a precision that such a model cannot have."""
    if precision in PRECISIONS[kind]:
        return
    hint = f"use {', '.join(PRECISIONS[kind])}"
    if kind == NEURAL_NETWORK and precision in PRECISIONS[ML_PROGRAM]:
        hint = f"use -p w8, or -f coreml -p {precision}"
    raise UsageError(f"a Core ML {kind} cannot have precision '{precision}'", hint)


def least_ios(kind: str, precision: str, ios: int | None) -> int:
    """The iOS version to write for: `ios`, or the oldest that can run the precision.

    Raises:
        UsageError: the version is unknown, too old for the precision, or given for a neural network, which is
            always written for iOS 13.
    """
    if ios is not None and ios not in IOS_VERSIONS:
        raise UsageError(
            f"unknown iOS version {ios}",
            f"use {', '.join(map(str, IOS_VERSIONS))}; files of -f mlmodel run on iOS 13 and later",
        )
    if kind == NEURAL_NETWORK:
        return NEURAL_NETWORK_IOS
    least = LEAST_IOS.get(precision, IOS_VERSIONS[0])
    if ios is not None and ios < least:
        raise UsageError(
            f"precision '{precision}' needs iOS {least}, not {ios}", f"use --ios {least}, or -p fp16"
        )
    return ios or least

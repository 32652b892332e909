"""What a browser is given: a .tflite file, inputs, and what LiteRT in Python computes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.benchmarks.harness.files import measured_file, suffix_of
from toolchain.benchmarks.harness.inputs import random_inputs
from toolchain.benchmarks.harness.results import MeasuredFile
from toolchain.errors import ParityError, UnsupportedError, UsageError
from toolchain.runtimes import load
from toolchain.spec import TensorSpec, sidecar_path

# What LiteRT.js 2 makes tensors of (its datatypes.ts).
DTYPES = ("float32", "int32", "uint8")
FP32_LIMIT = 1e-4
# Of fp16, int8 and files without a sidecar: kernels of other processors round otherwise.
LEAST_SQNR_DB = 30.0
PERFECT_DB = 200.0
TINY = 1e-20


@dataclass(frozen=True)
class WebModel:
    """A model file as a browser gets it.

    Attributes:
        file: hash, size, precision.
        data: content of the file.
        sidecar: content of the sidecar; None without one.
        inputs: tensors in the order of the graph.
        outputs: likewise.
        arrays: random inputs by name, those of `toolchain benchmark` with the same seed.
        expected: outputs of LiteRT by name.
    """

    file: MeasuredFile
    data: bytes
    sidecar: bytes | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    arrays: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


def tflite_file(path: Path) -> MeasuredFile:
    """Hash, size and sidecar of a .tflite file.

    Raises:
        UsageError: no such file, another suffix, or a sidecar of another file.
        UnsupportedError: the sidecar is damaged.
    """
    if not path.exists():
        raise UsageError(f"no model file at '{path}'", "`toolchain export` writes one")
    if suffix_of(path) != ".tflite" or not path.is_file():
        raise UsageError(
            f"'{path}' is no .tflite file, and phones and browsers are measured with LiteRT",
            "toolchain export MODEL -f tflite",
        )
    return measured_file(path)


def web_model(path: Path, seed: int = 0) -> WebModel:
    """Load a .tflite file, make its inputs, and run it once.

    Raises:
        UsageError: no such file, another suffix, or an input whose shape is not fixed.
        UnsupportedError: it is damaged, or has tensors that LiteRT.js cannot exchange.
    """
    file = tflite_file(path)
    with load(path) as runtime:
        for spec in (*runtime.inputs, *runtime.outputs):
            if spec.dtype not in DTYPES:
                raise UnsupportedError(
                    f"tensor '{spec.name}' of '{path}' is {spec.dtype}; "
                    f"LiteRT.js exchanges {', '.join(DTYPES)}",
                    "export with inputs and outputs of float32",
                )
        for spec in runtime.inputs:
            if -1 in spec.shape:
                raise UnsupportedError(
                    f"input '{spec.name}' of '{path}' has no fixed shape", "export it with a fixed shape"
                )
        arrays = random_inputs(runtime.inputs, seed, f"'{path}'")
        expected = runtime.run(arrays)
        inputs, outputs = runtime.inputs, runtime.outputs
    beside = sidecar_path(path)
    sidecar = beside.read_bytes() if beside.is_file() else None
    return WebModel(file, path.read_bytes(), sidecar, inputs, outputs, arrays, expected)


@dataclass(frozen=True)
class Agreement:
    """How far a browser's outputs are from LiteRT's on the same inputs.

    Attributes:
        max_abs: largest absolute difference over all outputs.
        scale: largest absolute value of LiteRT's outputs, at least 1.
        sqnr_db: signal-to-quantization-noise ratio of the worst output, between -200 and 200.
    """

    max_abs: float
    scale: float
    sqnr_db: float


def agreement(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> Agreement:
    """Compare outputs of the same names and shapes; NaN in one of them only is an infinite difference."""
    worst, scale, sqnr = 0.0, 1.0, PERFECT_DB
    for name, reference in expected.items():
        want, got = reference.astype(np.float64), found[name].astype(np.float64)
        same = (want == got) | (np.isnan(want) & np.isnan(got))
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where(same, 0.0, np.abs(want - got))
            apart[np.isnan(apart)] = np.inf
            noise = float((apart**2).sum())
        finite = np.where(np.isfinite(want), np.abs(want), 0.0)
        worst, scale = max(worst, float(apart.max(initial=0.0))), max(scale, float(finite.max(initial=0.0)))
        if noise > 0:
            ratio = max(float((finite**2).sum()), TINY) / noise
            sqnr = min(sqnr, 10 * float(np.log10(max(ratio, TINY))))
    return Agreement(worst, scale, sqnr)


def check_agreement(found: Agreement, model: WebModel, where: str) -> str:
    """What was demanded, in words.

    An fp32 file must agree to 1e-4 of its largest output (at least of 1), any other to 30 dB.

    Raises:
        ParityError: it does not.
    """
    exact = model.file.precision == "fp32"
    wrong = found.max_abs > FP32_LIMIT * found.scale if exact else found.sqnr_db < LEAST_SQNR_DB
    if wrong:
        raise ParityError(
            f"{where} computes something else than LiteRT of '{model.file.path}': largest difference "
            f"{found.max_abs:.3g}, SQNR {found.sqnr_db:.1f} dB; its times mean nothing",
            "try the other --backend, or another browser",
        )
    return f"max abs <= {FP32_LIMIT:g} x {found.scale:.4g}" if exact else f"SQNR >= {LEAST_SQNR_DB:g} dB"

"""What is in the files of the side-by-side table, and how far they are from the PyTorch network."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.int8_scores import run_on_floats
from toolchain.benchmarks.int8_trained_scores import decibels
from toolchain.benchmarks.peer_table_samples import ANSWER
from toolchain.errors import ToolchainError, UnsupportedError
from toolchain.runtimes import load
from toolchain.runtimes.base import Arrays, Runtime

COMMAND = "import sys; from toolchain.cli import main; sys.exit(main())"
# The reference interpreter for Core ML files takes seconds a sample.
REFERENCE_SAMPLES = 4


def contents(path: Path) -> dict[str, Any]:
    """`bytes`, `operators` and `transposes` of a file, by `toolchain inspect`.

    Raises:
        ToolchainError: the file cannot be read.
    """
    command = [sys.executable, "-P", "-c", COMMAND, "inspect", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolchainError(f"'{path.name}' cannot be inspected: {done.stderr.strip()[-300:]}")
    found = json.loads(done.stdout)
    found = found[0] if isinstance(found, list) else found
    return {
        "bytes": found["bytes"],
        "operators": sum(found["ops"].values()),
        "transposes": found["transposes"],
    }


def parity(path: Path, measured: Path) -> dict[str, Any]:
    """How far a file is from the PyTorch network on the samples of `measured`.

    Args:
        path: .tflite, run on LiteRT with one thread, or .mlpackage, run on the reference interpreter.
        measured: .npz of channel-first inputs by name and `answer`.

    Returns:
        `samples`, `sqnr_db` over all samples (None where nothing differs), `max_abs`, and `agreement`, the
        share of equal classes over all samples and positions.

    Raises:
        UnsupportedError: the file cannot be run, or its tensors do not fit the network's.
    """
    with np.load(measured) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    answers = arrays.pop(ANSWER)
    count = len(answers) if path.suffix == ".tflite" else min(len(answers), REFERENCE_SAMPLES)
    signal = noise = largest = same = 0.0
    with load(path, threads=1) as runtime:
        for index in range(count):
            sample = {name: array[index : index + 1] for name, array in arrays.items()}
            wanted = answers[index : index + 1].astype(np.float64)
            found = channel_first(run_on_floats(runtime, by_shape(sample, runtime)), wanted.shape)
            signal += float(np.square(wanted).sum())
            noise += float(np.square(found - wanted).sum())
            largest = max(largest, float(np.abs(found - wanted).max()))
            same += float((found.argmax(1) == wanted.argmax(1)).mean())
    ratio = decibels(signal, noise)
    return {
        "samples": count,
        "sqnr_db": round(ratio, 2) if math.isfinite(ratio) else None,
        "max_abs": largest,
        "agreement": round(same / count, 6),
    }


def by_shape(sample: Arrays, runtime: Runtime) -> Arrays:
    """Channel-first inputs under the names and in the layout of a file; matched by their shape.

    Raises:
        UnsupportedError: a shape of the file is none of the network's, or of two inputs.
    """
    made = {}
    for spec in runtime.inputs:
        fitting = [
            form
            for array in sample.values()
            for form in _layouts(array)
            if tuple(form.shape) == tuple(spec.shape)
        ]
        if len(fitting) != 1:
            raise UnsupportedError(
                f"input '{spec.name}' {tuple(spec.shape)} fits {len(fitting)} of the network's inputs"
            )
        made[spec.name] = fitting[0]
    return made


def _layouts(array: np.ndarray) -> list[np.ndarray]:
    """The array, and channel-last too where that is another shape."""
    if array.ndim != 4:
        return [array]
    moved = np.ascontiguousarray(np.moveaxis(array, 1, -1))
    return [array, moved] if moved.shape != array.shape else [array]


def channel_first(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An output in the shape of the network's, as float64.

    Raises:
        UnsupportedError: it has another shape.
    """
    if found.shape != shape and found.ndim == 4:
        found = np.moveaxis(found, -1, 1)
    if found.shape != shape:
        raise UnsupportedError(f"the output is {found.shape}, the network's {shape}")
    return found.astype(np.float64)

"""onnx2tf as a job: the ONNX file to a .tflite file, with the default backend of the installed version.

Version 1 goes through TensorFlow, version 2 writes the file directly. Neither has a switch for one precision
alone: an fp32 call writes the fp16 file too, an int8 call all of its int8 and int16 variants. The one with
float inputs and outputs is kept; its time is that of the whole call.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peer_job import Clock, Job, main

PACKAGES = ("onnx2tf", "tensorflow", "ai-edge-litert", "onnx", "onnxsim", "numpy")
SUFFIXES = {"fp32": "_float32.tflite", "fp16": "_float16.tflite", "int8": "_integer_quant.tflite"}
# Version 1 tries its graph on pictures, which it loads from the internet unless the file is there.
TRIAL_PICTURES = "calibration_image_sample_data_20x128x128x3_float32.npy"
TRIAL_SHAPE = (20, 128, 128, 3)


def convert(job: Job, clock: Clock) -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory(dir=job.output.parent) as folder:
        os.chdir(folder)
        try:
            _convert(job, clock, Path(folder))
        finally:
            os.chdir(job.output.parent)


def _convert(job: Job, clock: Clock, folder: Path) -> None:
    # Child processes of the tool are found beside its interpreter.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    with clock("import"):
        import onnx2tf
    with clock("network"):
        random = np.random.default_rng(0)
        np.save(folder / TRIAL_PICTURES, random.uniform(0, 1, TRIAL_SHAPE).astype(np.float32))
        # The tool may rewrite the file that it is given.
        path = Path(shutil.copy(job.onnx, folder))
        options = _integer_options(job, folder) if job.precision == "int8" else {}
    with clock("convert"):
        onnx2tf.convert(
            input_onnx_file_path=str(path),
            output_folder_path=str(folder / "made"),
            non_verbose=True,
            verbosity="error",
            **options,
        )
        (made,) = (
            found
            for found in (folder / "made").glob(f"*{SUFFIXES[job.precision]}")
            if not found.name.endswith("_full" + SUFFIXES[job.precision])
        )
        made.replace(job.output)


def _integer_options(job: Job, folder: Path) -> dict[str, Any]:
    """int8 per channel, calibrated with the samples of the job, which are in the network's own range."""
    inputs = []
    with np.load(job.calibration) as arrays:
        for name in arrays.files:
            array = arrays[name]
            if array.ndim == 4:
                array = np.ascontiguousarray(np.moveaxis(array, 1, -1))
            np.save(folder / f"{name}.npy", array)
            channels = (1, 1, 1, array.shape[-1])
            plain = (np.zeros(channels, np.float32), np.ones(channels, np.float32))
            inputs.append([name, str(folder / f"{name}.npy"), *plain])
    return {
        "output_integer_quantized_tflite": True,
        "quant_type": "per-channel",
        "custom_input_op_name_np_data_path": inputs,
    }


if __name__ == "__main__":
    main(convert, PACKAGES)

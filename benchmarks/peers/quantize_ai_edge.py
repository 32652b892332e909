"""The peer: quantize a float .tflite file of litert-torch with ai-edge-quantizer.

Runs in an environment with ai-edge-quantizer (`nox -s int8_peer`):

    python benchmarks/peers/quantize_ai_edge.py FLOAT.tflite CALIBRATION.npz INT8.tflite

The recipe is static_wi8_ai8: int8 weights per channel, int8 activations per tensor. Its ranges are by default
a moving average of the samples' minima and maxima; `--ranges minmax` takes the extremes over all samples, by
the quantizer's own function for that. CALIBRATION.npz has one array per input with the samples on the first
axis, in the layout and range of the file (`--channels-first`: channel-first where the file is channel-last);
arrays and inputs are matched by the shape of a sample. INT8.json beside the result records time, memory,
sizes and operators.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
from ai_edge_quantizer.utils import qsv_utils

from toolchain.benchmarks.memory import peak_megabytes, resident_megabytes

RECIPE = "static_wi8_ai8"
MOVING_AVERAGE, MINMAX = "moving-average", "minmax"
PACKAGES = ("ai-edge-quantizer", "ai-edge-litert", "numpy")
FLOATS = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)


def signature_inputs(path: Path) -> tuple[str, dict[str, tuple[int, ...]]]:
    """The only signature's key, and its inputs' shapes by name.

    Raises:
        ValueError: the file has none or several.
    """
    interpreter = Interpreter(model_path=str(path))
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        raise ValueError(f"'{path}' has {len(signatures)} signatures, not one")
    key = next(iter(signatures))
    details = interpreter.get_signature_runner(key).get_input_details()
    return key, {name: tuple(int(size) for size in detail["shape"]) for name, detail in details.items()}


def samples(arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> Iterator[dict[str, Any]]:
    """One dict by the file's input names per sample.

    Args:
        arrays: samples on the first axis.
        shapes: shape of each input, the first axis the batch of one.

    Raises:
        ValueError: the shapes do not say which array belongs to which input.
    """
    by_shape = {array.shape[1:]: array for array in arrays.values()}
    if len(by_shape) != len(arrays) or sorted(by_shape) != sorted(shape[1:] for shape in shapes.values()):
        raise ValueError(f"arrays of {sorted(by_shape)} do not fit inputs of {sorted(shapes.values())}")
    count = min(len(array) for array in arrays.values())
    for index in range(count):
        yield {name: by_shape[shape[1:]][index : index + 1] for name, shape in shapes.items()}


def channel_last(array: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N, H, W, C); other ranks stay as they are."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if array.ndim == 4 else array


def operators(content: bytes) -> tuple[dict[str, int], dict[str, int]]:
    """Operators of the first subgraph, name to count: all of them, and those with a float input or output."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    codes = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    graph = model.subgraphs[0]
    every: Counter[str] = Counter()
    floats: Counter[str] = Counter()
    for operator in graph.operators:
        name = codes[operator.opcodeIndex]
        every[name] += 1
        ends = [*operator.inputs, *operator.outputs]
        floats[name] += any(end >= 0 and graph.tensors[end].type in FLOATS for end in ends)
    return dict(every.most_common()), {name: count for name, count in floats.most_common() if count}


def calibrated(
    made: quantizer.Quantizer, path: Path, data: dict[str, list[dict[str, Any]]], ranges: str
) -> Any:
    """The quantizer's statistics by tensor name."""
    if ranges == MOVING_AVERAGE:
        return made.calibrate(data, num_threads=1)
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(made.get_quantization_recipe())
    found = calibrator.Calibrator(str(path), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    found.calibrate(data, manager)
    return found.get_model_qsvs()


def int8_content(
    path: Path, calibration: Path, ranges: str = MOVING_AVERAGE, channels_first: bool = False
) -> tuple[bytes, int]:
    """The int8 file and how many samples it was calibrated with."""
    key, shapes = signature_inputs(path)
    made = quantizer.Quantizer(str(path), getattr(recipe, RECIPE)())
    with np.load(calibration) as arrays:
        found = {name: arrays[name] for name in arrays.files}
        if channels_first:
            found = {name: channel_last(array) for name, array in found.items()}
        data = list(samples(found, shapes))
    statistics = calibrated(made, path, {key: data}, ranges)
    result = made.quantize(statistics, enable_progress_report=False)
    return bytes(result.quantized_model or b""), len(data)


def quantize(
    path: Path,
    calibration: Path,
    output: Path,
    ranges: str = MOVING_AVERAGE,
    channels_first: bool = False,
) -> dict[str, Any]:
    """Write the int8 file and return the record."""
    baseline = resident_megabytes()
    start, used = time.perf_counter(), time.process_time()
    content, count = int8_content(path, calibration, ranges, channels_first)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    output.write_bytes(content)
    every, floats = operators(content)
    return {
        "recipe": RECIPE,
        "ranges": ranges,
        "calibration": calibration.name,
        "path": output.name,
        "samples": count,
        "float_bytes": path.stat().st_size,
        "bytes": len(content),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "baseline_megabytes": baseline,
        "peak_megabytes": peak_megabytes(),
        "ops": every,
        "float_ops": floats,
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }


def main() -> None:
    """Parse the command line, quantize and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="float .tflite file")
    parser.add_argument("calibration", type=Path, help=".npz of calibration inputs")
    parser.add_argument("output", type=Path, help="the int8 .tflite file to write")
    parser.add_argument(
        "--ranges", choices=(MOVING_AVERAGE, MINMAX), default=MOVING_AVERAGE, help="how samples are combined"
    )
    parser.add_argument("--channels-first", action="store_true", help="the arrays are channel-first")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = quantize(
        options.file, options.calibration, options.output, options.ranges, options.channels_first
    )
    text = json.dumps(record, indent=2) + "\n"
    options.output.with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

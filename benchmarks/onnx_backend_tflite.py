"""The TFLite converter in both layouts, its files run by LiteRT with and without XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.onnx_backend_engine import Engine, MismatchError, Trial, compare

LAYOUTS = ("nchw", "nhwc")
KERNELS = ("xnnpack", "builtin")
# The two layouts may add up in another order; more than this is a different computation.
LAYOUT_TOLERANCE = 1e-4


class TFLiteEngine(Engine):
    """Every layout with every set of kernels."""

    title = "TFLite"

    def check(self, trial: Trial) -> str:
        """Compare all results with the expected ones, then the layouts with each other."""
        results = [_run(trial.path, trial.shapes, trial.feeds, layout) for layout in LAYOUTS]
        for layout, kernels in zip(LAYOUTS, results, strict=True):
            for name, found in kernels.items():
                compare(found, trial.expected, trial.rtol, trial.atol, f"{layout}, {name}")
        _compare_layouts(*results)
        return ""


def engine(_: str) -> Engine:
    """The engine."""
    return TFLiteEngine()


def _compare_layouts(first: dict[str, list[np.ndarray]], second: dict[str, list[np.ndarray]]) -> None:
    for kernels, expected in first.items():
        for index, (got, wanted) in enumerate(zip(second[kernels], expected, strict=True)):
            size = float(np.max(np.abs(wanted), initial=0)) if wanted.dtype == np.float32 else 0.0
            atol = LAYOUT_TOLERANCE * size if np.isfinite(size) else 0.0
            place = f"{LAYOUTS[1]} against {LAYOUTS[0]}, {kernels}, output {index}"
            compare([got], [wanted], LAYOUT_TOLERANCE, atol, place)


def _run(
    path: Path, shapes: dict[str, tuple[int, ...]] | None, feeds: dict[str, Any], layout: str
) -> dict[str, list[np.ndarray]]:
    """Outputs in ONNX's axis order, per set of kernels."""
    from toolchain.converters.graph import clean, load_onnx
    from toolchain.converters.tflite import convert

    graph = load_onnx(path, shapes)
    clean(graph)
    converted = convert(graph, layout=layout)
    # Without XNNPACK, ADD, SUB, MUL and DIV clamp to the largest float even where no activation is asked for.
    choices = KERNELS[:1] if _has_infinity(converted.data, feeds) else KERNELS
    return {kernels: _interpret(converted, feeds, kernels) for kernels in choices}


def _has_infinity(content: bytes, feeds: dict[str, Any]) -> bool:
    """Whether an input or a constant of the file is infinite, as in the masks of attention."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    buffers = [
        model.buffers[t.buffer].data
        for t in model.subgraphs[0].tensors
        if t.type == schema.TensorType.FLOAT32
    ]
    arrays = [np.asarray(data, np.uint8).view(np.float32) for data in buffers if data is not None]
    arrays += [array for array in feeds.values() if getattr(array, "dtype", None) == np.float32]
    return any(bool(np.isinf(array).any()) for array in arrays)


def _interpret(converted: Any, feeds: dict[str, Any], kernels: str) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = (
        OpResolverType.AUTO if kernels == "xnnpack" else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    try:
        interpreter = Interpreter(
            model_content=converted.data, num_threads=1, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
        for spec, detail in zip(converted.inputs, interpreter.get_input_details(), strict=True):
            value = feeds[spec.name]
            if _channels_last(spec.layout):
                value = np.moveaxis(value, 1, -1)
            interpreter.set_tensor(detail["index"], np.ascontiguousarray(value).reshape(value.shape))
        interpreter.invoke()
        found = [
            np.asarray(interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()
        ]
    except (RuntimeError, ValueError) as error:
        raise MismatchError(f"LiteRT, {kernels}: {' '.join(str(error).split())[:300]}") from error
    return [
        np.moveaxis(array, -1, 1) if _channels_last(spec.layout) else array
        for spec, array in zip(converted.outputs, found, strict=True)
    ]


def _channels_last(layout: str) -> bool:
    return layout.endswith("C") and len(layout) > 2

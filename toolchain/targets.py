"""The formats that can be written: one entry each, behind one small interface."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.registry import Registry
from toolchain.spec import SIDECAR_VERSION, ModelSpec, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

METADATA_NAME = "TOOLCHAIN_SIDECAR"


@dataclass(frozen=True)
class Written:
    """What a writer knows about the file that it wrote."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: dict[str, int]


@dataclass(frozen=True)
class Target:
    """One format.

    Attributes:
        name: as given to --format.
        suffix: of the file name.
        precisions: what can be written.
        default: precision when none is asked for.
        write: (cleaned graph, precision, layout, path, spec) -> Written; may change the graph.
    """

    name: str
    suffix: str
    precisions: tuple[str, ...]
    default: str
    write: Callable[[ir.Model, str, str, Path, ModelSpec], Written]


TARGETS: Registry[Target] = Registry("format", "toolchain export --help")


def contract(
    spec: ModelSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> dict[str, Any]:
    """The part of the sidecar that is known before the file has been run."""
    return {
        "version": SIDECAR_VERSION,
        "name": spec.name,
        "task": spec.task,
        "inputs": [asdict(tensor) for tensor in inputs],
        "outputs": [asdict(tensor) for tensor in outputs],
        "preprocessing": asdict(spec.preprocess) if spec.preprocess else None,
        "labels": list(spec.labels),
        "palette": [list(color) for color in spec.palette],
    }


def _write_tflite(graph: ir.Model, precision: str, layout: str, path: Path, spec: ModelSpec) -> Written:
    from toolchain.converters.tflite import convert

    def describe(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> dict[str, bytes]:
        return {METADATA_NAME: json.dumps(contract(spec, inputs, outputs), ensure_ascii=False).encode()}

    made = convert(graph, precision, layout, describe)
    path.write_bytes(made.data)
    return Written(made.inputs, made.outputs, made.ops)


def _write_onnx(graph: ir.Model, _precision: str, _layout: str, path: Path, spec: ModelSpec) -> Written:
    from collections import Counter

    import onnx_ir

    ops = Counter(node.op_type for node in graph.graph)
    graph.metadata_props[METADATA_NAME] = json.dumps(
        contract(spec, spec.inputs, spec.outputs), ensure_ascii=False
    )
    onnx_ir.save(graph, path)
    return Written(spec.inputs, spec.outputs, dict(ops.most_common()))


TARGETS.add("tflite", Target("tflite", ".tflite", ("fp32", "fp16"), "fp32", _write_tflite))
TARGETS.add("onnx", Target("onnx", ".onnx", ("fp32",), "fp32", _write_onnx))

"""The formats that can be written: one entry each, behind one small interface."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from toolchain.converters.coreml.goal import (
    IOS_VERSIONS,
    ML_PROGRAM,
    NEURAL_NETWORK,
    PRECISIONS,
    least_ios,
)
from toolchain.converters.coreml.quiet import import_coremltools
from toolchain.errors import UnsupportedError
from toolchain.registry import Registry
from toolchain.spec import SIDECAR_VERSION, ModelSpec, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolchain.converters.tflite.convert import TFLiteModel
    from toolchain.converters.tflite.integer_report import IntegerReport

METADATA_NAME = "TOOLCHAIN_SIDECAR"


@dataclass(frozen=True)
class Written:
    """What a writer knows about the file that it wrote.

    Attributes:
        inputs: as the file takes them.
        outputs: as the file gives them.
        ops: operator to count.
        report: what is integer in a quantized .tflite file, int8 weights included (IntegerReport), else None.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: dict[str, int]
    report: Any = None


@dataclass(frozen=True)
class WriteOptions:
    """How to write one file.

    Attributes:
        precision: one of the target's.
        layout: "nhwc" or "nchw", order of pictures at a .tflite file's borders.
        ios: oldest iOS that must run a Core ML file; None for the oldest that can.
        io: "float", "int8" or "uint8", type of inputs and outputs of an int8 .tflite file.
        allow_float: names of nodes or operators of an int8 file that may stay float.
        kept_float: names of nodes that stay float although they need not.
    """

    precision: str
    layout: str = "nhwc"
    ios: int | None = None
    io: str = "float"
    allow_float: tuple[str, ...] = ()
    kept_float: tuple[str, ...] = ()


def _no_notes(_options: WriteOptions) -> list[str]:
    return []


@dataclass(frozen=True)
class Target:
    """One format.

    Attributes:
        name: as given to --format.
        suffix: of the file name.
        precisions: what can be written.
        default: precision when none is asked for.
        write: (cleaned graph, options, path, spec) -> Written; may change the graph.
        check: what can be known before any work: raises a ToolchainError, or returns notes for the user.
    """

    name: str
    suffix: str
    precisions: tuple[str, ...]
    default: str
    write: Callable[[ir.Model, WriteOptions, Path, ModelSpec], Written]
    check: Callable[[WriteOptions], list[str]] = _no_notes


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


def _write_tflite(graph: ir.Model, options: WriteOptions, path: Path, spec: ModelSpec) -> Written:
    from toolchain.converters.tflite import convert

    def describe(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> dict[str, bytes]:
        return {METADATA_NAME: json.dumps(contract(spec, inputs, outputs), ensure_ascii=False).encode()}

    made = convert(
        graph,
        options.precision,
        options.layout,
        describe,
        io=options.io if options.precision == "int8" else "float",
        allow_float=options.allow_float,
        kept_float=options.kept_float,
    )
    report = _weights_report(made) if options.precision == "w8" else made.report
    path.write_bytes(made.data)
    return Written(made.inputs, made.outputs, made.ops, report)


def _weights_report(made: TFLiteModel) -> IntegerReport:
    """What computes with floats, and which of it has int8 weights.

    Raises:
        UnsupportedError: nothing is stored as int8, so that the file is no other than that of fp32.
    """
    from toolchain.converters.tflite.weights_int8 import MIN_ELEMENTS, float_operators

    assert made.report is not None
    if not made.report.quantized_bytes:
        raise UnsupportedError(
            f"the network has no weight that gets smaller as 'w8': none has {MIN_ELEMENTS} numbers",
            "export with -p fp16 or -p fp32",
        )
    return replace(made.report, floats=float_operators(made.data))


def _write_onnx(graph: ir.Model, _options: WriteOptions, path: Path, spec: ModelSpec) -> Written:
    from collections import Counter

    import onnx_ir

    ops = Counter(node.op_type for node in graph.graph)
    graph.metadata_props[METADATA_NAME] = json.dumps(
        contract(spec, spec.inputs, spec.outputs), ensure_ascii=False
    )
    onnx_ir.save(graph, path)
    return Written(spec.inputs, spec.outputs, dict(ops.most_common()))


def _write_coreml(kind: str, graph: ir.Model, options: WriteOptions, path: Path, spec: ModelSpec) -> Written:
    from toolchain.converters.coreml.convert import convert

    def describe(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> dict[str, str]:
        return {METADATA_NAME: json.dumps(contract(spec, inputs, outputs), ensure_ascii=False)}

    with _temporary_files_in(path.parent):
        made = convert(graph, options.precision, kind, options.ios, spec, describe)
        made.model.save(str(path))
    if path.is_dir():
        _fix_identifiers(path / "Manifest.json")
    return Written(made.inputs, made.outputs, made.ops)


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """coremltools leaves its temporary files behind when the disk is full; this folder is removed anyway."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _fix_identifiers(manifest: Path) -> None:
    """Name the parts of a package after their paths: coremltools draws random names, so that the same network
    would give another file each time.
    """
    raw = json.loads(manifest.read_bytes())
    items = sorted(raw["itemInfoEntries"].items(), key=lambda item: item[1]["path"])
    names = {old: str(uuid5(NAMESPACE_URL, entry["path"])) for old, entry in items}
    raw["itemInfoEntries"] = {names[old]: entry for old, entry in items}
    raw["rootModelIdentifier"] = names[raw["rootModelIdentifier"]]
    manifest.write_text(json.dumps(raw, indent=4) + "\n", encoding="utf-8")


def _check_coreml(kind: str, options: WriteOptions) -> list[str]:
    """The iOS version fits the precision, and coremltools can write on this computer."""
    ios = least_ios(kind, options.precision, options.ios)
    import_coremltools()
    if options.ios is None and ios > IOS_VERSIONS[0]:
        return [f"precision '{options.precision}' needs iOS {ios}: the file does not run on older ones"]
    return []


def _coreml_target(name: str, suffix: str, kind: str, default: str) -> Target:
    return Target(
        name, suffix, PRECISIONS[kind], default, partial(_write_coreml, kind), partial(_check_coreml, kind)
    )


TFLITE_PRECISIONS = ("fp32", "fp16", "w8", "int8", "int16x8")
TARGETS.add("tflite", Target("tflite", ".tflite", TFLITE_PRECISIONS, "fp32", _write_tflite))
TARGETS.add("coreml", _coreml_target("coreml", ".mlpackage", ML_PROGRAM, "fp16"))
TARGETS.add("mlmodel", _coreml_target("mlmodel", ".mlmodel", NEURAL_NETWORK, "fp32"))
TARGETS.add("onnx", Target("onnx", ".onnx", ("fp32", "int8"), "fp32", _write_onnx))

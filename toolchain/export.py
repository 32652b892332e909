"""export(): from a network to files that have been run and compared. The only orchestrator.

    resolve -> ONNX graph -> clean -> [convert -> write aside -> load -> run -> compare -> move into place]

A file is never under its own name before it has passed its gate; a file that fails is kept under a
`.rejected` name, so that it can be looked at.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.errors import ParityError, UnsupportedError
from toolchain.gate import allowed_drop, way_out
from toolchain.head import with_head
from toolchain.integer_graphs import prepare
from toolchain.integer_summary import integer_summary
from toolchain.jobs import DEFAULT_FORMATS, ExportOptions, jobs_of
from toolchain.parity import Arrays, compare, failures
from toolchain.publish import Staged, staging
from toolchain.quantize import METHOD
from toolchain.runtimes import load
from toolchain.samples import answers, samples
from toolchain.source import Shapes, Source, resolve
from toolchain.spec import Artifact, Parity
from toolchain.targets import Target, WriteOptions, Written
from toolchain.verify import reference_of, run_file
from toolchain.versions import versions

if TYPE_CHECKING:
    import onnx_ir as ir

SCORES = "scores"


def export(
    model: Any,
    example_inputs: Any = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    precisions: Sequence[str] | None = None,
    calibration: str | Path | None = None,
    output: str | Path = "build",
    layout: str = "nhwc",
    ios: int | None = None,
    method: str = METHOD,
    refine: bool = False,
    max_drop: float | None = None,
    io: str = "float",
    allow_float: Sequence[str] = (),
    head: str | None = None,
    weights: str | Path | None = None,
    input_shape: Shapes = None,
) -> list[Artifact]:
    """Convert a network, run every file written, compare, and only then keep it.

    Args:
        model: nn.Module, zoo name, path of a `.onnx` file, or `file.py:factory`.
        example_inputs: tensor or arrays, or a dict of them by input name; only their shapes are used.
        formats: "tflite", "coreml", "mlmodel", "onnx".
        precisions: "fp32", "fp16", "w8" (int8 weights only), "int8", for TFLite also "int16x8", for Core ML
            "palette4", "palette6", "palette8"; None for the default of each format.
        calibration: folder of pictures, `.npy`/`.npz`, or `celebamask:PATH`, to calibrate with and to
            compare on.
        output: folder of the files.
        layout: "nhwc" or "nchw", order of pictures at a .tflite file's borders.
        ios: oldest iOS that must run the Core ML files; None for the oldest that can.
        method: how ranges are read off calibration data: "minmax", "percentile", "entropy" or "mse".
        refine: fit the weights of integer files to the calibration data, layer by layer: minutes.
        max_drop: points of the task's metric (where the data has labels, else of label agreement) that an
            integer file may lose; the fewest layers that it takes are left in float.
        io: "float", "int8" or "uint8", type of inputs and outputs of an int8 .tflite file.
        allow_float: names of nodes or operators of an int8 file that may stay float; "auto" accepts all.
        head: "softmax" or "argmax" over the classes of the first output, inside the files; None for neither.
        weights: state dict for the network.
        input_shape: shape of the only input, or one per input name; instead of `example_inputs`.

    Returns:
        One Artifact per file.

    Raises:
        ToolchainError: a child of it for everything that can be known to go wrong; no file is left then.
    """
    options = ExportOptions(
        formats,
        precisions,
        Path(output),
        calibration,
        layout,
        ios,
        method,
        refine,
        max_drop,
        io,
        allow_float,
        command="toolchain.export()",
    )
    shapes = _shapes_of(example_inputs) if example_inputs is not None else input_shape
    source = with_head(resolve(model, Path(weights) if weights else None, shapes), head)
    return export_source(source, options).require_all()


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes:
        artifacts: one per file that passed.
        rejected: one error per file that did not; it is kept under its `.rejected` name.
        reference: runtime whose answers count as the truth.
        graph: parity of the cleaned ONNX graph, which all files were made from.
        reports: path of an integer .tflite file -> what is integer in it (IntegerReport).
        repairs: precision -> what was left in float for `max_drop` (Repair).
        mixtures: path of an integer .tflite file -> what is faster as floats in it (Mixture), for
            `allow_float` "auto".
    """

    artifacts: list[Artifact]
    rejected: list[ParityError]
    reference: str
    graph: Parity
    reports: dict[Path, Any]
    repairs: dict[str, Any]
    mixtures: dict[Path, Any]

    def require_all(self) -> list[Artifact]:
        """The artifacts.

        Raises:
            ParityError: files were rejected; it names all of them.
        """
        if len(self.rejected) == 1:
            raise self.rejected[0]
        if self.rejected:
            raise ParityError("; ".join(error.message for error in self.rejected), self.rejected[0].hint)
        return self.artifacts


def export_source(source: Source, options: ExportOptions) -> Exported:
    """Export a resolved network; see `export`."""
    from toolchain.float_islands import with_reasons

    jobs = jobs_of(options)
    seconds: dict[str, float] = {}
    with staging(options.output) as stage:
        with _timed("graph", seconds, options):
            graph = clean_graph(source)
        # All files are written before any is run, so that a refusal comes before the long part.
        with _timed("calibrate", seconds, options):
            prepared = prepare(source, graph, jobs, options)
        drafts = [
            _convert(source, prepared.graphs[job.precision], stage, target, job, options)
            for target, job in prepared.jobs
        ]
        with _timed("reference", seconds, options):
            # A gate of --max-drop holds on the samples that the layers were chosen with, not on some of them.
            count = max(options.count, *(repair.samples for repair in prepared.repairs.values()), 0)
            truth = _truth(source, options, count)
            parity = _graph_parity(source, graph, truth)
        reports = {options.output / d.name: d.written.report for d in drafts if d.written.report}
        mixtures = {
            options.output / d.name: prepared.mixtures[d.precision]
            for d in drafts
            if d.format == "tflite" and d.precision in prepared.mixtures
        }
        for path, mixture in mixtures.items():
            reports[path] = with_reasons(reports[path], mixture)
        exported = Exported([], [], truth.runtime, parity, reports, prepared.repairs, mixtures)
        for draft in drafts:
            path = options.output / draft.name
            integer = integer_summary(reports[path], mixtures.get(path)) if path in reports else {}
            try:
                made = _check(source, draft, truth, stage, options, dict(seconds), integer)
                exported.artifacts.append(made)
            except ParityError as error:
                exported.rejected.append(error)
    return exported


def _graph_parity(source: Source, graph: ir.Model, truth: _Truth) -> Parity:
    """How close the graph in ONNX Runtime is to the network: what a converter cannot be better than."""
    from toolchain.converters.graph.weights_beside import weights_beside
    from toolchain.runtimes.onnx_runtime import OnnxRuntime

    with OnnxRuntime(*weights_beside(graph)) as runtime:
        made = [run_file(runtime, sample, source.spec) for sample in truth.inputs]
    return compare(truth.expected, made, source.spec.task, truth.runtime, truth.origin)


@dataclass(frozen=True)
class _Truth:
    """What the source network computes on the samples."""

    inputs: list[Arrays]
    origin: str
    expected: list[Arrays]
    runtime: str


def clean_graph(source: Source) -> ir.Model:
    """The cleaned ONNX graph of a network; a PyTorch network goes through torch.onnx.export.

    Raises:
        UnsupportedError: a constant holds NaN, or a weight is infinite.
    """
    from toolchain.converters.graph import clean
    from toolchain.converters.graph.append_head import append_head
    from toolchain.converters.graph.require_finite import require_finite_weights
    from toolchain.converters.torch_to_onnx import torch_to_onnx

    if source.module is not None:
        graph = torch_to_onnx(source.module, source.spec.inputs, _output_names(source))
        require_finite_weights(graph)
        clean(graph)
    else:
        assert source.graph is not None
        assert source.cleaned is not None
        require_finite_weights(source.graph)
        graph = source.cleaned.clone()
    if source.head is not None:
        append_head(graph, source.head)
    return graph


def _output_names(source: Source) -> list[str]:
    """The outputs' names before the head, whose own name is another."""
    names = [tensor.name for tensor in source.spec.outputs]
    return [SCORES, *names[1:]] if source.head is not None else names


@dataclass(frozen=True)
class _Draft:
    """A file that has been written aside and not yet been run."""

    name: str
    format: str
    precision: str
    written: Written
    seconds: float


def _convert(
    source: Source, graph: ir.Model, stage: Staged, target: Target, job: WriteOptions, options: ExportOptions
) -> _Draft:
    name = f"{source.spec.name}-{job.precision}{target.suffix}"
    seconds: dict[str, float] = {}
    with _timed("convert", seconds, options):
        written = target.write(graph.clone(), job, stage.path(name), source.spec)
    for made, wanted in zip(
        (*written.inputs, *written.outputs), (*source.spec.inputs, *source.spec.outputs), strict=True
    ):
        if made.name != wanted.name:
            options.note(
                f"'{wanted.name}' is called '{made.name}' in {name}: the format allows no other name"
            )
    return _Draft(name, target.name, job.precision, written, seconds["convert"])


def _truth(source: Source, options: ExportOptions, count: int) -> _Truth:
    with reference_of(source) as reference:
        inputs, origin = samples(source.spec, options.calibration, count)
        inputs, expected = answers(source.spec, inputs, reference.run)
    return _Truth(inputs, origin, expected, "torch" if source.module is not None else "onnx")


def _check(
    source: Source,
    draft: _Draft,
    truth: _Truth,
    stage: Staged,
    options: ExportOptions,
    seconds: dict[str, float],
    integer: dict[str, Any],
) -> Artifact:
    """Load the written file, run it, compare, and move it into place or to its `.rejected` name."""
    spec, written = source.spec, draft.written
    seconds["convert"] = draft.seconds
    with _timed("verify", seconds, options):
        actual = _run(source, draft, truth, stage)
    parity = compare(truth.expected, actual, spec.task, truth.runtime, truth.origin)
    drop = allowed_drop(spec, options, draft.precision, truth.expected, actual)
    failed = failures(parity, draft.precision, spec, drop)
    if failed:
        rejected = stage.reject(draft.name)
        if not _repeats(source, truth):
            raise ParityError(
                f"'{source.spec.name}' computes something else each time that it is run, so that nothing can"
                f" be compared: {'; '.join(failed)}",
                "leave out random numbers and what is kept from call to call; the file is kept as"
                f" '{rejected}'",
            )
        raise ParityError(
            f"'{draft.name}' does not compute what the network computes: {'; '.join(failed)}",
            f"it is kept as '{rejected}'; {way_out(source, options, draft.precision)}",
        )
    artifact = Artifact(
        path=options.output / draft.name,
        format=draft.format,
        precision=draft.precision,
        name=spec.name,
        task=spec.task,
        inputs=written.inputs,
        outputs=written.outputs,
        preprocess=spec.preprocess,
        labels=spec.labels,
        palette=spec.palette,
        terms=spec.terms,
        parity=parity,
        ops=written.ops,
        versions=versions(),
        command=options.command,
        seconds={stage_name: round(value, 3) for stage_name, value in seconds.items()},
        integer=integer,
    )
    return stage.publish(draft.name, artifact)


def _run(source: Source, draft: _Draft, truth: _Truth, stage: Staged) -> list[Arrays]:
    """What the written file makes of the samples.

    Raises:
        ParityError: the runtime refuses the file; it is kept under its `.rejected` name.
    """
    staged, written = stage.path(draft.name), draft.written
    try:
        with load(staged) as runtime:
            return [
                run_file(runtime, sample, source.spec, written.inputs, written.outputs)
                for sample in truth.inputs
            ]
    except UnsupportedError as error:
        reason = error.message.replace(str(staged), draft.name)
        raise ParityError(
            f"'{draft.name}' was written, but cannot be run: {reason}",
            f"it is kept as '{stage.reject(draft.name)}'; please report this fault of the converter with the"
            " network",
        ) from error


def _repeats(source: Source, truth: _Truth) -> bool:
    """Whether the network computes the same again on the first sample."""
    with reference_of(source) as reference:
        again = reference.run(truth.inputs[0])
    return all(
        np.allclose(truth.expected[0][name], value, rtol=1e-3, atol=1e-5, equal_nan=True)
        for name, value in again.items()
    )


@contextmanager
def _timed(name: str, seconds: dict[str, float], options: ExportOptions) -> Iterator[None]:
    options.progress(name)
    start = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def _shapes_of(example_inputs: Any) -> Shapes:
    """Shapes of example inputs: one tensor, a dict by name, or a sequence named input_0, input_1 ..."""
    if isinstance(example_inputs, dict):
        return {name: tuple(value.shape) for name, value in example_inputs.items()}
    if isinstance(example_inputs, tuple | list):
        if len(example_inputs) == 1:
            return tuple(example_inputs[0].shape)
        return {f"input_{index}": tuple(value.shape) for index, value in enumerate(example_inputs)}
    return tuple(example_inputs.shape)


class _CallableModule(ModuleType):
    """`toolchain.export` is a function to users and a module to Python; importing it must not hide it."""

    def __call__(self, *arguments: Any, **named: Any) -> list[Artifact]:
        return export(*arguments, **named)


sys.modules[__name__].__class__ = _CallableModule

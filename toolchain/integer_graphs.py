"""The graph that each precision is made from: the float one, or one with quantization pairs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from toolchain.converters.tflite.integer_report import AUTO
from toolchain.errors import Refusal, UnsupportedOpsError, UsageError
from toolchain.jobs import ExportOptions, Job
from toolchain.quantize import ACTIVATIONS, QuantizeOptions, quantized_graph
from toolchain.source import Source
from toolchain.targets import WriteOptions

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolchain.float_islands import Mixture
    from toolchain.repair import Repair


@dataclass(frozen=True)
class Prepared:
    """Graphs that are ready to be written.

    Attributes:
        jobs: the files asked for; those of integers know which nodes stay float.
        graphs: precision -> graph.
        repairs: precision -> which layers were left in float so that the gate of `max_drop` holds.
        mixtures: precision -> what is faster as floats in its .tflite file, for `allow_float` "auto".
    """

    jobs: list[Job]
    graphs: dict[str, ir.Model]
    repairs: dict[str, Repair] = field(default_factory=dict)
    mixtures: dict[str, Mixture] = field(default_factory=dict)


def prepare(source: Source, graph: ir.Model, jobs: Sequence[Job], options: ExportOptions) -> Prepared:
    """Calibrate, place pairs, and choose what stays float, for the integer files among the jobs.

    Raises:
        UsageError: the network is quantized and a file is to be of floats, the ranges are not known,
            or flags contradict each other.
    """
    from toolchain.converters.graph.quantization import is_quantized

    wrong = [job.precision for _, job in jobs if job.precision not in ACTIVATIONS]
    if wrong and is_quantized(graph):
        raise UsageError(
            f"'{source.spec.name}' is quantized, it cannot be written as {wrong[0]}", "export it with -p int8"
        )
    if options.max_drop is not None and options.refine:
        raise UsageError("--refine and --max-drop cannot be used together", "take one of them")
    made = Prepared([], {job.precision: graph for _, job in jobs})
    base = QuantizeOptions(options.calibration, options.method, refine=options.refine, note=options.note)
    for precision in made.graphs:
        if precision in ACTIVATIONS:
            quantize = _repaired(source, graph, precision, base, options, made)
            made.graphs[precision] = quantized_graph(source, graph, precision, quantize)
    for target, job in jobs:
        repaired = made.repairs.get(job.precision)
        kept = tuple(repaired.kept) if repaired else ()
        if target.name == "tflite" and job.precision in ACTIVATIONS and AUTO in job.allow_float:
            kept = _fastest(graph, replace(job, kept_float=kept), options, made)
        elif target.name != "tflite" and job.precision in ACTIVATIONS:
            _refuse_floats(graph, kept, job.allow_float, target.name)
        made.jobs.append((target, replace(job, kept_float=kept)))
    return made


def _refuse_floats(graph: ir.Model, kept: Collection[str], allowed: Collection[str], target: str) -> None:
    """Refuse what would be float in a file of pairs; the .tflite writer refuses by what it has written.

    A graph that another tool has quantized is left as that tool meant it.

    Raises:
        UnsupportedOpsError: names every operator that nobody accepted.
    """
    from toolchain.converters.graph.quantization import is_quantized
    from toolchain.converters.quantize.integer_forms import write_integer_forms
    from toolchain.converters.quantize.integer_nodes import integer_nodes
    from toolchain.converters.quantize.scheme import MOVING

    if is_quantized(graph) or AUTO in allowed:
        return
    made = graph.clone()
    write_integer_forms(made, kept)
    integer = integer_nodes(made.graph, kept)
    refusals = [
        Refusal(
            node.op_type,
            node.name or "",
            "it stays float in an int8 file: there is no integer form of it",
            f"accept it with --allow-float {node.op_type}, or all such operators with --allow-float auto",
        )
        for node in made.graph
        if node not in integer
        and node.op_type not in MOVING
        and not {node.name, node.op_type} & {*kept, *allowed}
        and any(value.dtype is not None and value.dtype.is_floating_point() for value in node.outputs)
    ]
    if refusals:
        raise UnsupportedOpsError(refusals, f"{target} int8", "computed with integers in")


def _fastest(graph: ir.Model, job: WriteOptions, options: ExportOptions, made: Prepared) -> tuple[str, ...]:
    """Names of the nodes that stay float because they are faster so; a file slower than floats is noted."""
    from toolchain.converters.graph.quantization import is_quantized
    from toolchain.float_islands import choose_islands

    options.progress("measure")
    plain = None if is_quantized(graph) else graph
    pairs = made.graphs[job.precision]
    found = choose_islands(pairs, plain, job.precision, job.layout, job.io, job.kept_float)
    made.mixtures[job.precision] = found
    if found.all_float:
        options.note(
            f"nothing is faster as {job.precision} on this computer: the file computes with floats only;"
            " export with -p fp32, or without --allow-float auto"
        )
    elif found.milliseconds > found.fp32_ms:
        options.note(
            f"{job.precision} is slower than fp32 on this computer, whatever stays float:"
            f" {found.milliseconds:.3g} ms against {found.fp32_ms:.3g} ms; export with -p fp32 for speed"
        )
    return found.kept_float


def _repaired(
    source: Source,
    graph: ir.Model,
    precision: str,
    quantize: QuantizeOptions,
    options: ExportOptions,
    made: Prepared,
) -> QuantizeOptions:
    """The options with the nodes that stay float, so that no more than `max_drop` points are lost."""
    if options.max_drop is None:
        return quantize
    from toolchain.repair import repair

    made.repairs[precision] = repair(source, graph, precision, quantize, options.max_drop)
    # What there is to say about the data has been said.
    return replace(quantize, kept_float=made.repairs[precision].kept, note=lambda _note: None)

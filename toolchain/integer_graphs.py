"""The graph that each precision is made from: the float one, or one with quantization pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from toolchain.errors import UsageError
from toolchain.jobs import ExportOptions, Job
from toolchain.quantize import ACTIVATIONS, QuantizeOptions, quantized_graph
from toolchain.source import Source

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolchain.repair import Repair


@dataclass(frozen=True)
class Prepared:
    """Graphs that are ready to be written.

    Attributes:
        jobs: the files asked for; those of integers know which nodes stay float.
        graphs: precision -> graph.
        repairs: precision -> which layers were left in float so that the gate of `max_drop` holds.
    """

    jobs: list[Job]
    graphs: dict[str, ir.Model]
    repairs: dict[str, Repair] = field(default_factory=dict)


def prepare(source: Source, graph: ir.Model, jobs: Sequence[Job], options: ExportOptions) -> Prepared:
    """Calibrate and place pairs for the integer files among the jobs.

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
        found = made.repairs.get(job.precision)
        made.jobs.append((target, replace(job, kept_float=tuple(found.kept)) if found else job))
    return made


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

    # Repair judges graphs without equalization, so that none is written either.
    plain = replace(quantize, equalize=False)
    made.repairs[precision] = repair(source, graph, precision, plain, options.max_drop)
    return replace(plain, kept_float=made.repairs[precision].kept)

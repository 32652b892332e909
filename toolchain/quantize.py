"""From a float graph to one with quantization pairs: ranges from data or from the card, then placement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import UnsupportedError, UsageError
from toolchain.parity import Arrays, contract_range
from toolchain.samples import TRAINED, previous_mask, stream, takes_previous_mask
from toolchain.source import Source

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolchain.converters.quantize.scheme import Range
    from toolchain.runtimes.base import Runtime

# Precision -> how activations are stored.
ACTIVATIONS = {"int8": "int8", "int16x8": "int16"}
COUNT = 100
# Samples whose channels are measured for equalization, and that layers are fitted to.
EQUALIZED = 24
REFINED = 16
# The least error on the measured networks; see benchmarks/results.
METHOD = "mse"


@dataclass
class QuantizeOptions:
    """How to quantize.

    Attributes:
        calibration: real inputs; None for the ranges that the network's card holds.
        method: "minmax", "percentile", "entropy" or "mse".
        count: how many samples to calibrate with at most; fewer are run where more would change nothing.
        equalize: scale channels against each other before; needs `calibration`.
        refine: round the weights adaptively, layer by layer, and correct the biases; needs `calibration`.
        kept_float: names of nodes that stay float.
        progress: called with the number of samples done.
        note: called with what looks wrong about the data.
    """

    calibration: str | Path | None = None
    method: str = METHOD
    count: int = COUNT
    equalize: bool = True
    refine: bool = False
    kept_float: Collection[str] = ()
    progress: Callable[[int], None] = lambda _done: None
    note: Callable[[str], None] = lambda _note: None


def quantized_graph(source: Source, graph: ir.Model, precision: str, options: QuantizeOptions) -> ir.Model:
    """A copy of a cleaned graph with QuantizeLinear/DequantizeLinear pairs.

    A graph that has pairs already, from another quantizer, is accepted as it is.

    Args:
        source: the network.
        graph: its cleaned graph; it is not changed.
        precision: a key of ACTIVATIONS.
        options: how.

    Raises:
        UsageError: there is neither calibration data nor a card with ranges, or the data does not fit.
        UnsupportedError: a value is not finite on the data; no operator computes with integers.
    """
    from toolchain.converters.graph.quantization import is_quantized
    from toolchain.converters.quantize.place import place_pairs

    if is_quantized(graph):
        return graph.clone()
    if options.refine and options.calibration is None:
        raise UsageError("--refine needs real inputs", "give them with --calibration")
    made, ranges = calibrated_graph(source, graph, options)
    float_form = made.clone() if options.refine else made
    place_pairs(made, ranges, options.kept_float, ACTIVATIONS[precision])
    if not is_quantized(made):
        kept = "; all that could stays float" if options.kept_float else ""
        raise UnsupportedError(
            f"nothing in '{source.spec.name}' computes with integers, which -p {precision} needs{kept}",
            "export with -p fp32"
            + (", or accept a larger loss with --max-drop" if options.kept_float else " or -p w8"),
        )
    if options.refine:
        _refine(source, made, float_form, options)
    return made


def calibrated_graph(
    source: Source, graph: ir.Model, options: QuantizeOptions
) -> tuple[ir.Model, dict[str, Range]]:
    """A copy of a cleaned graph as pairs are placed in it, and the range of every value stored as integers.

    With data the graph is equalized, and the ranges are those of the data; else they are the card's.

    Raises:
        UsageError: there is neither calibration data nor a card with ranges, or the data does not fit.
        UnsupportedError: a value is not finite on the data.
    """
    from toolchain.converters.graph.weights_in_memory import weights_in_memory
    from toolchain.converters.quantize.calibrate import METHODS, calibrate
    from toolchain.converters.quantize.integer_forms import write_integer_forms
    from toolchain.converters.quantize.ledger import samples_enough
    from toolchain.converters.quantize.place import stored_values
    from toolchain.converters.quantize.ranges import ranges_from_card

    made = graph.clone()
    weights_in_memory(made)
    write_integer_forms(made, options.kept_float)
    if options.calibration is None:
        if source.card is None:
            raise UsageError(
                f"int8 needs the ranges of all layers, and none were measured for '{source.spec.name}'",
                "give real inputs with --calibration: a folder of pictures, .npy, .npz or celebamask:PATH",
            )
        return made, ranges_from_card(source.card)
    names = stored_values(made, options.kept_float)
    enough = samples_enough(made, names) if METHODS.get(options.method) else None
    found = calibrate(
        made,
        _calibration_samples(source, graph, options, enough),
        options.method,
        options.progress,
        _expected(source),
        names=names,
        equalized=EQUALIZED if options.equalize else 0,
    )
    for warning in found.warnings:
        options.note(warning)
    return made, found.ranges


def _refine(source: Source, made: ir.Model, float_form: ir.Model, options: QuantizeOptions) -> None:
    """Fit weights and biases to what the float network computes, layer by layer."""
    from toolchain.converters.quantize.bias_correction import correct_biases
    from toolchain.converters.quantize.refine import refine
    from toolchain.converters.quantize.weight_ranges import search_weight_ranges

    found = list(_calibration_samples(source, float_form, options, REFINED))
    search_weight_ranges(made, float_form)
    correct_biases(made, float_form, found)
    refine(made, float_form, found)


def _expected(source: Source) -> dict[str, Range]:
    """The range of the picture input that the contract's preprocessing makes."""
    from toolchain.converters.quantize.scheme import Range

    preprocess = source.spec.preprocess
    if preprocess is None:
        return {}
    return {source.spec.inputs[0].name: Range(*contract_range(preprocess))}


def _calibration_samples(
    source: Source, graph: ir.Model, options: QuantizeOptions, enough: int | None = None
) -> Iterator[Arrays]:
    """The samples, `enough` of them at most.

    A video parser sees every second picture with the mask of its own first answer to it. Arrays that are
    given for all inputs are taken as they are, masks included.
    """
    from toolchain.converters.graph.weights_beside import weights_beside
    from toolchain.runtimes.onnx_runtime import OnnxRuntime

    assert options.calibration is not None
    found = stream(source.spec, options.calibration, options.count, TRAINED, rounded=False, enough=enough)
    if not takes_previous_mask(source.spec) or _gives_masks(options.calibration):
        yield from found
        return
    with OnnxRuntime(*weights_beside(graph)) as runtime:
        for number, sample in enumerate(found):
            yield _with_mask(source, sample, runtime) if number % 2 else sample


def _gives_masks(calibration: str | Path) -> bool:
    """Whether the data has arrays for all inputs, as .npz files do; pictures and datasets have no masks."""
    path = Path(calibration)
    return path.suffix == ".npz" and not path.is_dir()


def _with_mask(source: Source, sample: Arrays, runtime: Runtime) -> Arrays:
    answer = next(iter(runtime.run(sample).values()))
    return {**sample, source.spec.inputs[1].name: previous_mask(source.spec, answer)}

"""`toolchain compress pack`: shared weights and Huffman codes in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli.output import foreign_prints_aside, note, on_terminal, say, show_json, show_table
from toolchain.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from toolchain.compress.storage.pack import PackReport
    from toolchain.source import Source
    from toolchain.training.classification import ClassificationData


@dataclass(frozen=True)
class Tuning:
    """How centroids are fine-tuned.

    Attributes:
        epochs: 0 for no training.
        learning_rate: peak; None for the recipe's own: a centroid moves by the mean over its weights, which
            is the smaller the more of them there are.
        seed: of order and augmentation.
    """

    epochs: int
    learning_rate: float | None
    seed: int


def compress_pack(
    weights: Annotated[Path, typer.Argument(help="A .safetensors file, or another state dict.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The packed file.")],
    bits: Annotated[
        str, typer.Option(help="Bits of a shared weight, 1 to 8: 5, or conv=8,linear=5 by kind of layer.")
    ] = "5",
    model: Annotated[
        str | None, typer.Option(help="Network that the weights must fit: zoo name or file.py:factory.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Keep tables, biases and normalization as float16.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Judge a classifier before and after: mnist:FOLDER or images:PATH. Needs --model."),
    ] = None,
    epochs: Annotated[
        int, typer.Option(min=0, help="Passes over the training pictures to fine-tune the shared weights.")
    ] = 0,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak of the fine-tuning; default the recipe's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the fine-tuning.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    """Sizes are those of whole files: header, tables and checksum count."""
    from toolchain.compress.storage.pack import pack, parse_bits

    wanted = parse_bits(bits)
    _check(model, data, epochs, learning_rate)
    source = _source(model, weights) if model else None
    name = source.spec.name if source else ""
    errors: dict[str, float] = {}
    if source is None or data is None:
        report = pack(weights, output, wanted, half, name)
    else:
        tuning = Tuning(epochs, learning_rate, seed)
        report, errors = _judged(source, data, weights, output, wanted, half, tuning, as_json)
    if as_json:
        show_json(_as_json(output, report, errors))
        return
    _show(output, report, errors)


def _check(model: str | None, data: str | None, epochs: int, learning_rate: float | None) -> None:
    if data is not None and model is None:
        raise UsageError("--data needs the network that the weights are of", "add --model")
    if epochs and data is None:
        raise UsageError("--epochs needs pictures to train on", "add --data mnist:FOLDER or images:PATH")
    if learning_rate is not None and not epochs:
        raise UsageError("--learning-rate does nothing without a training", "add --epochs and --data")


def _source(model: str, weights: Path) -> Source:
    from toolchain.source import resolve

    with foreign_prints_aside():
        source = resolve(model, weights)
    if source.module is None:
        raise UsageError("an ONNX file has no state dict", "give the network that it was made from")
    return source


def _judged(
    source: Source,
    data: str,
    weights: Path,
    output: Path,
    bits: dict[str, int],
    half: bool,
    tuning: Tuning,
    quiet: bool,
) -> tuple[PackReport, dict[str, float]]:
    """(report, test errors in percent) of packing, after fine-tuning where that is asked for."""
    from toolchain.compress.storage.pack import pack
    from toolchain.spec import CLASSIFICATION

    try:
        from toolchain.training.classification import error_of, fitting_data, open_classification
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"judging needs the package '{error.name}'", 'pip install "mobile-toolchain[train]"'
        ) from error
    network, spec = source.module, source.spec
    assert network is not None
    if spec.task != CLASSIFICATION:
        raise UsageError(f"'{spec.name}' is no classifier", "leave --data out; `toolchain evaluate` judges")
    pictures = fitting_data(open_classification(data, spec.inputs[0].shape[-1]), spec)
    errors = {"before": error_of(network, pictures.test, spec)}
    state = None
    if tuning.epochs:
        _fine_tune(source, pictures, bits, tuning, quiet)
        state = network.state_dict()
    report = pack(weights, output, bits, half, spec.name, state)
    network.load_state_dict(report.state, strict=False)
    errors["packed"] = error_of(network, pictures.test, spec)
    return report, {key: round(value, 3) for key, value in errors.items()}


def _fine_tune(
    source: Source, pictures: ClassificationData, bits: dict[str, int], tuning: Tuning, quiet: bool
) -> None:
    from toolchain.compress.storage.training import SharedWeights
    from toolchain.training.classification import fit_classifier, settings_for

    assert source.module is not None
    settings = settings_for(source.spec.name)
    settings = settings.with_values(epochs=tuning.epochs, learning_rate=tuning.learning_rate)
    with TemporaryDirectory() as folder:
        fit_classifier(
            source.module,
            pictures,
            settings,
            Path(folder),
            [SharedWeights(bits)],
            tuning.seed,
            report=note,
            spec=source.spec,
            progress=on_terminal() and not quiet,
            calibrate=False,
        )


def _as_json(output: Path, report: PackReport, errors: dict[str, float]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "path": str(output),
        "bytes_before": report.bytes_before,
        "bytes_after": report.bytes_after,
        "ratio": round(report.ratio, 3),
        **({"test_error": errors} if errors else {}),
        "tensors": [asdict(row) for row in report.tensors],
    }


def _show(output: Path, report: PackReport, errors: dict[str, float]) -> None:
    coded = [row for row in report.tensors if row.bits]
    others = [row for row in report.tensors if not row.bits]
    rows: list[tuple[object, ...]] = [
        (
            row.name,
            f"{row.weights:,}",
            row.bits,
            row.coding,
            f"{row.bytes_before:,}",
            f"{row.bytes_after:,}",
            f"{row.bytes_before / row.bytes_after:.1f}",
            f"{100 * row.error:.2f}",
        )
        for row in coded
    ]
    before, after = (sum(getattr(row, key) for row in others) for key in ("bytes_before", "bytes_after"))
    if others:
        count = sum(row.weights for row in others)
        ratio = f"{before / after:.1f}" if after else "-"
        worst = 100 * max(row.error for row in others)
        rest = f"{len(others)} more as they are"
        rows.append((rest, f"{count:,}", "-", "raw", f"{before:,}", f"{after:,}", ratio, f"{worst:.2f}"))
    columns = ("layer", "weights", "bits", "coding", "bytes", "packed", "ratio", "error %")
    show_table("", columns, rows)
    overhead = report.bytes_after - sum(row.bytes_after for row in report.tensors)
    say(
        f"{report.bytes_before:,} -> {report.bytes_after:,} bytes, {report.ratio:.1f} times smaller;"
        f" {overhead:,} of them are header and checksum"
    )
    if errors:
        say(f"test error: {errors['before']:.2f} % before, {errors['packed']:.2f} % packed")
    say(f"wrote {output}")

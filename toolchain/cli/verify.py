"""`toolchain verify`: compare a model file with its network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli import shapes
from toolchain.cli.output import foreign_prints_aside, say, show_json, show_table
from toolchain.errors import ParityError, UsageError

if TYPE_CHECKING:
    from toolchain.layers import LayerTable
    from toolchain.source import Source
    from toolchain.verify import Verdict


def verify(
    artifacts: Annotated[list[Path], typer.Argument(help="Model files.", metavar="ARTIFACT...")],
    against: Annotated[str, typer.Option(help="The network: zoo name, file.onnx, file.py:factory.")],
    weights: Annotated[Path | None, typer.Option(help="State dict of the network.")] = None,
    input_shape: Annotated[list[str] | None, typer.Option(help=shapes.HELP)] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Real inputs: folder of pictures, .npy, .npz, celebamask:PATH, mnist:FOLDER, images:PATH."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many inputs at most.")] = 8,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Points of metric or agreement that int8 may lose, as said at the export."
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="What runs the files, a row each; coreml-native is Apple's own, on a Mac; repeatable."
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show what quantization does to each layer, worst first.")
    ] = False,
    layers_csv: Annotated[
        Path | None, typer.Option("--csv", help="Write all layers there; with --layers.", metavar="PATH.csv")
    ] = None,
    explorer: Annotated[
        Path | None,
        typer.Option(help="Write node data for Model Explorer there; with --layers.", metavar="PATH.json"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, nothing else.")] = False,
) -> None:
    _check_layers(artifacts, layers, layers_csv, explorer)

    from toolchain.source import resolve
    from toolchain.verify import verify as verify_file

    with foreign_prints_aside():
        source = resolve(against, weights, shapes.parse_shapes(input_shape))
        if not source.trained:
            raise UsageError(
                f"'{against}' ships no weights, so that there is nothing to compare with",
                "give those that the file was made from with --weights",
            )
        runtimes: list[str | None] = [*runtime] if runtime else [None]
        verdicts = [
            verify_file(path, source, calibration, samples, name, max_drop)
            for path in artifacts
            for name in runtimes
        ]
        table = _layer_table(artifacts[0], source, calibration, samples) if layers else None
    if table is not None:
        _write(table, layers_csv, explorer)
    if as_json:
        show_json(_json(verdicts, table))
    else:
        _show(verdicts, table)
    failed = [verdict for verdict in verdicts if verdict.failures]
    if failed:
        raise ParityError(
            f"{len(failed)} of {len(verdicts)} file(s) do not compute what '{against}' computes: "
            + "; ".join(f"'{v.path.name}': {', '.join(v.failures)}" for v in failed),
            "export again, or check that the file was made from this network and these weights; of an int8"
            " file that was exported with --max-drop, say so here, too",
        )


def _check_layers(
    artifacts: list[Path], layers: bool, layers_csv: Path | None, explorer: Path | None
) -> None:
    """Raises UsageError for a file to write that would replace a model, or that nobody asked to fill.

    And for a model file without layers to see, before the long comparison.
    """
    for flag, path, suffix in (("--csv", layers_csv, ".csv"), ("--explorer", explorer, ".json")):
        if path is None:
            continue
        if not layers:
            raise UsageError(f"{flag} is for the table of --layers", "add --layers")
        if path.suffix.lower() != suffix:
            raise UsageError(f"'{path}' is no name for a {suffix} file", f"{flag} PATH{suffix}")
    if layers and len(artifacts) > 1:
        raise UsageError(f"--layers is for one file, not {len(artifacts)}", "give one after the other")
    if layers:
        from toolchain.stored_tensors import require_stored

        require_stored(artifacts[0])


def _layer_table(path: Path, source: Source, calibration: str | None, count: int) -> LayerTable:
    from toolchain.layers import layer_table

    return layer_table(path, source, calibration, count)


def _write(table: LayerTable, layers_csv: Path | None, explorer: Path | None) -> None:
    from toolchain.explorer import write_explorer
    from toolchain.layers import write_csv

    if layers_csv is not None:
        write_csv(table, layers_csv)
    if explorer is not None:
        write_explorer(table, explorer)


def _json(verdicts: list[Verdict], table: LayerTable | None) -> list[dict[str, Any]]:
    from toolchain.cli.layers import layers_json

    found: list[dict[str, Any]] = [
        {
            "path": str(verdict.path),
            "runtime": verdict.runtime,
            "precision": verdict.precision,
            "precision_from": verdict.found,
            "parity": verdict.parity.as_json(),
            "failures": verdict.failures,
        }
        for verdict in verdicts
    ]
    if table is not None:
        found[0]["layers"] = layers_json(table)
    return found


def _show(verdicts: list[Verdict], table: LayerTable | None) -> None:
    from toolchain.cli.layers import show_layers
    from toolchain.stored_precision import SIDECAR

    rows = []
    for verdict in verdicts:
        parity = verdict.parity
        agreement = "-" if parity.agreement is None else f"{parity.agreement:.2%}"
        gate = "passed" if not verdict.failures else "; ".join(verdict.failures)
        rows.append(
            (
                verdict.path,
                verdict.runtime or "default",
                verdict.precision,
                f"{parity.sqnr_db:.1f}",
                f"{parity.max_abs:.2g}",
                agreement,
                gate,
            )
        )
    show_table("", ("file", "run by", "gate", "SQNR dB", "max abs", "agreement", "result"), rows)
    for path, verdict in {verdict.path: verdict for verdict in verdicts}.items():
        if verdict.found != SIDECAR:
            say(f"{path} has no sidecar: judged as {verdict.precision}, by {verdict.found}")
    parity = verdicts[0].parity
    say(f"compared with {parity.reference} on {parity.samples} {parity.inputs} samples")
    if table is not None:
        show_layers(table)

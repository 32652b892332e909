"""`toolchain export`: convert, run, compare, keep."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import shapes
from toolchain.cli.output import (
    foreign_prints_aside,
    note,
    on_terminal,
    say,
    show_json,
    show_stage,
    show_table,
)
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.apps.delivery import Delivery
    from toolchain.export import Exported
    from toolchain.spec import Parity


def export(
    model: Annotated[
        str, typer.Argument(help="Zoo name, file.onnx, file.py:factory or package.module:factory.")
    ],
    format: Annotated[
        list[str] | None, typer.Option("-f", "--format", help="tflite, coreml, mlmodel, onnx; repeatable.")
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--precision",
            help="fp32, fp16, w8, int8; tflite: int16x8; Core ML: palette4, palette6, palette8; repeatable.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the files.")] = Path("build"),
    weights: Annotated[Path | None, typer.Option(help="State dict, .safetensors or .pt.")] = None,
    input_shape: Annotated[list[str] | None, typer.Option(help=shapes.HELP)] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Real inputs to calibrate and compare on: folder of pictures, .npy, .npz, celebamask:PATH,"
            " mnist:FOLDER, images:PATH."
        ),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="nhwc or nchw: order of pictures at a .tflite file's borders.")
    ] = "nhwc",
    ios: Annotated[
        int | None, typer.Option(help="Oldest iOS that must run a .mlpackage: 15 to 18; default: the oldest.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="How ranges are read off the data: minmax, percentile, entropy or mse.")
    ] = "mse",
    refine: Annotated[
        bool, typer.Option("--refine", help="Fit int8 weights to the calibration data: minutes, and better.")
    ] = False,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Points of metric or agreement that int8 may lose; layers stay float for it."
        ),
    ] = None,
    io: Annotated[
        str, typer.Option(help="float, int8 or uint8: inputs and outputs of an int8 .tflite file.")
    ] = "float",
    allow_float: Annotated[
        list[str] | None,
        typer.Option(
            help="Node or operator of an int8 file that may stay float; auto: all that must, or is faster so."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="softmax or argmax over the classes, inside the files; default: neither."),
    ] = None,
    app: Annotated[
        str | None, typer.Option(help="ios or android: files for this demo app, put where it looks for them.")
    ] = None,
    app_folder: Annotated[
        Path | None, typer.Option(help="Checkout of the app; default: ./ios_demo or ./android_demo.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, nothing else.")] = False,
) -> None:
    delivery = _delivery(app, app_folder, format, precision)

    from toolchain.export import DEFAULT_FORMATS, ExportOptions, export_source
    from toolchain.head import with_head
    from toolchain.source import resolve

    with foreign_prints_aside(), show_stage(on_terminal() and not as_json) as progress:
        progress("network")
        source = with_head(resolve(model, weights, shapes.parse_shapes(input_shape)), head)
        if not source.trained and not as_json:
            note(f"note: '{source.spec.name}' ships no weights and none were given: they are random")
        if delivery is not None:
            delivery.check(source.spec, head)
            format, precision = list(delivery.formats), list(delivery.precisions)
        options = ExportOptions(
            formats=format or DEFAULT_FORMATS,
            precisions=precision or None,
            output=output,
            calibration=calibration,
            layout=layout,
            ios=ios,
            method=method,
            refine=refine,
            max_drop=max_drop,
            io=io,
            allow_float=allow_float or (),
            command=shlex.join(["toolchain", *sys.argv[1:]]),
            progress=progress,
            note=lambda text: note(f"note: {text}"),
        )
        exported = export_source(source, options)
        delivered = delivery.deliver(exported.artifacts) if delivery is not None else []
        clip = delivery.deliver_clip() if delivery is not None else None
    if as_json:
        rows = [artifact.report() for artifact in exported.artifacts]
        for row, path in zip(rows, delivered, strict=False):
            row["app"] = str(path)
        show_json(rows)
    else:
        _show(exported)
        for path in delivered:
            say(f"for the {app} app: {path}")
        if clip is not None:
            say(f"for the benchmark of the {app} app: {clip}")
    exported.require_all()
    if delivery is not None and not as_json:
        say(f"next: {delivery.next_step}")


def _delivery(
    app: str | None, folder: Path | None, formats: list[str] | None, precisions: list[str] | None
) -> Delivery | None:
    """Where the files go beside the output folder; None without an app. Known before any work."""
    if app is None:
        if folder is not None:
            raise UsageError(
                "--app-folder is for --app, which is not given", "add --app android or --app ios"
            )
        return None
    from toolchain.apps.delivery import Delivery

    return Delivery(app, folder, formats, precisions)


RUNTIMES = {
    "tflite": "LiteRT",
    "coreml": "Core ML reference",
    "mlmodel": "Core ML reference",
    "onnx": "ONNX Runtime",
}


def _show(exported: Exported) -> None:
    from toolchain.cli.integer_report import show_integer_report
    from toolchain.cli.repair_report import show_repair

    names = {"torch": "PyTorch", "onnx": "ONNX Runtime"}
    rows: list[tuple[object, ...]] = [
        ("the network", names[exported.reference], "-", "-", "-", "reference", "-", "-"),
        ("its ONNX graph", "ONNX Runtime", "-", "-", "-", *_figures(exported.graph)),
    ]
    for artifact in exported.artifacts:
        assert artifact.parity is not None
        moves = sum(count for name, count in artifact.ops.items() if name.lower() in ("transpose", "permute"))
        size = f"{artifact.bytes / 1000:,.0f}"
        ops = sum(artifact.ops.values())
        rows.append((artifact.path, RUNTIMES[artifact.format], size, ops, moves, *_figures(artifact.parity)))
    columns = ("file", "run by", "kB", "ops", "transposes", "SQNR dB", "max abs", "agreement")
    show_table("", columns, rows)
    parity = exported.graph
    compared = f"compared with {parity.reference} on {parity.samples} {parity.inputs} samples"
    say(f"{compared}, after loading from disk")
    for repair in exported.repairs.values():
        show_repair(repair)
    for artifact in exported.artifacts:
        if artifact.path in exported.reports:
            say(f"{artifact.path}:")
            show_integer_report(exported.reports[artifact.path], exported.mixtures.get(artifact.path))


def _figures(parity: Parity) -> tuple[str, str, str]:
    agreement = "-" if parity.agreement is None else f"{parity.agreement:.2%}"
    return f"{parity.sqnr_db:.1f}", f"{parity.max_abs:.2g}", agreement

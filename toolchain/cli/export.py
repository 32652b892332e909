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

if TYPE_CHECKING:
    from toolchain.spec import Artifact


def export(
    model: Annotated[
        str, typer.Argument(help="Zoo name, file.onnx, file.py:factory or package.module:factory.")
    ],
    format: Annotated[
        list[str] | None, typer.Option("-f", "--format", help="tflite, onnx; repeatable.")
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option("-p", "--precision", help="fp32, fp16; repeatable.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the files.")] = Path("build"),
    weights: Annotated[Path | None, typer.Option(help="State dict, .safetensors or .pt.")] = None,
    input_shape: Annotated[list[str] | None, typer.Option(help=shapes.HELP)] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Real inputs to compare on: folder of pictures, .npy, .npz, celebamask:PATH."),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="nhwc or nchw: order of pictures at a .tflite file's borders.")
    ] = "nhwc",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, nothing else.")] = False,
) -> None:
    from toolchain.export import DEFAULT_FORMATS, ExportOptions, export_source
    from toolchain.source import resolve

    with foreign_prints_aside(), show_stage(on_terminal() and not as_json) as progress:
        progress("network")
        source = resolve(model, weights, shapes.parse_shapes(input_shape))
        if not source.trained and not as_json:
            note(f"note: '{source.spec.name}' ships no weights and none were given: they are random")
        options = ExportOptions(
            formats=format or DEFAULT_FORMATS,
            precisions=precision or None,
            output=output,
            calibration=calibration,
            layout=layout,
            command=shlex.join(["toolchain", *sys.argv[1:]]),
            progress=progress,
        )
        artifacts = export_source(source, options)
    if as_json:
        show_json([artifact.report() for artifact in artifacts])
        return
    _show(artifacts)


def _show(artifacts: list[Artifact]) -> None:
    rows = []
    for artifact in artifacts:
        parity = artifact.parity
        assert parity is not None
        agreement = "-" if parity.agreement is None else f"{parity.agreement:.2%}"
        rows.append(
            (
                artifact.path,
                f"{artifact.bytes / 1000:,.0f}",
                sum(artifact.ops.values()),
                artifact.ops.get("TRANSPOSE", 0) + artifact.ops.get("Transpose", 0),
                f"{parity.sqnr_db:.1f}",
                f"{parity.max_abs:.2g}",
                agreement,
            )
        )
    columns = ("file", "kB", "ops", "transposes", "SQNR dB", "max abs", "agreement")
    show_table("", columns, rows)
    parity = artifacts[0].parity
    assert parity is not None
    compared = f"compared with {parity.reference} on {parity.samples} {parity.inputs} samples"
    say(f"{compared}, after loading from disk")

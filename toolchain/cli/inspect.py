"""`toolchain inspect`: what is in a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import shapes
from toolchain.cli.output import say, show_json, show_table


def inspect(
    file: Annotated[Path, typer.Argument(help="A .tflite, .onnx, .mlpackage or .mlmodel file.")],
    input_shape: Annotated[list[str] | None, typer.Option(help=shapes.HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    from toolchain.inspection import inspect_file
    from toolchain.spec import shape_text

    found = inspect_file(file, shapes.parse_shapes(input_shape))
    if as_json:
        show_json(found.as_json())
        return
    say(f"{file}: {found.format}, {found.bytes / 1000:,.0f} kB")
    macs = "an unknown number of" if found.macs is None else f"{found.macs / 1e6:,.1f} million"
    say(f"{found.parameters:,} parameters, {macs} multiply-adds")
    tensors = [("input", t) for t in found.inputs] + [("output", t) for t in found.outputs]
    show_table(
        "",
        ("tensor", "name", "shape", "type"),
        [(k, t.name, shape_text(t.shape), t.dtype) for k, t in tensors],
    )
    show_table("", ("operator", "count"), list(found.ops.items()))
    say(f"transposes: {found.transposes}")
    if found.refused:
        columns = ("op", "count", "first node", "reason", "what to do")
        show_table("what --format tflite would refuse", columns, found.refused)
    elif found.refused is not None:
        say("everything can be lowered to TFLite")

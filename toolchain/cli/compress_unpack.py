"""`toolchain compress unpack`: safetensors of a packed file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.output import foreign_prints_aside, say, show_json
from toolchain.errors import UsageError


def compress_unpack(
    file: Annotated[Path, typer.Argument(help="A file of `toolchain compress pack`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .safetensors file.")],
    model: Annotated[
        str | None, typer.Option(help="Network that it must be of: zoo name or file.py:factory.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    """The card is written beside it, where the packed weights had one."""
    from toolchain.compress.storage.pack import unpack
    from toolchain.source import resolve

    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"'{output}' is no .safetensors file", "give -o NAME.safetensors")
    name, network = "", None
    if model is not None:
        with foreign_prints_aside():
            source = resolve(model)
        if source.module is None:
            raise UsageError("an ONNX file has no state dict", "give the network that it was made from")
        name, network = source.spec.name, source.module
    packed = unpack(file, output, name, network)
    if as_json:
        show_json(
            {
                "path": str(output),
                "network": packed.network,
                "source_sha256": packed.source,
                "tensors": len(packed.state),
                "metadata": packed.metadata,
                "card": packed.card is not None,
            }
        )
        return
    say(f"wrote {output}: {len(packed.state)} tensors" + (", and its card" if packed.card else ""))

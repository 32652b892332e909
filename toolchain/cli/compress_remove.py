"""`toolchain compress remove`: take zeroed filters out of a network."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli import shapes
from toolchain.cli.output import foreign_prints_aside, note, say, show_json, show_table
from toolchain.errors import MissingDependencyError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from toolchain.compress.removal.remove import Removal
    from toolchain.source import Source


def compress_remove(
    model: Annotated[str, typer.Argument(help="Zoo name, file.py:factory or package.module:factory.")],
    weights: Annotated[
        Path | None, typer.Option(help="State dict with zeroed filters; default those that ship.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the files; default runs/removed/MODEL.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Training pictures to measure int8 ranges on: celebamask:PATH, images:PATH, mnist:FOLDER."
        ),
    ] = None,
    input_shape: Annotated[list[str] | None, typer.Option(help=shapes.HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    """Filters go whose weights are all exactly zero, with everything that depends on them."""
    try:
        from toolchain.compress.removal.file import write_removal
        from toolchain.compress.removal.remove import remove_filters
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"removal needs the package '{error.name}'", 'pip install "mobile-toolchain[compress]"'
        ) from error
    from toolchain.source import resolve

    with foreign_prints_aside():
        source = resolve(model, weights, shapes.parse_shapes(input_shape))
        if source.module is None:
            raise UsageError(
                "filters are removed from PyTorch networks; an ONNX file has no modules",
                "give the network that the file was made from",
            )
        removal = remove_filters(source.module, _example(source))
        _require_something(removal, source, weights)
        folder = output or Path("runs") / "removed" / source.spec.name
        card = write_removal(
            removal,
            source.spec,
            folder,
            source.card,
            weights,
            data,
            shlex.join(["toolchain", *sys.argv[1:]]),
        )
    target = folder / f"{source.spec.name}.safetensors"
    following = shlex.join(
        ["toolchain", "export", model, "--weights", str(target)]
        + [part for shape in input_shape or () for part in ("--input-shape", shape)]
    )
    if as_json:
        show_json({"path": str(target), "next": following, "layers": _layers(removal), **card["removal"]})
        return
    _show(removal, target, following)
    if "calibration" not in card:
        note("note: the card holds no ranges for int8: export that with --calibration, or repeat with --data")


def _example(source: Source) -> list[Any]:
    import torch

    return [torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype)) for tensor in source.spec.inputs]


def _require_something(removal: Removal, source: Source, weights: Path | None) -> None:
    """Refuse where nothing can go."""
    name = source.spec.name
    where = f"the weights in '{weights}'" if weights is not None else f"the weights of '{name}'"
    if not source.trained:
        where = f"'{name}' without weights"
    if removal.zeroed == 0:
        raise UnsupportedError(
            f"no filter of {where} is zero: there is nothing to remove",
            "`toolchain compress train` makes kernels zero",
        )
    if removal.after.filters == removal.before.filters:
        first = removal.left[0]
        raise UnsupportedError(
            f"none of the {removal.zeroed} zeroed filters of {where} can go: filter {first.index} of"
            f" '{first.layer}' stays because {first.reason}",
            "in sums, the same channel of all summands must be zero",
        )


def _layers(removal: Removal) -> list[dict[str, Any]]:
    return [
        {
            "layer": name,
            "filters": [before.filters, removal.after.layers[name].filters],
            "parameters": [before.parameters, removal.after.layers[name].parameters],
            "macs": [before.macs, removal.after.layers[name].macs],
        }
        for name, before in removal.before.layers.items()
    ]


def _show(removal: Removal, target: Path, following: str) -> None:
    from toolchain.compress.removal.file import left_filters

    before, after = removal.before, removal.after
    rows = [(row["layer"], *_pairs(row)) for row in _layers(removal)]
    totals = {key: [getattr(before, key), getattr(after, key)] for key in ("filters", "parameters", "macs")}
    rows.append(("the network", *_pairs(totals)))
    columns = ("layer", "filters", "left", "parameters", "left", "multiply-adds", "left")
    show_table("", columns, rows)
    for (layer, reason), count in left_filters(removal).items():
        say(f"kept {count} zeroed of '{layer}': {reason}")
    gone = before.filters - after.filters
    say(
        f"{gone} of {before.filters} filters are gone, {removal.zeroed} were zero; multiply-adds"
        f" {before.macs / max(1, after.macs):.2f}x fewer; largest difference of the outputs"
        f" {removal.difference:.1e}"
    )
    say(f"wrote {target} and its card")
    say(f"next: {following}")


def _pairs(row: dict[str, Any]) -> list[str]:
    return [f"{value:,}" for key in ("filters", "parameters", "macs") for value in row[key]]

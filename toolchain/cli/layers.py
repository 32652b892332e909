"""The table of `toolchain verify --layers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolchain.cli.output import say, show_table

if TYPE_CHECKING:
    from toolchain.layers import Layer, LayerTable

SHOWN = 20
COLUMNS = ("layer", "op", "SQNR dB", "own dB", "range used", "saturated", "stored as", "matched by")


def show_layers(table: LayerTable) -> None:
    """The worst layers, and what could not be compared."""
    show_table("", COLUMNS, [_row(layer) for layer in table.layers[:SHOWN]])
    count = len(table.layers)
    shown = f"the worst {SHOWN} of {count} layers" if count > SHOWN else f"{count} layers"
    say(f"{shown}, by the noise that each adds itself (own dB), on {table.samples} {table.inputs} samples")
    if table.unmatched:
        names = ", ".join(table.unmatched[:5]) + (", ..." if len(table.unmatched) > 5 else "")
        say(f"{len(table.unmatched)} tensors stand for no value of the network: {names}")


def layers_json(table: LayerTable) -> dict[str, Any]:
    """All layers, worst first."""
    return {
        "samples": table.samples,
        "inputs": table.inputs,
        "unmatched": table.unmatched,
        "layers": [layer.as_json() for layer in table.layers],
    }


def _row(layer: Layer) -> tuple[str, ...]:
    return (
        # Names in foreign files can have hundreds of characters; the CSV has them.
        layer.value,
        layer.op,
        f"{layer.sqnr_db:.1f}",
        f"{layer.own_sqnr_db:.1f}",
        _share(layer.range_used),
        _share(layer.saturated, 2),
        layer.dtype,
        layer.matched,
    )


def _share(share: float | None, digits: int = 0) -> str:
    return "-" if share is None else f"{share:.{digits}%}"

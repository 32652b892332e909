"""`toolchain models`: the zoo."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from toolchain.cli.output import show_json, show_table


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, nothing else.")] = False,
) -> None:
    import torch

    from toolchain.models.zoo import zoo
    from toolchain.spec import shape_text

    listed: list[dict[str, Any]] = []
    for name in zoo():
        entry = zoo().get(name)
        with torch.device("meta"):
            parameters = sum(p.numel() for p in entry.build().parameters())
        card = entry.card
        listed.append(
            {
                "name": name,
                "task": entry.spec.task,
                "parameters": parameters,
                "inputs": {tensor.name: list(tensor.shape) for tensor in entry.spec.inputs},
                "weights": entry.weights is not None,
                "figures": card["figures"] if card else None,
                "terms": card["terms"] if card else None,
                "description": entry.spec.description,
                "source": entry.spec.source,
            }
        )
    if as_json:
        show_json(listed)
        return
    rows = [
        (
            item["name"],
            f"{item['parameters']:,}",
            shape_text(next(iter(item["inputs"].values()))),
            "yes" if item["weights"] else "-",
            item["description"],
        )
        for item in listed
    ]
    show_table("", ("name", "parameters", "input", "weights", "what"), rows)

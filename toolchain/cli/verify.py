"""`toolchain verify`: compare a model file with its network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import shapes
from toolchain.cli.output import foreign_prints_aside, say, show_json, show_table
from toolchain.errors import ParityError, UsageError


def verify(
    artifacts: Annotated[list[Path], typer.Argument(help="Model files.", metavar="ARTIFACT...")],
    against: Annotated[str, typer.Option(help="The network: zoo name, file.onnx, file.py:factory.")],
    weights: Annotated[Path | None, typer.Option(help="State dict of the network.")] = None,
    input_shape: Annotated[list[str] | None, typer.Option(help=shapes.HELP)] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Real inputs: folder of pictures, .npy, .npz, celebamask:PATH.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many inputs at most.")] = 8,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="What runs the files, a row each; coreml-native is Apple's own, on a Mac; repeatable."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, nothing else.")] = False,
) -> None:
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
            verify_file(path, source, calibration, samples, name)
            for path in artifacts
            for name in runtimes
        ]
    if as_json:
        show_json(
            [
                {
                    "path": str(verdict.path),
                    "runtime": verdict.runtime,
                    "precision": verdict.precision,
                    "parity": verdict.parity.as_json(),
                    "failures": verdict.failures,
                }
                for verdict in verdicts
            ]
        )
    else:
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
        parity = verdicts[0].parity
        say(f"compared with {parity.reference} on {parity.samples} {parity.inputs} samples")
    failed = [verdict for verdict in verdicts if verdict.failures]
    if failed:
        raise ParityError(
            f"{len(failed)} of {len(verdicts)} file(s) do not compute what '{against}' computes: "
            + "; ".join(f"'{v.path.name}': {', '.join(v.failures)}" for v in failed),
            "export again, or check that the file was made from this network and these weights",
        )

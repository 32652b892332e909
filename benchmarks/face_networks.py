"""The published face parsers and the product network under one recipe and an equal budget, as one table.

    python -P -m toolchain.benchmarks.face_networks --data celebamask:PATH --folder RUNS
        --output benchmarks/results/face_networks.json --markdown benchmarks/results/face_networks.md

Trainings are kept in RUNS/NAME-seedS and are used again when they were made with the same settings; what was
interrupted is gone on with. With --no-train only what is there is tabulated, and RUNS is not written to.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.environment import PACKAGES, environment
from toolchain.benchmarks.face_networks_files import LATENCY, THREADS, LatencySettings, measure_files
from toolchain.benchmarks.face_networks_runs import (
    FINISHED,
    NEW,
    STARTED,
    Budget,
    Run,
    Terms,
    check_checkpoint,
    read_card,
    runs_of,
    terms_of,
    train,
)
from toolchain.benchmarks.face_networks_table import table
from toolchain.benchmarks.latency import ROUNDS, WARMUP_SECONDS
from toolchain.benchmarks.latency_processes import PROCESSES
from toolchain.benchmarks.report import run_benchmark, save_json
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.zoo import zoo
from toolchain.spec import SEGMENTATION

STILL = "mobile-hourglass-still"
PRODUCT = "mobile-hourglass"
REFERENCE = f"{STILL}-f32-t6"
# Seeds by network.
NETWORKS = {
    "segnet": 1,
    "unet": 1,
    f"{STILL}-f16-t3": 3,
    f"{STILL}-f16-t6": 3,
    f"{STILL}-f32-t3": 1,
    f"{STILL}-f32-t6": 1,
    PRODUCT: 3,
}
# Overall F1 on Helen in percent, and millions of parameters: thesis, chapter 5.
PUBLISHED = {
    "segnet": (92.90, 29.45),
    "unet": (93.72, 13.40),
    f"{STILL}-f16-t3": (93.00, 0.09),
    f"{STILL}-f16-t6": (93.08, 0.12),
    f"{STILL}-f32-t3": (93.18, 0.17),
    f"{STILL}-f32-t6": (93.55, 0.27),
}
SUMMARIZED = ("overall_f1", "strict_f1", "micro_f1_with_skin", "lowest_class_f1", "hours")


def compare(
    networks: dict[str, int],
    folder: Path,
    budget: Budget,
    latency: LatencySettings = LATENCY,
    reference: str = REFERENCE,
    may_train: bool = True,
) -> dict[str, Any]:
    """Train what is not trained yet, and measure all networks.

    Args:
        networks: number of seeds by name.
        folder: of the trainings.
        budget: what all networks have alike.
        latency: how long is measured.
        reference: network that latencies are divided by.
        may_train: False leaves `folder` as it is.

    Returns:
        A dict that JSON can express: `settings`, `networks` (per name `seeds` with the figures of each,
        `figures` with mean, lowest and highest of them, {} without any, `parameters`, `multiply_adds`,
        `bytes`, `latency`, `published`, `remarks`) and `environment`.

    Raises:
        UsageError: an unknown network or recipe, no data, or a training that was made with other settings.
        ToolchainError: a training or conversion failed.
    """
    for name in (*networks, reference):
        check_face_parser(name)
    terms, runs = terms_of(budget), runs_of(networks, folder)
    if not may_train and not folder.is_dir():
        raise UsageError(f"no folder '{folder}'", "give that of the trainings, or leave --no-train out")
    _check(runs, terms, may_train)
    if may_train:
        _train(runs, budget)
    # Asked once: another process may be training in the folder meanwhile.
    states = {run: run.state for run in runs}
    cards = {run: read_card(run, terms) for run in runs if states[run] == FINISHED}
    before = environment((*PACKAGES, "lightning"))
    weights = {
        name: next((run.weights for run in cards if run.name == name), None)
        for name in dict.fromkeys((*networks, reference))
    }
    files = measure_files(weights, reference, latency)
    return {
        "settings": _settings(terms, latency, reference),
        "networks": {
            name: {
                **_trained(name, {run: cards[run] for run in cards if run.name == name}),
                "remarks": _remarks(name, {run: states[run] for run in runs if run.name == name}),
                **files[name],
            }
            for name in networks
        },
        "environment": before,
    }


def check_face_parser(name: str) -> None:
    """Refuse what is not trained as a face parser.

    Raises:
        UsageError: it is none, or unknown.
    """
    spec = zoo().get(name).spec
    if spec.task != SEGMENTATION or spec.preprocess is None:
        raise UsageError(f"'{name}' is no face parser", "`toolchain models` lists them")


def _check(runs: Sequence[Run], terms: Terms, may_train: bool) -> None:
    """Refuse trainings of other settings before any other is begun."""
    for run in runs:
        if run.state == FINISHED:
            read_card(run, terms)
        elif run.state == STARTED and may_train:
            check_checkpoint(run, terms)


def _train(runs: Sequence[Run], budget: Budget) -> None:
    for number, run in enumerate(runs, 1):
        if run.state != FINISHED:
            sys.stderr.write(f"training {number} of {len(runs)}: {run.name}, seed {run.seed}\n")
            train(run, budget)


def _settings(terms: Terms, latency: LatencySettings, reference: str) -> dict[str, Any]:
    size = zoo().get(reference).spec.inputs[0].shape[-1]
    return {
        "data": terms.description,
        "training_pictures": terms.training,
        "validation_pictures": terms.validation,
        "recipe": terms.recipe.as_json(),
        "reference": reference,
        "latency": {
            "runtime": "LiteRT",
            "precision": "fp32",
            "size": size,
            "threads": THREADS,
            "processes": latency.processes,
            "rounds": latency.rounds,
        },
    }


def _trained(name: str, cards: dict[Run, dict[str, Any]]) -> dict[str, Any]:
    """What the trainings of one network say, beside what was published about it."""
    seeds = {str(run.seed): _figures(card, run) for run, card in cards.items()}
    published = None
    if name in PUBLISHED:
        overall, millions = PUBLISHED[name]
        data = "Helen, not comparable by value"
        published = {"data": data, "overall_f1": overall, "parameters_millions": millions}
    return {
        "published": published,
        "seeds": seeds,
        "figures": {key: _spread([entry[key] for entry in seeds.values()]) for key in SUMMARIZED if seeds},
        "weights_of_file": f"seed {next(iter(seeds))}" if seeds else "random",
    }


def _figures(card: dict[str, Any], run: Run) -> dict[str, Any]:
    """Figures of one training, with its lowest class."""
    try:
        figures, training = card["figures"], card["training"]
        lowest = min(figures["per_class_f1"], key=figures["per_class_f1"].get)
        found = {
            **figures,
            "lowest_class": lowest,
            "lowest_class_f1": figures["per_class_f1"][lowest],
            **training,
        }
        return {**found, **{key: float(found[key]) for key in SUMMARIZED}}
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedError(
            f"'{run.card}' lacks figures: {error!r}", "train this network again"
        ) from error


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(values)), 3),
        "lowest": min(values),
        "highest": max(values),
        "count": len(values),
    }


def _remarks(name: str, states: dict[Run, str]) -> list[str]:
    """What a reader must know about a row: whose network it is, and which trainings are missing."""
    remarks = ["product network, not published"] if name == PRODUCT else []
    for state, words in ((STARTED, "not finished"), (NEW, "not trained")):
        seeds = [str(run.seed) for run, found in states.items() if found == state]
        if seeds:
            remarks.append(f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)} {words}")
    return remarks


def parse_networks(texts: Sequence[str]) -> dict[str, int]:
    """Seeds by name of NAME or NAME:SEEDS.

    Raises:
        UsageError: a number of seeds below 1, or a name twice.
    """
    found: dict[str, int] = {}
    for text in texts:
        name, colon, seeds = text.partition(":")
        if name in found:
            raise UsageError(f"'{name}' is named twice", "give the number of seeds as NAME:SEEDS")
        if colon and not (seeds.isdecimal() and int(seeds) > 0):
            raise UsageError(f"'{text}' does not say how many seeds", "write NAME:SEEDS, as in unet:3")
        found[name] = int(seeds) if colon else 1
    return found


def shown_command(arguments: Sequence[str]) -> str:
    """The command with names instead of paths, since folders of one computer tell others nothing."""
    names = [re.sub(r"(^|[:=])[^:=]*[/\\]", r"\1", argument.rstrip("/\\")) for argument in arguments]
    return shlex.join(["python", "-P", "-m", "toolchain.benchmarks.face_networks", *names])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.face_networks",
        description="Face parsers trained under one recipe and budget, as a table.",
    )
    default = Budget("")
    parser.add_argument("--data", required=True, help="celebamask:PATH, or another scheme")
    parser.add_argument("--folder", type=Path, required=True, help="where the trainings are kept")
    parser.add_argument("--recipe", default=default.recipe, help="name or .toml file")
    parser.add_argument("--size", type=int, default=default.size, help="side of the pictures in pixels")
    parser.add_argument("--epochs", type=int, default=default.epochs, help="passes over the pictures")
    parser.add_argument("--batch-size", type=int, default=default.batch_size, help="pictures a step")
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate, help="peak rate")
    parser.add_argument("--workers", type=int, default=default.workers, help="processes that decode")
    parser.add_argument("--networks", nargs="+", metavar="NAME[:SEEDS]", help="default: the published ones")
    parser.add_argument("--reference", default=REFERENCE, help="network that latencies are divided by")
    parser.add_argument("--no-train", action="store_true", help="tabulate what is there, and train nothing")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="fresh processes for the latency")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="samples per file and process")
    parser.add_argument("--warmup", type=float, default=WARMUP_SECONDS, help="longest warm-up, in seconds")
    parser.add_argument("--output", type=Path, help="write all figures to this file, as JSON")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    return parser


def _benchmark(arguments: Sequence[str]) -> str:
    options = _parser().parse_args(arguments)
    budget = Budget(
        data=options.data,
        recipe=options.recipe,
        size=options.size,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        workers=options.workers,
    )
    report = compare(
        parse_networks(options.networks) if options.networks else NETWORKS,
        options.folder,
        budget,
        LatencySettings(options.processes, options.rounds, options.warmup),
        options.reference,
        not options.no_train,
    )
    report = {"command": shown_command(arguments), **report}
    text = table(report)
    if options.output is not None:
        save_json(report, options.output)
    if options.markdown is not None:
        _save_text(text, options.markdown)
    return text.rstrip("\n")


def _save_text(text: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}", "give another path") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison from the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_benchmark(lambda: _benchmark(given))


if __name__ == "__main__":
    sys.exit(main())

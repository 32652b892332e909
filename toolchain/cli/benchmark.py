"""`toolchain benchmark`: latency of model files; further words measure, compare and report other things."""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from toolchain.cli import command_of, shapes
from toolchain.cli.output import foreign_prints_aside, on_terminal, say, show_json, show_stage
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.benchmarks.harness.results import Results

SUBCOMMANDS = {
    "pipeline": "Measure detection, crop, inference, un-warp and colorization on pictures or a clip.",
    "compare": "Compare two results files; fail when a figure has become worse.",
    "report": "Make an HTML page, a Markdown table or a trace of results files.",
    "web": "Serve a page that measures .tflite files in the browser of any phone.",
    "android": "Measure .tflite files on a phone over adb.",
}


class BenchmarkCommand(TyperCommand):
    """Measures files, unless the first word is one of the others; `./pipeline` is a file of that name."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command that `args` mean."""
        if args and args[0] in SUBCOMMANDS:
            name = f"benchmark_{args[0]}"
            module = importlib.import_module(f"toolchain.cli.{name}")
            command = command_of(args[0], SUBCOMMANDS[args[0]], getattr(module, name))
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments and options, and what else can be measured."""
        super().format_options(ctx, formatter)
        with formatter.section("Instead of ARTIFACT..., a command (see its --help)"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


COMMAND_CLASS = BenchmarkCommand


def benchmark(
    artifacts: Annotated[
        list[str],
        typer.Argument(
            help=".tflite, .onnx, .mlpackage or .mlmodel files, or networks of the zoo (PyTorch); all are"
            " measured in the same rounds.",
            metavar="ARTIFACT",
        ),
    ],
    threads: Annotated[int, typer.Option(min=1, help="Threads of one operator.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Samples of each, at least.")] = 50,
    seconds: Annotated[float, typer.Option(min=0, help="Length of the measurement, at least.")] = 3.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds of warm-up of each, at most.")] = 5.0,
    max_seconds: Annotated[float, typer.Option(min=0, help="Length of the measurement, at most.")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of inputs and order.")] = 0,
    input_shape: Annotated[list[str] | None, typer.Option(help=shapes.HELP)] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time the operators of .tflite and .onnx files as well.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write all samples there.", metavar="FILE.json"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    check_output(output)

    from toolchain.benchmarks.harness.measure import Options
    from toolchain.benchmarks.harness.models import measure_models

    options = Options(runs, seconds, warmup, max_seconds, threads, seed)
    with foreign_prints_aside(), show_stage(on_terminal()) as stage:
        results = measure_models(
            artifacts, options, command_line(), shapes.parse_shapes(input_shape), profile, stage
        )
    save(results, output)
    if as_json:
        show_json(document(results))
        return
    from toolchain.cli.benchmark_table import show_results

    show_results(results)
    if output is not None:
        say(f"wrote {output}")


def command_line() -> list[str]:
    """The words that were typed, without the place where the program lies."""
    return ["toolchain", *sys.argv[1:]]


def check_output(output: Path | None) -> None:
    """Raises UsageError for a results file that would not be one, before the measurement."""
    if output is None:
        return
    if output.suffix.lower() != ".json":
        raise UsageError(f"'{output}' is no name for a results file", f"--output {output.stem}.json")
    if output.is_dir():
        raise UsageError(f"'{output}' is a folder", f"--output {shlex.quote(str(output / 'results.json'))}")


def save(results: Results, output: Path | None) -> None:
    """Write the results file, where one is wanted."""
    from toolchain.benchmarks.report import save_json

    if output is not None:
        save_json(document(results), output)


def document(results: Results) -> dict[str, Any]:
    """The content of the results file: every sample, and the figures under "summary"."""
    from toolchain.benchmarks.harness.figures import summary
    from toolchain.benchmarks.harness.results import SUMMARY

    return {**results.as_json(), SUMMARY: summary(results)}

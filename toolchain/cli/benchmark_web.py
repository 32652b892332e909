"""`toolchain benchmark web`: latency of a .tflite file in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.output import note, on_terminal, say, show_json, show_stage

if TYPE_CHECKING:
    from toolchain.benchmarks.devices.server import PageServer


def benchmark_web(
    file: Annotated[
        Path, typer.Argument(help=".tflite file; its sidecar is served as well.", metavar="FILE.tflite")
    ],
    backend: Annotated[str, typer.Option(help="wasm or webgpu.")] = "wasm",
    runs: Annotated[int, typer.Option(min=1, help="Samples.")] = 50,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds of warm-up, at most.")] = 5.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Longest silence of the page in seconds.")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the inputs.")] = 0,
    host: Annotated[
        str, typer.Option(help="Address to serve on; 0.0.0.0 is reached from the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    browser: Annotated[
        str | None, typer.Option(help="Start this browser without a window.", metavar="PROGRAM")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write all samples there.", metavar="FILE.json")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    from toolchain.cli.benchmark import check_output, command_line, document, save

    check_output(output)

    from toolchain.benchmarks.devices.web import WebOptions, measure_in_browser

    options = WebOptions(backend, runs, warmup, timeout, seed, host, port, browser)
    with show_stage(on_terminal()) as stage:
        results = measure_in_browser(file, options, command_line(), _tell(browser), stage)
    save(results, output)
    if as_json:
        show_json(document(results))
        return
    from toolchain.cli.benchmark_table import show_results

    show_results(results)
    if results.lane.emulated:
        say("note: a program stands in for the GPU here; the times say nothing about any GPU")
    difference = results.lane.details["outputs_against_litert"]["max_abs"]
    say(f"outputs differ from LiteRT's on the same inputs by {difference:.2g} at most")
    if output is not None:
        say(f"wrote {output}")


def _tell(browser: str | None) -> Callable[[PageServer], None]:
    def tell(server: PageServer) -> None:
        if browser is not None:
            return
        note(f"open {server.url}")
        if server.loopback:
            note(f"a phone on USB reaches it after: adb reverse tcp:{server.port} tcp:{server.port}")
        else:
            note("plain http over a network: no WebGPU, and a coarse clock")

    return tell

"""The window demo under Xvfb: frames shown per second, glass to glass, and memory over two hours of frames.

    python -P -m toolchain.benchmarks.demo_loop speed build/mobile-hourglass-fp32.tflite --clip CLIP.mp4
    python -P -m toolchain.benchmarks.demo_loop memory
    python -P -m toolchain.benchmarks.demo_loop memory --artifact build/mobile-hourglass-fp32.tflite

The demo runs as its own process, as a user starts it. `speed` fits the clip into 640 x 480 before, plays it
in real time, and allows two cores. `memory` shows every frame of the drawn face as fast as it goes, with a
stand-in network (toolchain.benchmarks.demo_stand_in) unless a file is given, and reads the resident memory of
the process from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import cv2

from toolchain.benchmarks.environment import environment, load_average
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.errors import MissingDependencyError, ToolchainError, UsageError
from toolchain.face.source import fitted, open_source

SIZE, RATE = (640, 480), 30.0
CORES = 2
# Two hours at 30 frames a second.
FRAMES = 2 * 60 * 60 * 30
# Seconds: between two readings of the memory; until memory counts; for the demo to end.
EVERY, WARM_UP, PATIENCE = 1.0, 60.0, 30.0
LEAST_RATE, MOST_GLASS, MOST_GROWTH = 25.0, 80.0, 20.0
KIBI, MEGA = 1024, 1e6
COMMAND = "import sys; from toolchain.cli import main; main(sys.argv[1:])"


@contextmanager
def virtual_display() -> Iterator[str]:
    """An X server without a screen, for the block; its name.

    Raises:
        MissingDependencyError: Xvfb is not installed, or does not start.
    """
    reading, writing = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(writing),
        "-screen",
        "0",
        "1280x1024x24",
        "-nolisten",
        "tcp",
        "-noreset",
    ]
    try:
        server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise MissingDependencyError("Xvfb cannot be started", "apt-get install xvfb") from error
    os.close(writing)
    try:
        with os.fdopen(reading) as numbers:
            number = numbers.readline().strip()
        if not number:
            raise MissingDependencyError("Xvfb does not start", "run it by hand to see why")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()


def fitted_clip(clip: Path, folder: Path, repeats: int) -> Path:
    """A clip of SIZE at RATE with the frames of another, several times over."""
    path = folder / "clip.mp4"
    codec = cv2.VideoWriter_fourcc(*"mp4v")  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, RATE, SIZE)
    for _ in range(repeats):
        for picture in open_source(str(clip)).frames():
            writer.write(cv2.cvtColor(fitted(picture, SIZE), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def measure_speed(artifact: Path, clip: Path, effect: str, threads: int, repeats: int) -> dict[str, Any]:
    """Play a clip in the window demo, in real time.

    Returns:
        What `demo --json` prints, and whether the goals are met.

    Raises:
        MissingDependencyError: Xvfb is missing.
        ToolchainError: the demo failed; its message is in it.
    """
    before = load_average()
    with virtual_display() as display, tempfile.TemporaryDirectory() as folder:
        played = fitted_clip(clip, Path(folder), repeats)
        words = ["--source", str(played), "--artifact", str(artifact), "--effect", effect]
        with _demo([*words, "--threads", str(threads)], display) as process:
            made = _result(process)
    made["source"] = f"{clip.name}, fitted into {SIZE[0]} x {SIZE[1]} at {RATE:g} frames/s"
    good = (made["fps"] or 0) >= LEAST_RATE and made["glass_to_glass"]["p90"] <= MOST_GLASS
    return {"load_average_before": before, "good": good, **made}


def measure_memory(artifact: Path | None, frames: int, seconds: float) -> dict[str, Any]:
    """Show the drawn face as fast as it goes, and watch the memory of the process.

    Args:
        artifact: a face parser's file; None for the stand-in.
        frames: how many.
        seconds: end after so many, though there were fewer frames.

    Returns:
        Growth in MB after the first minute, the readings, and the frames that were shown.

    Raises:
        MissingDependencyError: Xvfb is missing.
        ToolchainError: the demo failed, or ended within the first minute.
    """
    from toolchain.benchmarks.demo_stand_in import write_stand_in

    before = load_average()
    readings: list[tuple[float, float | None]] = []
    with virtual_display() as display, tempfile.TemporaryDirectory() as folder:
        path = artifact if artifact is not None else write_stand_in(Path(folder))
        words = ["--source", "synthetic", "--artifact", str(path), "--effect", "lipstick", "--every-frame"]
        with _demo([*words, "--max-frames", str(frames)], display) as process:
            start = monotonic()
            while process.poll() is None and monotonic() - start < seconds:
                readings.append((round(monotonic() - start, 1), _resident(process.pid)))
                sleep(EVERY)
            ended = process.poll() is not None
            made = _result(process) if ended else {}
    counted = [value for time, value in readings if time >= WARM_UP and value is not None]
    if not counted:
        raise ToolchainError(
            f"the demo ran for less than {WARM_UP:g} seconds", "give more --frames or --seconds"
        )
    growth = max(counted) - counted[0]
    return {
        "load_average_before": before,
        "artifact": path.name,
        "frames": made.get("frames", {}).get("shown"),
        "fps": made.get("fps"),
        "seconds": readings[-1][0],
        "after_a_minute_mb": counted[0],
        "at_the_end_mb": counted[-1],
        "growth_mb": round(growth, 3),
        "good": growth <= MOST_GROWTH,
        "readings": readings[:: max(1, len(readings) // 200)],
    }


@contextmanager
def _demo(words: Sequence[str], display: str) -> Iterator[subprocess.Popen[str]]:
    """`toolchain demo --json` with a window, on two cores."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", COMMAND, "demo", *words, "--json"],
        env={**os.environ, "DISPLAY": display},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))[:CORES]
        os.sched_setaffinity(process.pid, allowed)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    if process.returncode != 0:
        raise ToolchainError(f"the demo ended with {process.returncode}: {err.strip()}")
    return dict(json.loads(out))


def _resident(pid: int) -> float | None:
    """Resident memory of a process in MB, from proc_pid_status(5); None where it is not told."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("VmRSS:")), None)
    return None if found is None else round(int(found.split()[1]) * KIBI / MEGA, 3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a measurement and return the exit code: 5 where a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="write the figures there too")
    kinds = parser.add_subparsers(dest="kind", required=True)
    speed = kinds.add_parser("speed")
    speed.add_argument("artifact", type=Path)
    speed.add_argument("--clip", type=Path, required=True)
    speed.add_argument("--effect", default="lipstick")
    speed.add_argument("--threads", type=int, default=CORES)
    speed.add_argument("--repeats", type=int, default=3)
    memory = kinds.add_parser("memory")
    memory.add_argument("--artifact", type=Path)
    memory.add_argument("--frames", type=int, default=FRAMES)
    memory.add_argument("--seconds", type=float, default=3 * 60 * 60)
    given = parser.parse_args(arguments)
    made: dict[str, Any] = {}

    def work() -> str:
        if given.kind == "speed" and not given.clip.is_file():
            raise UsageError(f"there is no clip '{given.clip}'", "give a video file with a face")
        made.update(environment())
        made[given.kind] = (
            measure_speed(given.artifact, given.clip, given.effect, given.threads, given.repeats)
            if given.kind == "speed"
            else measure_memory(given.artifact, given.frames, given.seconds)
        )
        if given.output is not None:
            save_json(made, given.output)
        return as_text(made)

    status = run_benchmark(work)
    return status or (0 if made[given.kind]["good"] else 5)


if __name__ == "__main__":
    sys.exit(main())

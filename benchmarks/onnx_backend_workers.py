"""Judge cases in worker processes: a crash of native code is the verdict on one case, not the end of all."""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from toolchain.benchmarks.onnx_backend_cases import Case
from toolchain.benchmarks.onnx_backend_judge import WRONG, Verdict, judge

TIMEOUT = 300.0


def judge_all(
    cases: Sequence[Case], target: str = "tflite", workers: int = 2, timeout: float = TIMEOUT
) -> list[Verdict]:
    """Verdicts in the order of the cases; a worker that dies or hangs is one wrong case."""
    pending: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(cases)):
        pending.put(index)
    verdicts: list[Verdict | None] = [None] * len(cases)

    def drain() -> None:
        with _Worker(target) as worker:
            while True:
                try:
                    index = pending.get_nowait()
                except queue.Empty:
                    return
                verdicts[index] = worker.judge(cases[index], timeout)

    threads = [threading.Thread(target=drain) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [verdict for verdict in verdicts if verdict is not None]


class _Worker:
    """A process that judges cases one after the other, started anew after a crash."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._process: Any = None
        self._connection: Connection | None = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def judge(self, case: Case, timeout: float) -> Verdict:
        """The verdict of the process, or that it died."""
        if self._process is None:
            self._start()
        assert self._connection is not None
        try:
            self._connection.send(case)
            if self._connection.poll(timeout):
                return self._connection.recv()
            died = f"no result after {timeout:g} s"
        except (EOFError, OSError):
            self._process.join()
            died = f"the process died with exit code {self._process.exitcode}"
        self._stop()
        return Verdict(case.kind, case.name, case.op, WRONG, detail=died)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._target), daemon=True)
        self._process.start()
        other.close()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _serve(connection: Connection, target: str) -> None:
    """Judge what comes in until the other side hangs up."""
    # LiteRT reports every delegate that it makes on standard error, coremltools every model.
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
        while True:
            try:
                case = connection.recv()
            except EOFError:
                return
            connection.send(judge(case, target))

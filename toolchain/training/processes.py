"""A training in several processes: what they must agree on, and how they end together.

Lightning's `ddp` starts one process for each device by running the command again, and averages the gradients
of all processes in every step.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from toolchain.errors import UsageError

# Seconds that an error of another process waits for the same error in the first one, which then speaks.
GRACE = 3.0
# Seconds that a process which has lost another one waits for that one to say why.
PATIENCE = 60.0
# Seconds between two looks whether the parent is still there.
WATCH_EVERY = 0.5


def check_strategy(trainer: lightning.Trainer, train: int, validation: int) -> None:
    """Refuse what this training cannot do, before any process is started.

    Args:
        trainer: not yet running.
        train: number of training pairs.
        validation: number of validation pairs.

    Raises:
        UsageError: a strategy that splits the network, that gives no results back to this process or that
            cannot run this command again; fewer pairs than processes.
    """
    strategy, processes = trainer.strategy, trainer.world_size
    launcher = strategy.launcher
    splits = type(strategy) is not DDPStrategy and not isinstance(strategy, SingleDeviceStrategy)
    if splits or not (launcher is None or isinstance(launcher, _SubprocessScriptLauncher)):
        name = type(strategy).__name__ if splits else "a strategy that forks or spawns"
        raise UsageError(f"{name} cannot train a face parser", "use --strategy auto or ddp")
    if launcher is not None and not Path(sys.argv[0]).is_file():
        raise UsageError(
            f"several processes run the command again, and '{sys.argv[0]}' is no file",
            "start the training with the command `toolchain`, or from a script",
        )
    if min(train, validation) < processes:
        raise UsageError(
            f"{processes} processes cannot share {train} training and {validation} validation pairs",
            "use fewer --devices or more data",
        )


class Processes(lightning.Callback):
    """Keeps the processes the same, and lets a signal end them.

    Each process normalizes by the statistics of its own pictures. Their running averages are averaged over
    the processes after every step, so that all validate one network, and the one that is written. It must
    come before the callbacks that read the network's state.
    """

    def __init__(self) -> None:
        self._sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Let SIGTERM end the process at once, as SIGKILL does: nothing is lost by it.

        Lightning goes on until the next step and then exits with status 0 as if all were done; with several
        processes its handler waits for the others in the middle of whatever they exchange.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._sigterm)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average the running statistics."""
        if trainer.world_size == 1:
            return
        own = running_statistics(pl_module.network)
        if not own:
            return
        mean: Any = trainer.strategy.reduce(torch.cat([t.flatten() for t in own]), reduce_op="mean")
        for tensor, values in zip(own, mean.split([t.numel() for t in own]), strict=True):
            tensor.copy_(values.view_as(tensor))


def running_statistics(network: nn.Module) -> list[Tensor]:
    """Running means and variances of all normalization layers."""
    layers = [layer for layer in network.modules() if isinstance(layer, _NormBase)]
    found = [tensor for layer in layers for tensor in (layer.running_mean, layer.running_var)]
    return [tensor for tensor in found if tensor is not None]


@contextmanager
def end_together(trainer: lightning.Trainer) -> Iterator[None]:
    """Let the processes of this machine end together, with one message and one exit code.

    The first process speaks for all when it has an error, and ends the others. When only another one has
    an error, that one speaks, and the first ends with its exit code. A process whose parent is gone ends.

    Raises:
        SystemExit: in the first process, after an error of another one that has been told.
    """
    first = trainer.local_rank == 0
    if not first:
        _watch_parent()
    try:
        yield
    except BaseException as error:
        lost = _is_lost_connection(error)
        if not first:
            time.sleep(PATIENCE if lost else GRACE)
            raise
        others = getattr(trainer.strategy.launcher, "procs", [])
        code = _exit_code(others) if lost else None
        for process in others:
            process.kill()
        # Lightning watches the same list, and would end this process by a signal.
        others.clear()
        if code:
            raise SystemExit(code) from error
        raise


def _is_lost_connection(error: BaseException) -> bool:
    """Whether the error only says that another process has ended, or does not answer."""
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or "gloo" in text or "nccl" in text


def _exit_code(processes: list[subprocess.Popen[bytes]]) -> int | None:
    """That of a process which has failed or is about to, None if none does."""
    end = time.monotonic() + PATIENCE
    while processes and time.monotonic() < end:
        failed = [code for code in (process.poll() for process in processes) if code]
        if failed:
            # A process that a signal has ended counts as in a shell.
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        time.sleep(0.05)
    return None


def _watch_parent() -> None:
    """End this process when its parent has ended, and do not answer Ctrl-C: the parent does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

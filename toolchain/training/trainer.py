"""Lightning's Trainer without its advertisements, and with Ctrl-C and errors as the command line has them."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from toolchain.errors import UsageError
from toolchain.training.precision import AUTO, computed, remark
from toolchain.training.progress import Report


def make_trainer(
    arguments: Mapping[str, Any], given: Mapping[str, Any], progress: bool, report: Report | None = None
) -> lightning.Trainer:
    """A Trainer for modules that keep log and checkpoints by callbacks of this package.

    Args:
        arguments: of the Trainer: `callbacks`, `max_epochs`, `default_root_dir`, `precision` as in PRECISIONS
            and more.
        given: the user's arguments, which come first.
        progress: show a progress bar.
        report: takes a line about the arithmetic where that is not what it was meant for.

    Raises:
        UsageError: Lightning refuses the user's arguments.
    """
    defaults: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": progress,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        # The sampler gives every process its share.
        "use_distributed_sampler": False,
        **arguments,
    }
    precision, accelerator = defaults["precision"], str(given.get("accelerator", AUTO))
    defaults["precision"] = computed(precision, accelerator)
    if report is not None and (line := remark(precision, accelerator)):
        rank_zero_only(report)(line)
    if progress:
        defaults["callbacks"] = [RichProgressBar(), *defaults["callbacks"]]
    if SLURMEnvironment.detect():
        # Its checkpoints are none of those from which this training resumes.
        defaults["plugins"] = [SLURMEnvironment(auto_requeue=False)]
    try:
        return lightning.Trainer(**{**defaults, **given})
    # What is no number of devices is a TypeError to it.
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UsageError(
            f"Lightning refuses: {' '.join(str(error).split())}",
            "check --accelerator, --devices, --strategy and --nodes",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and advice away; its errors come through."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C be a KeyboardInterrupt: Lightning exits with status 1, and ignores the signal then."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from error

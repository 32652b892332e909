"""coremltools without its noise, which is not for the user, and without its long search for garbage."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

from toolchain.errors import MissingDependencyError

LOGGER = "coremltools"
NATIVE = "coremltools.libmilstoragepython"


@contextlib.contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Inside, coremltools neither logs, warns nor draws progress bars."""
    import tqdm

    logger = logging.getLogger(LOGGER)
    level, started = logger.level, tqdm.tqdm.__init__
    logger.setLevel(logging.CRITICAL)
    # coremltools has no switch for its bars, and tqdm reads its environment variable only once.
    tqdm.tqdm.__init__ = functools.partialmethod(started, disable=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        tqdm.tqdm.__init__ = started


@contextlib.contextmanager
def spared_collections() -> Iterator[None]:
    """Inside, the garbage collector passes over what is in memory already.

    coremltools collects garbage after each conversion, and most of what is searched are imported modules.
    """
    if gc.get_freeze_count():
        # Somebody else has frozen objects, which must stay so.
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def import_coremltools() -> ModuleType:
    """coremltools, whose native storage library is there.

    Raises:
        MissingDependencyError: it is not installed, or this platform's package lacks the library that writes
            weights.
    """
    hint = "pip install 'coremltools>=9' on Linux or macOS, or leave Core ML out with -f tflite"
    with quiet_coremltools():
        # The package sets the level of its own logger while it is imported.
        logging.disable(logging.CRITICAL)
        try:
            package = importlib.import_module("coremltools")
            importlib.import_module(NATIVE)
        except ImportError as error:
            name = "its native storage library" if "coremltools" in sys.modules else "it"
            raise MissingDependencyError(
                f"writing Core ML files needs coremltools, and {name} cannot be loaded ({error})", hint
            ) from error
        finally:
            logging.disable(logging.NOTSET)
    return package

"""The interface that every runtime has, and the checks that all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import permutations
from types import TracebackType
from typing import Any, Self

import numpy as np

from toolchain.errors import UsageError
from toolchain.spec import TensorSpec, shape_text

DYNAMIC = -1

Arrays = dict[str, np.ndarray]


class Runtime(ABC):
    """A loaded network: `run({name: array}) -> {name: array}`.

    Use it as a context manager, or call `close()`.

    Attributes:
        inputs: input tensors in the order of the file; a size that is only known at run time is -1.
        outputs: output tensors.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    _closed = False

    def run(self, inputs: Mapping[str, Any]) -> Arrays:
        """One pass through the network.

        Args:
            inputs: one array per input name, in the shape, layout and range that the file takes.
                Floating-point arrays of another width are converted, integers too if their values fit;
                nothing else is.

        Returns:
            One array per output name, owned by the caller.

        Raises:
            UsageError: a name, shape or element type does not fit, or the runtime is closed.
            UnsupportedError: the runtime failed on these values.
        """
        if self._closed:
            raise UsageError("the runtime is closed", "load the file again")
        return self._execute(fitting_arrays(self.inputs, inputs))

    def close(self) -> None:
        """Release the network. Calling it twice is harmless."""
        if not self._closed:
            self._closed = True
            self._release()

    @abstractmethod
    def _execute(self, arrays: Arrays) -> Arrays:
        """Run on arrays that are contiguous and fit `inputs`."""

    @abstractmethod
    def _release(self) -> None:
        """Drop what holds memory."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_threads(threads: int | None) -> None:
    """Raises UsageError when `threads` is neither None nor a positive count."""
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise UsageError(f"threads must be a positive count, not {threads!r}", "leave it out for the default")


def one_line(error: Exception) -> str:
    """The message of a native error, which often has line breaks in it."""
    return " ".join(str(error).split()) or type(error).__name__


def describe(specs: Sequence[TensorSpec]) -> str:
    """For messages: `image float32 1x256x256x3, previous float32 1x256x256x10`."""
    return ", ".join(f"{spec.name} {spec.dtype} {_shape(spec.shape)}" for spec in specs) or "none"


def fitting_arrays(specs: Sequence[TensorSpec], given: Mapping[str, Any]) -> Arrays:
    """`given` as contiguous arrays that fit `specs` exactly.

    Raises:
        UsageError: names are missing or unknown, or an array does not fit its tensor.
    """
    takes = f"the inputs are {describe(specs)}"
    if not isinstance(given, Mapping):
        raise UsageError(f"run() takes a dict of arrays by input name, not {type(given).__name__}", takes)
    names = [spec.name for spec in specs]
    problems = []
    if missing := [name for name in names if name not in given]:
        problems.append(f"missing: {', '.join(missing)}")
    if unknown := [str(name) for name in given if name not in names]:
        problems.append(f"unknown: {', '.join(unknown)}")
    if problems:
        raise UsageError(f"input names do not fit ({'; '.join(problems)})", takes)
    return {spec.name: fitting_array(spec, given[spec.name]) for spec in specs}


def fitting_array(spec: TensorSpec, given: Any) -> np.ndarray:
    """`given` as a contiguous array of the shape and element type of `spec`.

    Raises:
        UsageError: the shape differs, or the values cannot be converted without changing their meaning.
    """
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"input '{spec.name}' is not an array: {error}", "give a numpy array") from error
    _check_shape(spec, array.shape)
    # ascontiguousarray would turn a scalar into a vector.
    return np.asarray(_converted(spec, array), order="C")


def _check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    if _fits(spec.shape, shape):
        return
    hint = f"'{spec.name}' takes {spec.dtype} {_shape(spec.shape)}"
    for order in permutations(range(len(shape))) if 2 < len(shape) <= 4 else ():
        if _fits(spec.shape, tuple(shape[axis] for axis in order)):
            hint += f"; if only the layout differs: array.transpose{order}"
            break
    raise UsageError(f"input '{spec.name}' has shape {_shape(shape)}, not {_shape(spec.shape)}", hint)


def _fits(wanted: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(wanted) == len(shape) and all(w in (s, DYNAMIC) for w, s in zip(wanted, shape, strict=True))


def _converted(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    message = f"input '{spec.name}' is {array.dtype}, not {wanted}"
    if wanted.kind == "f" and array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            result = array.astype(wanted)
        if not np.array_equal(np.isfinite(result), np.isfinite(array)):
            raise UsageError(
                f"{message}, and values do not fit", f"scale the values into the range of {wanted}"
            )
        return result
    if wanted.kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(wanted)
        if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
            raise UsageError(
                f"{message}, and values do not fit", f"values must lie in {limits.min} to {limits.max}"
            )
        return array.astype(wanted)
    hint = f"convert it yourself: array.astype('{wanted}')"
    if wanted.kind == "f":
        hint += ", after bringing the values into the range that the network was trained on"
    raise UsageError(message, hint)


def _shape(shape: tuple[int, ...]) -> str:
    return shape_text(None if size == DYNAMIC else size for size in shape) or "scalar"

"""Watches the values of a graph while it runs: extremes, and histograms in constant memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import shape_of
from toolchain.converters.graph.weights_beside import session_with

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

BINS = 8192
SAMPLED = 16384
"""Values of one tensor of one sample that go into its histogram; the extremes are those of all."""
# Golden section: offsets of the sampled positions never repeat and fill the stride evenly.
GOLDEN = 0.6180339887498949
MEMORY = 1 << 30
"""Bytes of values that are held at once."""
KEPT_MARKS = 16
# Arrays in shared memory start at multiples of so many floats: a cache line.
ALIGNED = 16
# To bring a weight into ONNX Runtime's blocked layout takes as long as some hundred multiply-adds, and a
# blocked convolution is about a tenth faster: a layout must serve so many multiply-adds of each sample.
BLOCKED_FROM = 64

Arrays = dict[str, np.ndarray]


class Histogram:
    """Counts in bins whose width is a power of two and whose edges are multiples of the width.

    Bins are the narrowest for which all values so far fit into BINS of them; when others come, the width is
    doubled and neighbours are added up. So the counts are those that a second pass with the final bins would
    have given, in whatever order the values come.

    Attributes:
        counts: int64 (BINS,).
        exponent: the width is 2 ** exponent.
        first: the left edge of bin 0 is first * width.
        zeros: how many values were exactly 0; they are in `counts` too.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.exponent: int | None = None
        self.first = 0
        self.zeros = 0
        self.low, self.high = math.inf, -math.inf

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self.exponent or 0)

    @property
    def edges(self) -> np.ndarray:
        """float64 (BINS + 1,)."""
        return (self.first + np.arange(BINS + 1)) * self.width

    def add(self, values: np.ndarray) -> None:
        """Count finite float values of any shape."""
        if not values.size:
            return
        flat = values.reshape(-1)
        self._widen(float(flat.min()), float(flat.max()))
        index = np.multiply(flat, 2.0 ** -self._exponent(), dtype=np.float64)
        np.floor(index, out=index)
        index -= self.first
        self.counts += np.bincount(index.astype(np.int64), minlength=BINS)
        self.zeros += int(flat.size - np.count_nonzero(flat))

    def _exponent(self) -> int:
        assert self.exponent is not None
        return self.exponent

    def _widen(self, low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)
        exponent = _narrowest(self.low, self.high)
        first = math.floor(math.ldexp(self.low, -exponent))
        if self.exponent is None:
            self.exponent, self.first = exponent, first
        elif (exponent, first) != (self.exponent, self.first):
            filled = np.flatnonzero(self.counts)
            moved = ((filled + self.first) >> (exponent - self.exponent)) - first
            counts = np.zeros(BINS, np.int64)
            np.add.at(counts, moved, self.counts[filled])
            self.counts, self.exponent, self.first = counts, exponent, first


def _narrowest(low: float, high: float) -> int:
    """The smallest exponent with which BINS bins hold both; at least that of the smallest normal float32."""
    span = max(high - low, abs(low) * 2.0**-24, abs(high) * 2.0**-24, 2.0**-126)
    exponent = math.frexp(span / BINS)[1] - 2
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
        exponent += 1
    return exponent


class Extremes:
    """Smallest and largest value of each tensor so far, and what they were after parts of the samples."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.low = np.full(len(names), np.inf)
        self.high = np.full(len(names), -np.inf)
        self.samples = 0
        self._every = 1
        self._marks: list[tuple[int, np.ndarray, np.ndarray]] = []

    def add(self, lows: np.ndarray, highs: np.ndarray) -> None:
        """Take in one sample: float64 (tensors,) each."""
        self.low, self.high = np.minimum(self.low, lows), np.maximum(self.high, highs)
        self.samples += 1
        if self.samples % self._every == 0:
            self._marks.append((self.samples, self.low, self.high))
            if len(self._marks) > KEPT_MARKS:
                self._marks = self._marks[1::2]
                self._every *= 2

    def growth(self) -> tuple[int, np.ndarray]:
        """By what share the ranges, zero included, have grown since about half of the samples.

        Returns:
            how many samples the half is, and float64 (tensors,).
        """
        count, low, high = min(self._marks, key=lambda mark: abs(mark[0] - self.samples / 2))
        before = np.maximum(high, 0) - np.minimum(low, 0)
        after = np.maximum(self.high, 0) - np.minimum(self.low, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            grown = np.where(before > 0, after / before - 1, np.where(after > 0, np.inf, 0.0))
        return count, grown


def spread_sample(values: np.ndarray, turn: int) -> np.ndarray:
    """At most SAMPLED of the values, evenly spread, others for each `turn`: a view.

    The stride is odd and mostly no divisor of a row, so that no column of a picture is preferred.
    """
    return values.reshape(-1)[spread_places(values.size, turn)]


def spread_places(size: int, turn: int) -> slice:
    """Where `spread_sample` takes its values from, of `size` in a row."""
    if size <= SAMPLED:
        return slice(0, size, 1)
    stride = -(-size // SAMPLED) | 1
    return slice(int(turn * GOLDEN % 1 * stride), size, stride)


class Watcher:
    """Runs a graph in ONNX Runtime and hands out the values inside.

    Values are computed in parts where they take more than `memory` bytes: the graph runs once for each part.

    Args:
        model: a graph that is not changed.
        names: the values to watch; graph inputs among them are handed through.
        memory: bytes of values that are held at once.
        threads: of ONNX Runtime; 0 for one for every two cores.
        reuse: write float values into the same memory on every run, which costs half where they are large;
            an array is valid until the next part or sample is run.
        optimized: let ONNX Runtime fuse operators and, where it pays, choose memory layouts, which rounds
            floats elsewhere; for graphs without quantization pairs.
    """

    def __init__(
        self,
        model: ir.Model,
        names: Sequence[str],
        memory: int = MEMORY,
        threads: int = 0,
        reuse: bool = False,
        optimized: bool = False,
    ) -> None:
        self.inputs = {value.name or "" for value in model.graph.inputs}
        self._names = list(names)
        computed = [name for name in names if name not in self.inputs]
        made = {value.name: value for node in model.graph for value in node.outputs}
        sizes = {name: 4 * math.prod(shape_of(value) or ()) for name, value in made.items()}
        self.parts = list(_parts(computed, sizes, memory))
        level = optimization_level(model, optimized)
        self._sessions = [_session(model, part, threads, level) for part in self.parts]
        floats = {
            name: shape
            for name, value in made.items()
            if name and value.dtype == ir.DataType.FLOAT and (shape := shape_of(value)) is not None
        }
        self._boards = list(_boards(self.parts, floats)) if reuse else []

    def run(self, sample: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Name and value of each watched tensor: the inputs first, the others in the order given."""
        for name in self._names:
            if name in self.inputs:
                yield name, np.asarray(sample[name])
        for number, (part, session) in enumerate(zip(self.parts, self._sessions, strict=True)):
            if self._boards:
                made = _run_onto(session, part, self._boards[number], sample)
            else:
                made = session.run(part, dict(sample))
            yield from zip(part, made, strict=True)


def _boards(parts: Sequence[Sequence[str]], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Arrays]:
    """For each part the arrays that its values are written to; all parts share their memory."""
    rooms = [
        {name: -(-math.prod(shapes[name]) // ALIGNED) * ALIGNED for name in part if name in shapes}
        for part in parts
    ]
    memory = np.empty(max((sum(room.values()) for room in rooms), default=0), np.float32)
    for room in rooms:
        board, start = {}, 0
        for name, size in room.items():
            board[name] = memory[start : start + math.prod(shapes[name])].reshape(shapes[name])
            start += size
        yield board


def _run_onto(
    session: InferenceSession, names: Sequence[str], board: Arrays, sample: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Run, and have values written to the arrays of the board; those that have none there are new."""
    binding = session.io_binding()
    for tensor in session.get_inputs():
        binding.bind_cpu_input(tensor.name, np.ascontiguousarray(sample[tensor.name]))
    for name in names:
        if name in board and board[name].size:
            array = board[name]
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        else:
            binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding)
    made = zip(names, binding.get_outputs(), strict=True)
    return [board[name] if name in board else value.numpy() for name, value in made]


def _parts(names: Sequence[str], sizes: Mapping[str | None, int], memory: int) -> Iterator[list[str]]:
    part: list[str] = []
    total = 0
    for name in names:
        if part and total + sizes[name] > memory:
            yield part
            part, total = [], 0
        part.append(name)
        total += sizes[name]
    if part:
        yield part


def optimization_level(model: ir.Model, optimized: bool) -> str:
    """Name of ONNX Runtime's optimization level; the highest chooses memory layouts of convolutions."""
    if not optimized:
        return "ORT_DISABLE_ALL"
    weights = uses = 0
    for node in model.graph:
        if node.op_type == "Conv":
            size = math.prod(shape_of(node.inputs[1]) or ())
            weights += size
            uses += size * math.prod((shape_of(node.outputs[0]) or ())[2:])
    return "ORT_ENABLE_ALL" if uses >= BLOCKED_FROM * weights else "ORT_ENABLE_EXTENDED"


def _session(model: ir.Model, names: Sequence[str], threads: int, level: str) -> InferenceSession:
    """A session with these outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    # On two cores a second one takes no less time, and a sixth more of the processors'.
    options.intra_op_num_threads = threads or max(1, (os.cpu_count() or 1) // 2)
    options.log_severity_level = 3
    # Its threads would wait actively while histograms are counted.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return session_with(model, options, names)

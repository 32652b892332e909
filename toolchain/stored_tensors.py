"""Quantized files opened up: every tensor that an operator writes, and how its numbers are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.converters.graph.quantization import Quantization
from toolchain.errors import UnsupportedError, UsageError
from toolchain.parity import Arrays
from toolchain.runtimes.litert import LiteRTRuntime
from toolchain.source import Source
from toolchain.spec import REJECTED, TensorSpec, load_sidecar, sidecar_path
from toolchain.verify import run_file

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_LOADABLE = (".tflite", ".onnx")


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor that an operator writes.

    Attributes:
        name: in the file.
        aliases: names that the network may have for it, the likeliest first.
        op: the operator that writes it; QUANTIZE for what only changes how numbers are stored.
        shape: in storage order.
        quantization: how it is stored, None for floats.
        reads: names of the tensors that the operator reads.
    """

    name: str
    aliases: tuple[str, ...]
    op: str
    shape: tuple[int, ...]
    quantization: Quantization | None
    reads: tuple[str, ...] = ()


class StoredFile(ABC):
    """A file whose tensors can be watched while it runs."""

    tensors: list[Stored]

    @abstractmethod
    def close(self) -> None:
        """Release what holds memory."""

    @abstractmethod
    def run(self, sample: Arrays) -> Iterator[tuple[str, np.ndarray]]:
        """Name and stored numbers, in storage order, of each of `tensors` for a sample of the network."""

    def __enter__(self) -> StoredFile:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def require_stored(path: Path) -> str:
    """The suffix of a file whose tensors can be looked at, in lower case and without `.rejected`.

    Raises:
        UsageError: there is no such file, or it has another format.
    """
    suffix = Path(path.name.lower().removesuffix(REJECTED)).suffix
    if suffix not in _LOADABLE:
        raise UsageError(
            f"the layers of '{path}' cannot be looked at", f"give a {' or '.join(_LOADABLE)} file"
        )
    if not path.is_file():
        raise UsageError(f"no model file at '{path}'", "`toolchain export` writes one")
    return suffix


def open_stored(path: Path, source: Source) -> StoredFile:
    """Open a .tflite file, or an ONNX graph with QuantizeLinear/DequantizeLinear pairs.

    Args:
        path: the file, ours or not.
        source: the network that it was made from.

    Raises:
        UsageError: there is no such file, or it has another format.
        UnsupportedError: the file is damaged, or has no tensor that could be compared.
    """
    suffix = require_stored(path)
    found: StoredFile = TFLiteFile(path, source) if suffix == ".tflite" else QDQFile(path, source)
    if not found.tensors:
        raise UnsupportedError(
            f"'{path}' has no tensor between its inputs and outputs to look at",
            "give a .tflite file, or an .onnx file with QuantizeLinear/DequantizeLinear pairs",
        )
    return found


class TFLiteFile(StoredFile):
    """A .tflite file in LiteRT's own kernels: delegates would keep what lies between their operators."""

    def __init__(self, path: Path, source: Source) -> None:
        self._source = source
        self._runtime = LiteRTRuntime(path, delegate=False, keep_tensors=True)
        self._borders = _borders(path)
        self._places: dict[str, int] = {}
        self.tensors = list(self._read(path))

    def run(self, sample: Arrays) -> Iterator[tuple[str, np.ndarray]]:
        """See StoredFile."""
        run_file(self._runtime, sample, self._source.spec, *self._borders)
        for tensor in self.tensors:
            yield tensor.name, self._runtime.tensor(self._places[tensor.name])

    def close(self) -> None:
        """See StoredFile."""
        self._runtime.close()

    def _read(self, path: Path) -> Iterator[Stored]:
        from toolchain.converters.tflite.program import OP_NAMES
        from toolchain.converters.tflite.reader import LEFT_OUT, TYPE_NAMES, read_tflite

        program = read_tflite(path.read_bytes(), str(path))
        origin: dict[int, int] = {}
        restored: dict[int, list[str]] = {}
        made: list[tuple[int, str, tuple[int, ...]]] = []
        for operator in program.operators:
            op = OP_NAMES.get(operator.code, f"op {operator.code}")
            if op in _CONVERSIONS:
                origin[operator.outputs[0]] = operator.inputs[0]
            if op == "DEQUANTIZE":
                restored.setdefault(operator.inputs[0], []).append(program.tensors[operator.outputs[0]].name)
            else:
                made.extend((place, op, operator.inputs) for place in operator.outputs)
        for place, op, read in made:
            tensor = program.tensors[place]
            quantization = self._quantization(place, TYPE_NAMES.get(tensor.type, ""))
            if quantization is None and TYPE_NAMES.get(tensor.type) != "float32":
                continue
            chain = [place]
            while chain[-1] in origin:
                chain.append(origin[chain[-1]])
            names = [program.tensors[link].name for link in chain]
            aliases = dict.fromkeys([*names, *(name for link in chain for name in restored.get(link, ()))])
            self._places[tensor.name] = place
            reads = tuple(program.tensors[origin.get(i, i)].name for i in read if i != LEFT_OUT)
            if op == "QUANTIZE":
                reads = tuple(names[1:])
            yield Stored(tensor.name, tuple(aliases), op, tensor.shape, quantization, reads)

    def _quantization(self, place: int, dtype: str) -> Quantization | None:
        scale, zero, axis = self._runtime.quantization(place)
        if not len(scale) or dtype not in ("int8", "uint8", "int16"):
            return None
        points = np.asarray(zero, np.int64)
        return Quantization(np.asarray(scale), points, np.dtype(dtype), None if len(scale) == 1 else axis)


def _borders(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]] | tuple[None, None]:
    """Inputs and outputs with their layouts, where a sidecar tells."""
    if not sidecar_path(path).is_file():
        return None, None
    sidecar = load_sidecar(path)
    return sidecar.inputs, sidecar.outputs


class QDQFile(StoredFile):
    """An ONNX graph with pairs in ONNX Runtime without its optimizations, so that each pair is computed."""

    def __init__(self, path: Path, source: Source) -> None:
        from toolchain.converters.graph import load_onnx
        from toolchain.converters.quantize.observe import Watcher

        self._inputs = [tensor.name for tensor in source.spec.inputs]
        graph = load_onnx(path)
        self._names: dict[str, str] = {}
        self.tensors = list(self._read(graph))
        self._feeds = [value.name or "" for value in graph.graph.inputs]
        if len(self._feeds) != len(self._inputs):
            raise UsageError(
                f"'{path}' has {len(self._feeds)} inputs, the network has {len(self._inputs)}",
                "compare the file with the network that it was made from",
            )
        self._watcher = Watcher(graph, [self._names[tensor.name] for tensor in self.tensors])

    def run(self, sample: Arrays) -> Iterator[tuple[str, np.ndarray]]:
        """See StoredFile."""
        named = set(self._feeds) == set(self._inputs)
        feeds = sample if named else {n: sample[i] for n, i in zip(self._feeds, self._inputs, strict=True)}
        stored = {value: name for name, value in self._names.items()}
        for value, numbers in self._watcher.run(feeds):
            yield stored[value], numbers

    def close(self) -> None:
        """See StoredFile; ONNX Runtime's sessions go with the object."""

    def _read(self, graph: Any) -> Iterator[Stored]:
        from toolchain.converters.graph.rewrite import constant, is_op

        by_value: dict[Any, str] = {}
        for node in graph.graph:
            if not is_op(node, "QuantizeLinear") or constant(node.inputs[0]) is not None:
                continue
            before, after = node.inputs[0], node.outputs[0]
            maker = before.producer()
            source = by_value.get(maker.inputs[0]) if is_op(maker, "DequantizeLinear") else None
            restored = [use.node.outputs[0].name for use in after.uses()]
            name = before.name if source is None else after.name
            op = "QUANTIZE" if source is not None or maker is None else maker.op_type
            aliases = [before.name, *restored]
            by_value[after] = name
            self._names[name] = after.name
            shape = tuple(before.shape.numpy()) if before.shape is not None else ()
            yield Stored(name, tuple(aliases), op, shape, _parameters(node), (source,) if source else ())


def _parameters(node: Any) -> Quantization:
    """Scale and zero point of a QuantizeLinear of activations."""
    from toolchain.converters.graph.rewrite import constant, input_at

    scale, zero = constant(node.inputs[1]), constant(input_at(node, 2))
    if scale is None or scale.size != 1 or (zero is None and input_at(node, 2) is not None):
        raise UnsupportedError(
            f"node '{node.name}' has no single constant scale and zero point",
            "quantize activations per tensor",
        )
    zero = np.zeros(1, np.uint8) if zero is None else zero
    return Quantization(scale.astype(np.float32).reshape(1), zero.astype(np.int64).reshape(1), zero.dtype)

"""Gives the inputs of a graph the shapes that the user asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from toolchain.errors import UnsupportedError, UsageError
from toolchain.spec import shape_text

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape] | Shape


def bind_shapes(graph: ir.Graph, shapes: Shapes | None, path: Path) -> None:
    """Make every graph input static.

    1. A shape given for an input must have its rank and agree with its static sizes.
    2. A symbolic size ("batch") stands for the same number in all inputs: bound by one, it is known for all.

    Args:
        graph: its inputs are changed.
        shapes: a shape per input name, or one shape for the only input without a static shape.
        path: the file, for messages.

    Raises:
        UsageError: a shape is missing, does not fit, or is for an input that does not exist.
        UnsupportedError: an input is not a tensor.
    """
    for value in graph.inputs:
        if not isinstance(value.type, ir.TensorType):
            raise UnsupportedError(
                f"'{path}': input '{value.name}' is not a tensor but {value.type}",
                "export the network with tensors as inputs",
            )
    wanted = _by_name(graph, shapes, path)
    symbols: dict[str, int] = {}
    for value in graph.inputs:
        if value.name in wanted:
            _require_fit(value, wanted[value.name], symbols, path)
            value.shape = ir.Shape(wanted[value.name])
    for value in graph.inputs:
        value.shape = _bound(value, symbols, path)


def _by_name(graph: ir.Graph, shapes: Shapes | None, path: Path) -> dict[str, Shape]:
    names = [value.name or "" for value in graph.inputs]
    if shapes is None:
        return {}
    if isinstance(shapes, Mapping):
        for name in shapes:
            if name not in names:
                raise UsageError(f"'{path}' has no input '{name}'", f"its inputs are {', '.join(names)}")
        return {name: tuple(shape) for name, shape in shapes.items()}
    if len(graph.inputs) == 1:
        return {names[0]: tuple(shapes)}
    dynamic = [value.name or "" for value in graph.inputs if value.shape is None or None in _sizes(value)]
    if len(dynamic) != 1:
        raise UsageError(
            f"'{path}' has {len(names)} inputs, so that one shape is not enough: {_listing(graph)}",
            f"name each: --input-shape {names[0] if names else 'name'}=1,3,224,224",
        )
    return {dynamic[0]: tuple(shapes)}


def _require_fit(value: ir.Value, shape: Shape, symbols: dict[str, int], path: Path) -> None:
    given = f"input '{value.name}' of '{path}'"
    if any(not isinstance(size, int) or size < 1 for size in shape):
        raise UsageError(
            f"{shape} is not a shape for {given}", "all sizes are positive: --input-shape 1,3,224,224"
        )
    if value.shape is None:
        return
    declared = _sizes(value)
    if len(declared) != len(shape):
        raise UsageError(
            f"{given} has {len(declared)} axes ({shape_text(declared)}); {shape_text(shape)} does not fit",
            "give one size per axis: --input-shape 1,3,224,224",
        )
    for axis, (own, size) in enumerate(zip(declared, shape, strict=True)):
        symbol = _symbol(value, axis)
        known = own if own is not None else symbols.setdefault(symbol, size) if symbol else size
        if known != size:
            reason = f"axis {axis} is {known}" + (f" ('{symbol}' in another input)" if own is None else "")
            raise UsageError(
                f"{given} is {shape_text(declared)}, which {shape_text(shape)} contradicts: {reason}",
                "give the fixed sizes as they are, or export the network again with other ones",
            )


def _bound(value: ir.Value, symbols: dict[str, int], path: Path) -> ir.Shape:
    """The static shape of an input, symbolic sizes looked up."""
    if value.shape is not None:
        sizes = [
            symbols.get(_symbol(value, axis) or "") if size is None else size
            for axis, size in enumerate(_sizes(value))
        ]
        if None not in sizes:
            return ir.Shape(sizes)
        text = "x".join(
            str(size) if size is not None else _symbol(value, axis) or "?" for axis, size in enumerate(sizes)
        )
    else:
        text = "of unknown rank"
    raise UsageError(
        f"input '{value.name}' of '{path}' has a dynamic shape: {text}", "give one: --input-shape 1,3,224,224"
    )


def _sizes(value: ir.Value) -> list[int | None]:
    """Sizes, None where unknown; exporters also write 0 and -1 for unknown."""
    return [size if isinstance(size, int) and size > 0 else None for size in value.shape or ()]


def _symbol(value: ir.Value, axis: int) -> str | None:
    size = value.shape[axis] if value.shape is not None else None
    return size.value if isinstance(size, ir.SymbolicDim) else None


def _listing(graph: ir.Graph) -> str:
    return ", ".join(f"{value.name} {shape_text(_sizes(value))}" for value in graph.inputs)

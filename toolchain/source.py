"""Find out what MODEL means: a zoo name, an ONNX file, a factory, or a module in memory."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.spec import CLASSIFICATION, GENERIC, SEGMENTATION, ModelSpec, TensorSpec, shape_text

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

TASKS = (SEGMENTATION, CLASSIFICATION, GENERIC)
Shapes = dict[str, tuple[int, ...]] | tuple[int, ...] | None


class UnknownShapeError(UsageError):
    """A factory made a network alone, and nothing says what it takes."""


@dataclass(frozen=True)
class Source:
    """A network before conversion.

    Attributes:
        spec: its contract; tensors in ONNX (channel-first) order.
        module: the PyTorch network in eval mode, None for an ONNX file.
        onnx: the ONNX file, None for a PyTorch network.
        graph: the graph read from the ONNX file, None for a PyTorch network.
        cleaned: the same after the passes; the first is what files are compared with.
        trained: False when the weights are random; then parity says nothing about accuracy.
        card: card of a zoo network's weights, shipped or beside the user's own.
        head: "softmax" or "argmax" when the spec's first output is what that makes of the network's.
    """

    spec: ModelSpec
    module: nn.Module | None = None
    onnx: Path | None = None
    graph: ir.Model | None = None
    cleaned: ir.Model | None = None
    trained: bool = True
    card: dict[str, Any] | None = None
    head: str | None = None


def resolve(model: Any, weights: Path | None = None, input_shape: Shapes = None) -> Source:
    """The network that `model` stands for.

    Args:
        model: zoo name, path of a `.onnx` file, `file.py:factory`, `package.module:factory`, or an nn.Module.
        weights: state dict for a zoo network or a factory's module.
        input_shape: shape of the only input, or one per input name; for modules and dynamic ONNX inputs.

    Raises:
        UsageError: there is no such model, or the arguments do not fit it.
        UnsupportedError: an ONNX file that cannot be used.
    """
    if not isinstance(model, str | Path):
        return _from_module(model, type(model).__name__.lower(), weights, input_shape)
    text = str(model)
    if text.lower().endswith(".onnx"):
        if weights is not None:
            raise UsageError(
                "--weights is for PyTorch networks; an ONNX file carries its own", "leave --weights out"
            )
        return _from_onnx(Path(text), input_shape)
    if ":" in text:
        return _from_factory(text, weights, input_shape)
    return _from_zoo(text, weights, input_shape)


def _from_zoo(name: str, weights: Path | None, input_shape: Shapes) -> Source:
    import torch

    from toolchain.models.card_spec import spec_of_card
    from toolchain.models.weights_file import are_reshaped, load_weights
    from toolchain.models.zoo import zoo

    if name not in zoo() and Path(name).exists():
        raise UsageError(
            f"'{name}' is neither a zoo name nor a .onnx file", "PyTorch networks: file.py:factory"
        )
    entry = zoo().get(name)
    file = weights or entry.weights
    card = entry.card_of(file) if file is not None else None
    spec = entry.spec if card is None or file is None else spec_of_card(entry.spec, card, file)
    if input_shape is not None:
        spec = replace(spec, inputs=_with_shapes(spec.inputs, input_shape), outputs=())
    module = entry.build().eval()
    if file is not None:
        load_weights(module, file)
    # PyTorch's depthwise convolutions on a CPU are five times faster in this order.
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if file is not None and are_reshaped(file):
        spec = _reshaped(spec, module, file)
    elif input_shape is not None:
        spec = _with_outputs(spec, module)
    return Source(spec, module, trained=file is not None, card=card)


def _reshaped(spec: ModelSpec, module: nn.Module, weights: Path) -> ModelSpec:
    """The contract of a network that took its widths from a file; it is run once.

    Raises:
        UsageError: the layers do not fit each other, or the classes are others than those of the contract.
    """
    try:
        made = _with_outputs(spec, module)
    except UsageError as error:
        raise UsageError(
            f"the widths in '{weights}' do not fit '{spec.name}': {error.message}",
            "give the weights of this very network, with the card that was written beside them",
        ) from error
    classes = made.outputs[0].shape[1]
    wanted = len(spec.labels) or (spec.outputs[0].shape[1] if spec.outputs else classes)
    if classes != wanted:
        raise UsageError(
            f"with the weights in '{weights}' '{spec.name}' has {classes} classes instead of {wanted}",
            "keep the card (.json) beside the weights: it names the classes",
        )
    return made


def _from_onnx(path: Path, input_shape: Shapes) -> Source:
    from toolchain.converters.graph import clean, load_onnx
    from toolchain.converters.quantize.foreign import accept_quantized

    graph = load_onnx(path, input_shape)
    # The passes infer the shapes of the outputs; those that the file states may be stale or missing.
    cleaned = graph.clone()
    accept_quantized(cleaned)
    clean(cleaned)
    spec = ModelSpec(
        name=path.stem,
        task=GENERIC,
        inputs=tensors_of(graph.graph.inputs),
        outputs=tensors_of(cleaned.graph.outputs),
    )
    _check_outputs(spec, str(path))
    return Source(spec, onnx=path, graph=graph, cleaned=cleaned)


def tensors_of(values: Sequence[ir.Value]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs of an ONNX graph; a size that is not known is -1, float32 stands for no type."""
    made = []
    for value in values:
        shape = tuple(int(size) if isinstance(size, int) else -1 for size in value.shape or ())
        dtype = value.dtype.numpy().name if value.dtype is not None else "float32"
        made.append(TensorSpec(value.name or "", shape, dtype, "NCHW" if len(shape) == 4 else ""))
    return tuple(made)


def _from_factory(text: str, weights: Path | None, input_shape: Shapes) -> Source:
    place, _, attribute = text.rpartition(":")
    # The file may import its neighbours, and a module may lie in the current folder, as with `python -m`.
    folder = Path(place).parent if place.endswith(".py") else Path()
    with _importable(folder):
        return _made(place, attribute, weights, input_shape)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    path = str(folder.resolve())
    sys.path.insert(0, path)
    try:
        yield
    finally:
        if path in sys.path:
            sys.path.remove(path)


def _made(place: str, attribute: str, weights: Path | None, input_shape: Shapes) -> Source:
    text = f"{place}:{attribute}"
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        names = [
            name
            for name, value in vars(module).items()
            if callable(value)
            and not name.startswith("_")
            and getattr(value, "__module__", "") == module.__name__
        ]
        raise UsageError(
            f"'{place}' has no function '{attribute}'", f"it has: {', '.join(names[:8]) or 'none'}"
        )
    made = _call(factory, text)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], ModelSpec):
        network, spec = made
        _check_module(network, text)
        _check_spec(spec, text)
        if input_shape is not None:
            spec = replace(spec, inputs=_with_shapes(spec.inputs, input_shape))
        return _trained(network, spec, weights)
    return _from_module(made, attribute, weights, input_shape)


# A user's code may end the process; that must not pass for success.
Failure = (Exception, SystemExit)


def _call(factory: Callable[[], Any], text: str) -> Any:
    try:
        return factory()
    except ToolchainError:
        raise
    except Failure as error:
        raise UsageError(
            f"'{text}' failed: {_reason(error)}", "the factory must work without arguments"
        ) from error


def _reason(error: BaseException) -> str:
    """Type and first line of a foreign error, whose message may be empty or fill a page."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"no file '{path}'", "write path/to/file.py:factory")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Failure as error:
        raise UsageError(
            f"'{path}' cannot be imported: {_reason(error)}",
            'importing it must only define things; put the rest below `if __name__ == "__main__":`',
        ) from error
    return module


def _import_module(name: str) -> ModuleType:
    hint = "write path/to/file.py:factory or package.module:factory"
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"'{name}' is not the name of a module", hint)
    try:
        return importlib.import_module(name)
    except Failure as error:
        raise UsageError(f"'{name}' cannot be imported: {_reason(error)}", hint) from error


def _from_module(network: Any, name: str, weights: Path | None, input_shape: Shapes) -> Source:
    _check_module(network, name)
    if input_shape is None:
        raise UnknownShapeError(
            f"the shape of the input of '{name}' is unknown", "add --input-shape 1,3,224,224"
        )
    inputs = input_shape if isinstance(input_shape, dict) else {"input": input_shape}
    spec = ModelSpec(
        name=name,
        task=GENERIC,
        inputs=tuple(TensorSpec(key, shape, layout=_guess(shape)) for key, shape in inputs.items()),
        outputs=(),
    )
    return _trained(network, spec, weights)


def _check_module(network: Any, name: str) -> None:
    from torch import nn

    if not isinstance(network, nn.Module):
        raise UsageError(
            f"'{name}' is a {type(network).__name__}, not a torch.nn.Module",
            "the factory must return a module, or a module and its ModelSpec",
        )
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        raise UsageError(f"'{name}' has weights on the device 'meta', that is, none", "make it on the CPU")


def _check_spec(spec: ModelSpec, text: str) -> None:
    """What a factory says of its network: a name that can be part of a file name, known types and task."""
    import torch

    if not spec.name or spec.name != Path(spec.name).name or "\\" in spec.name:
        raise UsageError(f"'{text}': the name '{spec.name}' cannot be part of a file name", "choose another")
    if spec.task not in TASKS:
        raise UsageError(f"'{text}': unknown task '{spec.task}'", f"use {', '.join(TASKS)}")
    for tensor in spec.inputs:
        if not isinstance(getattr(torch, tensor.dtype, None), torch.dtype):
            raise UsageError(
                f"'{text}': input '{tensor.name}' has no such type: '{tensor.dtype}'", "use float32"
            )


def _guess(shape: tuple[int, ...]) -> str:
    return "NCHW" if len(shape) == 4 else ""


def _trained(network: nn.Module, spec: ModelSpec, weights: Path | None) -> Source:
    from toolchain.models.card_spec import spec_of_card
    from toolchain.models.weights_file import load_weights
    from toolchain.models.zoo import ModelEntry

    card = None
    if weights is not None:
        card = ModelEntry(spec, type(network)).card_of(weights)
        load_weights(network, weights)
        if card is not None:
            spec = spec_of_card(spec, card, weights)
    network.eval()
    return Source(_with_outputs(spec, network), network, card=card)


def _with_shapes(inputs: tuple[TensorSpec, ...], shapes: Shapes) -> tuple[TensorSpec, ...]:
    given = shapes if isinstance(shapes, dict) else {inputs[0].name: shapes or ()}
    unknown = set(given) - {tensor.name for tensor in inputs}
    if unknown:
        names = ", ".join(tensor.name for tensor in inputs)
        raise UsageError(f"there is no input '{sorted(unknown)[0]}'", f"the inputs are: {names}")
    first = given.get(inputs[0].name)
    made = []
    for tensor in inputs:
        shape = given.get(tensor.name)
        if shape is not None and len(shape) != len(tensor.shape):
            raise UsageError(
                f"input '{tensor.name}' has rank {len(tensor.shape)}, not {len(shape)}",
                f"its usual shape is {','.join(map(str, tensor.shape))}",
            )
        if shape is None and first is not None and len(tensor.shape) == len(first) == 4:
            # The previous mask has the size of the picture.
            shape = (first[0], tensor.shape[1], *first[2:])
        made.append(replace(tensor, shape=shape or tensor.shape))
    return tuple(made)


def _with_outputs(spec: ModelSpec, network: nn.Module) -> ModelSpec:
    """Run the network once on zeros to learn the shapes of its outputs; names are kept where given.

    Raises:
        UsageError: the network does not take inputs of these shapes.
        UnsupportedError: it returns something else than tensors.
    """
    import torch

    try:
        zeros = [torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype)) for tensor in spec.inputs]
        with torch.no_grad():
            result = network(*zeros)
    except Failure as error:
        shapes = ", ".join(
            f"{tensor.name} {tensor.dtype} {shape_text(tensor.shape)}" for tensor in spec.inputs
        )
        raise UsageError(
            f"'{spec.name}' does not take inputs of these shapes ({shapes}): {_reason(error)}",
            "correct --input-shape; for other types than float32 let the factory return a ModelSpec too",
        ) from error
    values = list(result) if isinstance(result, tuple | list) else [result]
    if not all(isinstance(value, torch.Tensor) for value in values):
        raise UnsupportedError(
            f"'{spec.name}' returns {type(result).__name__}, not tensors",
            "wrap it in a module whose forward returns a tensor or a tuple of tensors",
        )
    names = [tensor.name for tensor in spec.outputs]
    if len(names) != len(values):
        names = ["output"] if len(values) == 1 else [f"output_{index}" for index in range(len(values))]
        if spec.task != GENERIC and len(values) == 1:
            names = ["logits"]
    layouts = {tensor.name: tensor.layout for tensor in spec.outputs if tensor.layout}
    outputs = []
    for name, value in zip(names, values, strict=True):
        shape, layout = tuple(value.shape), layouts.get(name, "")
        dtype = str(value.dtype).removeprefix("torch.")
        outputs.append(TensorSpec(name, shape, dtype, layout if len(layout) == len(shape) else _guess(shape)))
    made = replace(spec, outputs=tuple(outputs))
    _check_outputs(made, spec.name)
    return made


def _check_outputs(spec: ModelSpec, name: str) -> None:
    """Every output has a name of its own, and there is something to compare."""
    names = [tensor.name for tensor in spec.outputs]
    if not names:
        raise UnsupportedError(f"'{name}' has no outputs", "a network must return at least one tensor")
    for output in names:
        if names.count(output) > 1:
            raise UnsupportedError(f"'{name}' has two outputs called '{output}'", "give each its own name")
    if spec.task != GENERIC and len(spec.outputs[0].shape) < 2:
        raise UsageError(
            f"the first output of '{name}' has the shape ({shape_text(spec.outputs[0].shape)}); for"
            f" {spec.task} the classes must be on axis 1",
            f"return scores of (N, classes, ...), or use the task '{GENERIC}'",
        )

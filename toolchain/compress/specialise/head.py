"""A network with fewer classes: rows of its head, and of the input for the previous mask, are taken away.

Where they are is not read from the source of the network but found by running it, and what was found is
checked by running it again: the logits of the classes that stay must be what they were.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.compress.specialise.classes import kept_classes
from toolchain.errors import UnsupportedError
from toolchain.spec import ModelSpec, TensorSpec

HEADS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
# Of the largest logit: another order of summation moves the last digits.
TOLERANCE = 1e-4
HINT = "keep the network's own classes: `toolchain compress train`"


def shrink_head(network: nn.Module, spec: ModelSpec, classes: Sequence[str]) -> tuple[nn.Module, ModelSpec]:
    """The network with only some of its classes; its body and the rows that stay are what they were.

    A segmenter's background keeps its row, though it now stands for the dropped classes, too: the sum of
    their probabilities is no linear function, so that training has to teach it.

    Args:
        network: its second input, if it has one, is the previous mask.
        spec: its contract.
        classes: names of classes or groups, see `kept_classes`.

    Returns:
        A smaller copy in evaluation mode, and its contract: labels, palette, previous mask and output.

    Raises:
        UsageError: a class does not exist, or there is nothing to take away.
        UnsupportedError: head or mask input are not found, or more depends on the count of classes.
    """
    kept = kept_classes(spec, classes)
    made, smaller = select_rows(network, spec, kept)
    return made, smaller


def select_rows(
    network: nn.Module, spec: ModelSpec, kept: Sequence[int | None], labels: Sequence[str] | None = None
) -> tuple[nn.Module, ModelSpec]:
    """The network with a head of the given rows.

    Args:
        network: as for `shrink_head`.
        spec: its contract; the second size of its first output is the count of classes.
        kept: for every class of the new network the class whose row it takes, None for a row that starts at
            random (drawn from torch's generator as by `reset_parameters`).
        labels: names of the new classes; by default those of the rows.

    Raises:
        UnsupportedError: as for `shrink_head`.
    """
    head, mask = find_head(network, spec), _find_mask_layers(network, spec)
    if mask and None in kept:
        raise UnsupportedError(f"'{spec.name}' takes a previous mask, whose classes cannot be new ones", HINT)
    made = copy.deepcopy(network).eval()
    _set_layer(made, head, _with_outputs(made.get_submodule(head), kept, f"'{head}' of '{spec.name}'"))
    own = [index for index in kept if index is not None]
    for name, offset in mask.items():
        _set_layer(
            made, name, _with_inputs(made.get_submodule(name), offset, class_count(spec), own, f"'{name}'")
        )
    smaller = _smaller_spec(spec, kept, labels)
    _check_same(network, spec, made, smaller, kept)
    return made, smaller


def class_count(spec: ModelSpec) -> int:
    """Classes that a network tells apart, by the shape of its first output."""
    return spec.outputs[0].shape[1]


@torch.no_grad()
def find_head(network: nn.Module, spec: ModelSpec) -> str:
    """Name of the layer that makes the logits: the last one to run with one output per class.

    Raises:
        UnsupportedError: there is none.
    """
    classes, order = class_count(spec), []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: order.append(name))
        for name, module in network.named_modules()
        if isinstance(module, HEADS) and _outputs_of(module) == classes
    ]
    try:
        _run(network, _example(spec, torch.Generator().manual_seed(0)))
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        raise UnsupportedError(
            f"no convolution and no linear layer of '{spec.name}' has one output for each of its {classes}"
            " classes",
            HINT,
        )
    return order[-1]


@torch.no_grad()
def _find_mask_layers(network: nn.Module, spec: ModelSpec) -> dict[str, int]:
    """Convolutions that read the previous mask, and at which of their input channels it begins.

    A mask whose channels are constants, all different, is recognized where it has only been pooled, scaled
    in size or put beside other channels.
    """
    masks = _masks(spec)
    if not masks:
        return {}
    classes = class_count(spec)
    values: dict[str, list[Tensor]] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, x, name=name: values.setdefault(name, []).append(_middle(x))
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.in_channels >= classes and module.groups == 1
    ]
    levels = 0.5 + 0.37 * torch.arange(classes)
    example = _example(spec, torch.Generator().manual_seed(0))
    try:
        for level in (torch.zeros_like(levels), levels):
            given = [
                level.view(1, -1, 1, 1).expand(tensor.shape) if index in masks else example[index]
                for index, tensor in enumerate(spec.inputs)
            ]
            _run(network, given)
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for name, (empty, filled, *_) in values.items():
        moved = (filled - empty).nonzero()[:, 0]
        if len(moved) == classes and int(moved[-1] - moved[0]) == classes - 1:
            start = int(moved[0])
            if torch.allclose((filled - empty)[start : start + classes], levels, rtol=1e-3):
                found[name] = start
    if not found:
        raise UnsupportedError(f"no convolution of '{spec.name}' reads the previous mask as it is", HINT)
    return found


def _masks(spec: ModelSpec) -> list[int]:
    """Positions of the inputs that hold one channel per class, the picture apart."""
    classes = class_count(spec)
    return [
        index
        for index, tensor in enumerate(spec.inputs)
        if index and len(tensor.shape) == 4 and tensor.shape[1] == classes
    ]


def _middle(inputs: tuple[Tensor, ...]) -> Tensor:
    """The channels of the middle pixel of the first sample."""
    x = inputs[0]
    return x[0, :, x.shape[2] // 2, x.shape[3] // 2].clone()


def _example(spec: ModelSpec, generator: torch.Generator) -> list[Tensor]:
    return [torch.rand(tensor.shape, generator=generator) for tensor in spec.inputs]


def _run(network: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    training = network.training
    try:
        made = network.eval()(*inputs)
    finally:
        network.train(training)
    if isinstance(made, dict):
        made = next(iter(made.values()))
    return made[0] if isinstance(made, tuple | list) else made


def _outputs_of(module: Any) -> int:
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels


def _with_outputs(layer: Any, kept: Sequence[int | None], where: str) -> nn.Module:
    """A layer with the given rows of its own, new ones where there is None."""
    if getattr(layer, "groups", 1) != 1:
        raise UnsupportedError(f"the head {where} is a grouped convolution", HINT)
    made = _like(layer, outputs=len(kept))
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    target = torch.tensor([place for place, row in enumerate(kept) if row is not None], dtype=torch.long)
    source = torch.tensor([row for row in kept if row is not None], dtype=torch.long)
    with torch.no_grad():
        made.weight.index_copy_(axis, target, layer.weight.index_select(axis, source))
        if layer.bias is not None:
            made.bias[target] = layer.bias[source]
    return made


def _with_inputs(layer: nn.Module, start: int, classes: int, kept: Sequence[int], where: str) -> nn.Conv2d:
    """A convolution that reads only the given ones of `classes` channels that begin at `start`."""
    assert isinstance(layer, nn.Conv2d), where
    behind = range(start + classes, layer.in_channels)
    channels = [*range(start), *(start + index for index in kept), *behind]
    made = _like(layer, inputs=len(channels))
    assert isinstance(made, nn.Conv2d)
    with torch.no_grad():
        made.weight.copy_(layer.weight[:, channels])
        if layer.bias is not None and made.bias is not None:
            made.bias.copy_(layer.bias)
    return made


def _like(layer: nn.Module, inputs: int | None = None, outputs: int | None = None) -> Any:
    """A new layer of the same kind, of other widths."""
    weight: Any = layer.weight
    options: dict[str, Any] = {"bias": layer.bias is not None, "dtype": weight.dtype, "device": weight.device}
    if isinstance(layer, nn.Linear):
        return nn.Linear(inputs or layer.in_features, outputs or layer.out_features, **options)
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    shared = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    options |= {name: getattr(layer, name) for name in shared}
    if isinstance(layer, nn.ConvTranspose2d):
        options["output_padding"] = layer.output_padding
    return type(layer)(inputs or layer.in_channels, outputs or layer.out_channels, **options)


def _set_layer(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, layer.train(network.training))


def _smaller_spec(spec: ModelSpec, kept: Sequence[int | None], labels: Sequence[str] | None) -> ModelSpec:
    masks, count = _masks(spec), len(kept)
    own = [index for index in kept if index is not None]
    palette = tuple(spec.palette[index] for index in own) if spec.palette and len(own) == count else ()
    return replace(
        spec,
        inputs=tuple(
            _with_channels(tensor, count) if index in masks else tensor
            for index, tensor in enumerate(spec.inputs)
        ),
        outputs=(_with_channels(spec.outputs[0], count), *spec.outputs[1:]),
        labels=tuple(labels) if labels is not None else tuple(spec.labels[index] for index in own),
        palette=palette,
    )


def _with_channels(tensor: TensorSpec, channels: int) -> TensorSpec:
    return replace(tensor, shape=(tensor.shape[0], channels, *tensor.shape[2:]))


@torch.no_grad()
def _check_same(
    network: nn.Module, spec: ModelSpec, made: nn.Module, smaller: ModelSpec, kept: Sequence[int | None]
) -> None:
    """Compare on random inputs, with masks that show only the classes that stay.

    Raises:
        UnsupportedError: the smaller network does not run, or its logits are others.
    """
    own = [index for index in kept if index is not None]
    carried = [position for position, index in enumerate(kept) if index is not None]
    given = _example(spec, torch.Generator().manual_seed(1))
    fewer = list(given)
    for index in _masks(spec):
        fewer[index] = given[index][:, own]
        given[index] = torch.zeros_like(given[index]).index_copy_(1, torch.tensor(own), fewer[index])
    before = _run(network, given)[:, own]
    try:
        after = _run(made, fewer)
    except RuntimeError as error:
        raise UnsupportedError(
            f"more than the head of '{spec.name}' depends on the count of its classes:"
            f" {str(error).splitlines()[0]}",
            HINT,
        ) from error
    expected = smaller.outputs[0].shape
    if after.shape[1:] != expected[1:] or (own and _differ(before, after[:, carried])):
        raise UnsupportedError(
            f"the logits of '{spec.name}' are not a plain choice of rows of its head: without the other"
            " classes those that stay would change",
            HINT,
        )


def _differ(before: Tensor, after: Tensor) -> bool:
    return bool((before - after).abs().max() > TOLERANCE * before.abs().max().clamp(min=1))

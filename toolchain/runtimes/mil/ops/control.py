"""Conditions, loops and lists of tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, ints, number

Block = Callable[..., list[Any]]
MOST_PASSES = 100_000
"""Of a loop; one that goes on is taken for one without an end."""


@dataclass(frozen=True)
class TensorList:
    """A value of MIL's list type.

    Attributes:
        items: elements, None for one that was not written.
        grows: writing behind the end makes it longer.
    """

    items: tuple[Tensor | None, ...]
    grows: bool

    def read(self, index: int) -> Tensor:
        """The element at an index; one that was not written is refused."""
        item = self.items[index] if 0 <= index < len(self.items) else None
        if item is None:
            raise UnsupportedError(f"list: element {index} of {len(self.items)} was not written")
        return item

    def written(self, index: int, value: Tensor) -> TensorList:
        """The list with another element at an index."""
        if index < 0 or (index >= len(self.items) and not self.grows):
            raise UnsupportedError(f"list: element {index} of a list of {len(self.items)} cannot be written")
        items = [*self.items, *[None] * (index + 1 - len(self.items))]
        items[index] = value
        return TensorList(tuple(items), self.grows)


@computes("cond")
def cond(pred: Tensor, blocks: list[Block]) -> list[Any]:
    """The results of the first block if `pred` is true, else those of the second."""
    return blocks[0]() if flag(pred) else blocks[1]()


@computes("while_loop")
def while_loop(loop_vars: list[Any], blocks: list[Block]) -> list[Any]:
    """The loop's variables after the second block ran as long as the first one said so."""
    condition, body = blocks
    values = list(loop_vars)
    for _ in range(MOST_PASSES):
        if not flag(condition(*values)[0]):
            return values
        values = body(*values)
    raise UnsupportedError(f"while_loop: its condition still holds after {MOST_PASSES} passes")


@computes("make_list")
def make_list(
    elem_shape: Any,
    init_length: Tensor | int = 1,
    dynamic_length: Tensor | bool = True,
    dtype: str = "fp32",
) -> TensorList:
    """A list of elements that are not written yet; their shape and type are what is written."""
    return TensorList((None,) * int(number(init_length)), flag(dynamic_length))


@computes("list_length")
def list_length(ls: TensorList) -> Tensor:
    """The number of elements, int32."""
    return torch.tensor(len(ls.items), dtype=torch.int32)


@computes("list_read")
def list_read(ls: TensorList, index: Tensor) -> Tensor:
    """One element."""
    return ls.read(int(number(index)))


@computes("list_write")
def list_write(ls: TensorList, index: Tensor, value: Tensor) -> TensorList:
    """The list with another element."""
    return ls.written(int(number(index)), value)


@computes("list_gather")
def list_gather(ls: TensorList, indices: Tensor) -> Tensor:
    """Elements along a new first axis."""
    return torch.stack([ls.read(index) for index in ints(indices)])


@computes("list_scatter")
def list_scatter(ls: TensorList, indices: Tensor, value: Tensor) -> TensorList:
    """The list with the slices of `value` along the first axis as elements at the indices."""
    for index, item in zip(ints(indices), value, strict=True):
        ls = ls.written(index, item)
    return ls

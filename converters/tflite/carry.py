"""How a reshape is done on data whose axes are stored in another order than ONNX's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

Perm = tuple[int, ...]


@dataclass(frozen=True)
class Way:
    """One way to reshape stored data.

    Attributes:
        split: sizes of the parts into which the stored axes fall, in storage order, without those of
            length 1.
        order: how the parts are transposed before they are merged; ascending when nothing moves.
        perm: storage order of the result; position i holds axis perm[i] of the target.
    """

    split: tuple[int, ...]
    order: tuple[int, ...]
    perm: Perm

    @property
    def moves(self) -> bool:
        """Whether the data has to be transposed."""
        return self.order != tuple(range(len(self.order)))


@dataclass(frozen=True)
class _Block:
    """Parts that must lie side by side, and the target axes that are made of them.

    Attributes:
        parts: numbers of parts, in ONNX order.
        targets: target axes, in ONNX order; several where source and target have no common parts.
    """

    parts: tuple[int, ...]
    targets: tuple[int, ...]


def carry_reshape(source: Sequence[int], target: Sequence[int], perm: Perm) -> Perm | None:
    """Storage order after a reshape that moves no data, None when there is none.

    Example: (1, 8, 4, 6) stored as (0, 2, 3, 1), reshaped to (1, 2, 4, 4, 6): axis 8 is split in
    place, and the result is stored as (0, 3, 4, 1, 2).
    """
    if 0 in source or 0 in target:
        return None
    way = reshape_ways(source, target, perm)[0]
    return None if way.moves else way.perm


def reshape_ways(source: Sequence[int], target: Sequence[int], perm: Perm) -> list[Way]:
    """Ways to reshape stored data with one transposition at most.

    Source and target axes are cut into their smallest common parts. A stored axis can always be split
    into its parts; the parts of a target axis must be brought side by side, which is done where the
    last or where the first of them is stored. Other parts keep their places.

    Example: (N, groups, C / groups, H, W), of which a channel shuffle has exchanged the two middle axes,
    is stored as (0, 3, 4, 2, 1). To merge these two, the parts are transposed by (0, 1, 2, 4, 3).

    Args:
        source: shape before, without zeros.
        target: shape after, of the same size.
        perm: storage order before.

    Returns:
        One way if nothing has to be moved, otherwise two.
    """
    sizes, owners, blocks = _parts(source, target)
    stored = [part for axis in perm for part, owner in enumerate(owners) if owner == axis]
    position = {part: place for place, part in enumerate(stored)}
    split = tuple(sizes[part] for part in stored)
    ways = []
    for choose in (max, min):
        places: list[tuple[int, int]] = []
        for block in blocks:
            # A new axis of length 1 stands behind the axis that it follows in ONNX order.
            place = (
                choose(position[part] for part in block.parts)
                if block.parts
                else places[-1][0]
                if places
                else -1
            )
            places.append((place, len(places)))
        ranked = [blocks[index] for _, index in sorted(places)]
        order = tuple(position[part] for block in ranked for part in block.parts)
        ways.append(Way(split, order, tuple(axis for block in ranked for axis in block.targets)))
        if not ways[0].moves:
            return ways
    return ways


def merge_transposed(shape: Sequence[int], order: Sequence[int]) -> tuple[Perm, Perm]:
    """The same transposition of as few axes as possible.

    Axes of length 1 are left out, and axes that stay neighbours are merged.

    Args:
        shape: shape before.
        order: axis i of the result is axis order[i].

    Returns:
        The merged shape and its order; without axes or with a single one when nothing moves.
    """
    long = [axis for axis, size in enumerate(shape) if size != 1]
    runs: list[list[int]] = []
    for axis in (axis for axis in order if shape[axis] != 1):
        if runs and long.index(axis) == long.index(runs[-1][-1]) + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    before = sorted(runs)
    return tuple(prod(shape[axis] for axis in run) for run in before), tuple(
        before.index(run) for run in runs
    )


def _parts(source: Sequence[int], target: Sequence[int]) -> tuple[list[int], list[int], list[_Block]]:
    """Cut both shapes into common parts.

    Returns:
        The size of every part in ONNX order, the source axis that each belongs to, and the blocks in the
        order of the target axes.
    """
    sizes: list[int] = []
    owners: list[int] = []
    blocks: list[_Block] = []
    for sources, targets in _groups(source, target):
        first = len(sizes)
        cuts = _common_cuts([source[axis] for axis in sources], [target[axis] for axis in targets])
        if cuts is None:
            sizes += [source[axis] for axis in sources]
            owners += sources
            blocks.append(_Block(tuple(range(first, len(sizes))), targets))
            continue
        edges = [1, *cuts]
        sizes += [after // before for before, after in zip(edges, cuts, strict=False)]
        owners += _owners(sources, source, cuts)
        places = _owners(targets, target, cuts)
        blocks += [
            _Block(tuple(first + index for index, owner in enumerate(places) if owner == axis), (axis,))
            for axis in targets
        ]
    return sizes, owners, blocks


def _common_cuts(left: Sequence[int], right: Sequence[int]) -> list[int] | None:
    """Products of leading axes of either side, ascending; None when they do not divide each other."""
    products = {prod(side[: count + 1]) for side in (left, right) for count in range(len(side))} - {1}
    cuts = sorted(products)
    edges = [1, *cuts]
    return cuts if all(after % before == 0 for before, after in zip(edges, cuts, strict=False)) else None


def _owners(axes: Sequence[int], shape: Sequence[int], cuts: Sequence[int]) -> list[int]:
    """The axis that each part between two cuts belongs to."""
    owners, end, remaining = [], 1, list(axes)
    for cut in cuts:
        while end < cut:
            axis = remaining.pop(0)
            end *= shape[axis]
        owners.append(axis)
    return owners


def _groups(source: Sequence[int], target: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Smallest runs of source and target axes with equal products, in ONNX order."""
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        left, right = [], []
        if i < len(source) and j < len(target):
            left, right = [i], [j]
            a, b = source[i], target[j]
            i, j = i + 1, j + 1
            while a != b:
                if a < b:
                    a *= source[i]
                    left.append(i)
                    i += 1
                else:
                    b *= target[j]
                    right.append(j)
                    j += 1
        elif i < len(source):
            left, i = [i], i + 1
        else:
            right, j = [j], j + 1
        groups.append((tuple(left), tuple(right)))
    return groups

"""Random graphs of operators that rename, merge, cut and combine axes: LiteRT must compute them exactly.

All numbers are small integers, so float32 arithmetic is exact and every axis that ends up at the wrong
place shows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import helper

MOST_ELEMENTS = 3000
MOST_AXES = 6
# Beyond it numbers are clipped, long before float32 has to round.
LARGE = 1 << 16
SMALL = 7
Choose = Callable[[int, int], int]


class GraphMaker:
    """Adds random nodes to a graph, each of which reads values that are there already.

    Args:
        choose: an integer between two bounds, both included.
    """

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.bounds: dict[str, int] = {}

    def pick(self, options):
        """One of several."""
        options = list(options)
        return options[self.choose(0, len(options) - 1)]

    def flip(self) -> bool:
        return bool(self.choose(0, 1))

    def permutation(self, count: int) -> list[int]:
        rest = list(range(count))
        return [rest.pop(self.choose(0, len(rest) - 1)) for _ in range(count)]

    def add_input(self) -> None:
        shape = tuple(self.choose(1, 4) for _ in range(self.pick([4, 4, 4, 3, 2, 5])))
        name = f"x{len(self.inputs)}"
        seed = self.choose(0, 1000)
        self.inputs[name] = np.random.default_rng(seed).integers(-5, 6, shape).astype(np.float32)
        self.shapes[name], self.bounds[name] = shape, 5

    def constant(self, data) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(data)
        return name

    def integers(self, shape, low: int = -1, high: int = 1) -> str:
        numbers = np.random.default_rng(self.choose(0, 1000)).integers(low, high + 1, shape)
        return self.constant(numbers.astype(np.float32))

    def node(self, op_type: str, inputs, shape, bound: int, **attributes) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=f"n{len(self.nodes)}", **attributes))
        self.shapes[name], self.bounds[name] = tuple(int(size) for size in shape), bound
        if bound > LARGE:
            above = self.node("Max", [name, self.constant(np.float32(-SMALL))], shape, LARGE)
            return self.node("Min", [above, self.constant(np.float32(SMALL))], shape, SMALL)
        return name

    def step(self) -> None:
        """Add one random node to a random value, the newest most often."""
        names = list(self.shapes)
        source = names[-1] if self.choose(0, 3) else self.pick(names)
        options = [
            self.transpose, self.transpose, self.reshape, self.reshape, self.slice, self.concat, self.reduce,
            self.add, self.add, self.convolve, self.convolve, self.multiply, self.gather, self.expand,
            self.tile, self.pad, self.unsqueeze, self.squeeze, self.flatten, self.pool, self.blocks,
            self.split, self.accumulate, self.places, self.best, self.triangle, self.einsum,
            self.choose_elements,
        ]  # fmt: skip
        self.pick(options)(source, self.shapes[source], self.bounds[source])

    def transpose(self, source, shape, bound) -> None:
        if not shape:
            return
        perm = self.permutation(len(shape))
        self.node("Transpose", [source], [shape[axis] for axis in perm], bound, perm=perm)

    def reshape(self, source, shape, bound) -> None:
        target = list(shape)
        for _ in range(self.choose(1, 3)):
            kind = self.choose(0, 3)
            if kind == 0 and len(target) > 1:
                axis = self.choose(0, len(target) - 2)
                target[axis : axis + 2] = [target[axis] * target[axis + 1]]
            elif kind == 1 and target and len(target) < MOST_AXES:
                axis = self.choose(0, len(target) - 1)
                divisor = self.pick([size for size in range(1, target[axis] + 1) if target[axis] % size == 0])
                target[axis : axis + 1] = [divisor, target[axis] // divisor]
            elif kind == 2 and len(target) < MOST_AXES:
                target.insert(self.choose(0, len(target)), 1)
            elif kind == 3 and 1 in target:
                target.remove(1)
        self.node("Reshape", [source, self.constant(np.array(target, np.int64))], target, bound)

    def slice(self, source, shape, bound) -> None:
        if not shape:
            return
        axis, step = self.choose(0, len(shape) - 1), self.pick([1, 1, 2, -1, -2])
        start, end = self.choose(0, shape[axis] - 1), self.choose(1, shape[axis])
        if step < 0:
            end = self.pick([-100, max(start - 1, 0)])
        taken = range(shape[axis])[start:end:step]
        if len(taken) == 0:
            return
        numbers = [self.constant(np.array([number], np.int64)) for number in (start, end, axis, step)]
        self.node("Slice", [source, *numbers], [*shape[:axis], len(taken), *shape[axis + 1 :]], bound)

    def concat(self, source, shape, bound) -> None:
        if not shape:
            return
        axis = self.choose(0, len(shape) - 1)
        others = [
            name
            for name, other in self.shapes.items()
            if len(other) == len(shape)
            and all(a == b for i, (a, b) in enumerate(zip(other, shape, strict=True)) if i != axis)
        ]
        chosen = [source, self.pick(others), self.integers(shape)][: self.choose(2, 3)]
        sizes = [shape[axis] if name in self.constants else self.shapes[name][axis] for name in chosen]
        bound = max(self.bounds.get(name, 1) for name in chosen)
        self.node("Concat", chosen, [*shape[:axis], sum(sizes), *shape[axis + 1 :]], bound, axis=axis)

    def reduce(self, source, shape, bound) -> None:
        axes = [axis for axis in range(len(shape)) if self.flip()]
        if not axes:
            return
        op_type, keep = self.pick(["ReduceSum", "ReduceMax", "ReduceMin"]), self.choose(0, 1)
        kept = [1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes]
        count = int(np.prod([shape[axis] for axis in axes])) if op_type == "ReduceSum" else 1
        inputs = [source, self.constant(np.array(axes, np.int64))]
        self.node(op_type, inputs, kept, bound * count, keepdims=keep)

    def add(self, source, shape, bound) -> None:
        def fits(other):
            pairs = zip(other[::-1], shape[::-1], strict=False)
            return all(a == b or 1 in (a, b) for a, b in pairs)

        names = [name for name, other in self.shapes.items() if fits(other)]
        other = self.pick(names)
        if self.choose(0, 2) == 0:
            part = [size if self.flip() else 1 for size in shape][self.choose(0, len(shape)) :]
            other = self.integers(part, -3, 3)
            whole = shape
        else:
            whole = np.broadcast_shapes(shape, self.shapes[other])
        if np.prod(whole, dtype=int) > MOST_ELEMENTS:
            return
        pair = [source, other] if self.flip() else [other, source]
        self.node(self.pick(["Add", "Sub", "Max"]), pair, whole, bound + self.bounds.get(other, 3))

    def convolve(self, source, shape, bound) -> None:
        if len(shape) not in (3, 4):
            return
        made, size = self.choose(1, 4), self.pick([1, 3])
        weights = self.integers((made, shape[1], *[size] * (len(shape) - 2)))
        pads = [size // 2] * 2 * (len(shape) - 2)
        count = shape[1] * size ** (len(shape) - 2)
        self.node("Conv", [source, weights], (shape[0], made, *shape[2:]), bound * count, pads=pads)

    def pool(self, source, shape, bound) -> None:
        if len(shape) != 4 or min(shape[2:]) < 2:
            return
        made = (*shape[:2], shape[2] // 2, shape[3] // 2)
        self.node("MaxPool", [source], made, bound, kernel_shape=[2, 2], strides=[2, 2])

    def blocks(self, source, shape, bound) -> None:
        if len(shape) == 4 and shape[1] % 4 == 0:
            n, c, h, w = shape
            mode = self.pick(["DCR", "CRD"])
            self.node("DepthToSpace", [source], (n, c // 4, 2 * h, 2 * w), bound, blocksize=2, mode=mode)
        elif len(shape) == 4 and shape[2] % 2 == 0 and shape[3] % 2 == 0:
            n, c, h, w = shape
            self.node("SpaceToDepth", [source], (n, 4 * c, h // 2, w // 2), bound, blocksize=2)

    def multiply(self, source, shape, bound) -> None:
        if not shape:
            return
        kind = self.choose(0, 2)
        made = self.choose(1, 4)
        if kind == 0:
            weights = self.integers((shape[-1], made))
            self.node("MatMul", [source, weights], (*shape[:-1], made), bound * shape[-1])
        elif kind == 1 and len(shape) > 1:
            weights = self.integers((made, shape[-2]))
            self.node("MatMul", [weights, source], (*shape[:-2], made, shape[-1]), bound * shape[-2])
        elif len(shape) > 1 and bound <= SMALL:
            order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            other = self.node("Transpose", [source], [shape[axis] for axis in order], bound, perm=order)
            pair, rows, summed = ([source, other], shape[-2], shape[-1])
            if self.flip():
                pair, rows, summed = ([other, source], shape[-1], shape[-2])
            self.node("MatMul", pair, (*shape[:-2], rows, rows), bound * bound * summed)

    def gather(self, source, shape, bound) -> None:
        if not shape:
            return
        axis = self.choose(0, len(shape) - 1)
        form = self.pick([(), (1,), (2,), (3,), (2, 2)])
        if len(shape) + len(form) - 1 > MOST_AXES:
            return
        numbers = [self.choose(-shape[axis], shape[axis] - 1) for _ in range(int(np.prod(form, dtype=int)))]
        indices = self.constant(np.array(numbers, np.int64).reshape(form))
        self.node("Gather", [source, indices], (*shape[:axis], *form, *shape[axis + 1 :]), bound, axis=axis)

    def expand(self, source, shape, bound) -> None:
        target = [self.choose(1, 3) if size == 1 else size for size in shape]
        target = [self.choose(1, 2) for _ in range(self.choose(0, max(MOST_AXES - len(shape), 0)))][
            :2
        ] + target
        self.node("Expand", [source, self.constant(np.array(target, np.int64))], target, bound)

    def tile(self, source, shape, bound) -> None:
        times = [self.choose(1, 2) for _ in shape]
        if shape:
            made = [size * count for size, count in zip(shape, times, strict=True)]
            self.node("Tile", [source, self.constant(np.array(times, np.int64))], made, bound)

    def pad(self, source, shape, bound) -> None:
        if not shape:
            return
        mode = self.pick(["constant", "edge", "reflect"])
        most = [size - 1 if mode == "reflect" else 2 for size in shape]
        pads = [[self.choose(0, min(limit, 2)) for limit in most] for _ in range(2)]
        made = [size + before + after for size, before, after in zip(shape, *pads, strict=True)]
        inputs = [source, self.constant(np.array(pads, np.int64).reshape(-1))]
        if mode == "constant" and self.flip():
            inputs.append(self.constant(np.float32(2)))
        self.node("Pad", inputs, made, max(bound, 2), mode=mode)

    def unsqueeze(self, source, shape, bound) -> None:
        if len(shape) < MOST_AXES:
            axis = self.choose(0, len(shape))
            inputs = [source, self.constant(np.array([axis], np.int64))]
            self.node("Unsqueeze", inputs, (*shape[:axis], 1, *shape[axis:]), bound)

    def squeeze(self, source, shape, bound) -> None:
        if 1 in shape:
            axis = self.pick([axis for axis, size in enumerate(shape) if size == 1])
            inputs = [source, self.constant(np.array([axis], np.int64))]
            self.node("Squeeze", inputs, (*shape[:axis], *shape[axis + 1 :]), bound)

    def flatten(self, source, shape, bound) -> None:
        axis = self.choose(0, len(shape))
        made = (int(np.prod(shape[:axis], dtype=int)), int(np.prod(shape[axis:], dtype=int)))
        self.node("Flatten", [source], made, bound, axis=axis)

    def split(self, source, shape, bound) -> None:
        if not shape or max(shape) < 2:
            return
        axis = self.pick([axis for axis, size in enumerate(shape) if size > 1])
        first = self.choose(1, shape[axis] - 1)
        sizes = [first, shape[axis] - first]
        names = [f"s{len(self.nodes)}_{index}" for index in range(2)]
        inputs = [source, self.constant(np.array(sizes, np.int64))]
        self.nodes.append(helper.make_node("Split", inputs, names, name=f"n{len(self.nodes)}", axis=axis))
        for name, size in zip(names, sizes, strict=True):
            self.shapes[name], self.bounds[name] = (*shape[:axis], size, *shape[axis + 1 :]), bound

    def accumulate(self, source, shape, bound) -> None:
        if shape:
            axis = self.choose(0, len(shape) - 1)
            inputs = [source, self.constant(np.array(axis))]
            self.node("CumSum", inputs, shape, bound * shape[axis], reverse=self.choose(0, 1))

    def places(self, source, shape, bound) -> None:
        if shape:
            axis, keep = self.choose(0, len(shape) - 1), self.choose(0, 1)
            kept = [1 if place == axis else size for place, size in enumerate(shape) if keep or place != axis]
            found = self.node(
                self.pick(["ArgMax", "ArgMin"]), [source], kept, shape[axis], axis=axis, keepdims=keep
            )
            # Whole numbers are an output at most; the other operators take floats.
            self.node("Cast", [found], kept, shape[axis], to=1)
            del self.shapes[found]

    def best(self, source, shape, bound) -> None:
        if shape:
            axis = self.choose(0, len(shape) - 1)
            count = self.choose(1, shape[axis])
            names = [f"t{len(self.nodes)}_{index}" for index in range(2)]
            inputs = [source, self.constant(np.array([count]))]
            name = f"n{len(self.nodes)}"
            self.nodes.append(
                helper.make_node("TopK", inputs, names, name=name, axis=axis, largest=self.choose(0, 1))
            )
            self.shapes[names[0]], self.bounds[names[0]] = (*shape[:axis], count, *shape[axis + 1 :]), bound

    def triangle(self, source, shape, bound) -> None:
        if len(shape) > 1:
            inputs = [source, self.constant(np.array(self.choose(-1, 1)))]
            self.node("Trilu", inputs, shape, bound, upper=self.choose(0, 1))

    def einsum(self, source, shape, bound) -> None:
        """A product with a constant over a random axis, the axes of the result in random order."""
        if not shape:
            return
        labels = "abcdef"[: len(shape)]
        axis, made = self.choose(0, len(shape) - 1), self.choose(1, 3)
        result = [label for label in labels if label != labels[axis]] + ["z"]
        result = "".join(result[place] for place in self.permutation(len(result)))
        sizes = dict(zip(labels, shape, strict=True), z=made)
        equation = f"{labels},{labels[axis]}z->{result}"
        inputs = [source, self.integers((shape[axis], made))]
        self.node(
            "Einsum", inputs, [sizes[label] for label in result], bound * shape[axis], equation=equation
        )

    def choose_elements(self, source, shape, bound) -> None:
        mask = np.random.default_rng(self.choose(0, 1000)).integers(0, 2, shape).astype(bool)
        self.node("Where", [self.constant(mask), source, self.integers((), -3, 3)], shape, bound)

    def outputs(self) -> list[str]:
        made = [name for name in self.shapes if name not in self.inputs]
        return list(dict.fromkeys([made[-1], self.pick(made), self.pick(made)]))


def random_graph(choose: Choose, build) -> tuple[onnx.ModelProto, dict[str, np.ndarray]] | None:
    """A model and its inputs; None when nothing could be added or it grew too large."""
    maker = GraphMaker(choose)
    for _ in range(choose(1, 2)):
        maker.add_input()
    for _ in range(choose(1, 10)):
        names = len(maker.shapes)
        maker.step()
        for name in list(maker.shapes)[names:]:
            if np.prod(maker.shapes[name], dtype=int) > MOST_ELEMENTS or len(maker.shapes[name]) > MOST_AXES:
                return None
    if not maker.nodes:
        return None
    return build(maker.nodes, maker.inputs, maker.outputs(), maker.constants), maker.inputs


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_graphs_are_exact(check, make_model, data):
    made = random_graph(lambda low, high: data.draw(st.integers(low, high)), make_model)
    assume(made is not None)
    model, feeds = made
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(40))
def test_long_random_graphs_are_exact(check, make_model, seed):
    rng = np.random.default_rng(seed)
    made = None
    while made is None:
        made = random_graph(lambda low, high: int(rng.integers(low, high + 1)), make_model)
    model, feeds = made
    check(model, feeds, rtol=0, atol=0)

"""Conditions, loops and lists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.ops.control import TensorList


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_cond(run_program: Callable, value: float) -> None:
    def build(mb, x):
        double = mb.mul(x=x, y=2.0)
        return mb.cond(
            pred=mb.greater(x=mb.squeeze(x=x), y=0.0),
            _true_fn=lambda: (mb.add(x=double, y=1.0), mb.identity(x=x)),
            _false_fn=lambda: (mb.add(x=double, y=-1.0), mb.mul(x=x, y=-10.0)),
        )

    first, second = run_program(build, {"x": np.array([value], np.float32)}).values()
    np.testing.assert_array_equal(first, [2 * value + value])
    np.testing.assert_array_equal(second, [1.0 if value > 0 else 10.0])


def test_while_loop_sees_the_values_around_it(run_program: Callable) -> None:
    def build(mb, x, limit):
        factor = mb.add(x=x, y=1.0)
        return mb.while_loop(
            _cond=lambda total, count: mb.less(x=mb.squeeze(x=count), y=mb.squeeze(x=limit)),
            _body=lambda total, count: (mb.mul(x=total, y=factor), mb.add(x=count, y=1.0)),
            loop_vars=(x, mb.const(val=np.zeros(1, np.float32))),
        )

    inputs = {"x": np.array([2], np.float32), "limit": np.array([4], np.float32)}
    total, count = run_program(build, inputs).values()
    np.testing.assert_array_equal(total, [2 * 3**4])
    np.testing.assert_array_equal(count, [4])


def test_a_loop_may_not_run_at_all(run_program: Callable) -> None:
    def build(mb, x):
        return mb.while_loop(
            _cond=lambda value: mb.less(x=mb.squeeze(x=value), y=0.0),
            _body=lambda value: mb.add(x=value, y=1.0),
            loop_vars=(x,),
        )

    (got,) = run_program(build, {"x": np.array([3], np.float32)}).values()
    np.testing.assert_array_equal(got, [3])


def test_lists(run_program: Callable) -> None:
    def build(mb, x):
        made = mb.make_list(init_length=2, elem_shape=(3,), dynamic_length=True)
        made = mb.list_write(ls=made, index=0, value=mb.squeeze(x=x, axes=[0]))
        made = mb.list_scatter(
            ls=made, indices=[3, 1], value=mb.concat(values=(x, mb.mul(x=x, y=2.0)), axis=0)
        )
        return [
            mb.list_length(ls=made),
            mb.list_read(ls=made, index=1),
            mb.list_gather(ls=made, indices=[3, 0, 1]),
        ]

    x = np.array([[1, 2, 3]], np.float32)
    length, item, items = run_program(build, {"x": x}).values()
    assert length == 4
    np.testing.assert_array_equal(item, 2 * x[0])
    np.testing.assert_array_equal(items, np.concatenate([x, x, 2 * x]))


def test_a_list_grows_in_a_loop(run_program: Callable) -> None:
    def build(mb, x):
        made = mb.make_list(init_length=1, elem_shape=(1,), dynamic_length=True)
        _, filled = mb.while_loop(
            _cond=lambda count, ls: mb.less(x=mb.squeeze(x=count), y=5.0),
            _body=lambda count, ls: (
                mb.add(x=count, y=1.0),
                mb.list_write(ls=ls, index=mb.cast(x=mb.squeeze(x=count), dtype="int32"), value=count),
            ),
            loop_vars=(x, made),
        )
        return mb.list_gather(ls=filled, indices=[4, 0])

    (got,) = run_program(build, {"x": np.zeros(1, np.float32)}).values()
    np.testing.assert_array_equal(got, [[4], [0]])


@pytest.mark.parametrize("index", [-1, 1, 2])
def test_elements_that_were_not_written_are_refused(index: int) -> None:
    with pytest.raises(UnsupportedError, match=f"element {index} of 2 was not written"):
        TensorList((torch.ones(1), None), grows=True).read(index)


def test_a_list_of_fixed_length_does_not_grow() -> None:
    with pytest.raises(UnsupportedError, match="element 1 of a list of 1"):
        TensorList((None,), grows=False).written(1, torch.ones(1))

"""PyTorch modules behind the interface of the files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import UnsupportedError, UsageError
from toolchain.runtimes.torch_runtime import TorchRuntime
from toolchain.spec import GENERIC, ModelSpec, TensorSpec


def contract(outputs=("y",), inputs=("x",)):
    return ModelSpec(
        "net",
        GENERIC,
        tuple(TensorSpec(name, (2, 3)) for name in inputs),
        tuple(TensorSpec(name, (2, 3)) for name in outputs),
    )


class Returns(nn.Module):
    """Hands its inputs to a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def test_arrays_go_to_forward_in_the_order_of_the_contract():
    runtime = TorchRuntime(Returns(lambda a, b: a - b), contract(inputs=("left", "right")))
    result = runtime.run({"right": np.ones((2, 3)), "left": np.full((2, 3), 5.0)})
    np.testing.assert_array_equal(result["y"], np.full((2, 3), 4, np.float32))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x, x * 2),
        lambda x: [x, [x * 2]],
        lambda x: {"any": x, "name": x * 2},
        lambda x: (x, (x, x.mul_(2))[1]),
    ],
)
def test_results_of_any_nesting_get_the_names_of_the_contract(function):
    given = np.ones((2, 3), np.float32)
    result = TorchRuntime(Returns(function), contract(outputs=("one", "two"))).run({"x": given})
    np.testing.assert_array_equal(result["two"], np.full((2, 3), 2))
    np.testing.assert_array_equal(given, np.ones((2, 3)))


def test_dropout_and_batch_statistics_are_off():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.9)).train()
    runtime = TorchRuntime(module, contract())
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(runtime.run({"x": x})["y"], x / np.sqrt(1 + 1e-5), rtol=1e-6)
    assert not module.training


def test_results_do_not_share_memory_with_the_module():
    module = Returns(lambda x: buffer.add_(x))
    buffer = torch.zeros(2, 3)
    runtime = TorchRuntime(module, contract())
    first = runtime.run({"x": np.ones((2, 3))})["y"]
    runtime.run({"x": np.ones((2, 3))})
    np.testing.assert_array_equal(first, np.ones((2, 3)))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: (x, x), "returns 2 tensor"),
        (lambda x: x @ x, "failed in PyTorch"),
        (lambda: 0, "failed in PyTorch"),
    ],
)
def test_a_module_that_breaks_its_contract_is_refused(function, message):
    with pytest.raises(UnsupportedError, match=message):
        TorchRuntime(Returns(function), contract()).run({"x": np.ones((2, 3))})


def test_a_closed_runtime_says_so():
    runtime = TorchRuntime(nn.Identity(), contract())
    with runtime:
        runtime.run({"x": np.ones((2, 3))})
    with pytest.raises(UsageError, match="closed"):
        runtime.run({"x": np.ones((2, 3))})

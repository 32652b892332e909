"""SegNet's unpooling equals torch's, ties included, and leaves torch as operators that a phone has."""

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.nn import functional

from toolchain.models.segnet import MaxPoolWithMask, SegNet, unpool

FEW_VALUES = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0])
PHONE_OPS = {"MaxPool", "Resize", "Equal", "Where", "Expand", "Tile"}


def reference(x, values):
    pooled, indices = functional.max_pool2d(x, 2, return_indices=True)
    return pooled, functional.max_unpool2d(values, indices, 2)


class PoolAndUnpool(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = MaxPoolWithMask()

    def forward(self, x, values):
        pooled, mask = self.pool(x)
        return pooled, unpool(values, mask)


@settings(deadline=None)
@given(x=arrays(np.float32, (2, 3, 4, 6), elements=FEW_VALUES), seed=st.integers(0, 2**31))
def test_unpooling_equals_max_unpool2d_with_many_ties(x, seed):
    x = torch.from_numpy(x)
    values = torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(seed))
    for own, theirs in zip(PoolAndUnpool()(x, values), reference(x, values), strict=True):
        assert torch.equal(own, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_unpooling_keeps_the_element_type(dtype):
    x = torch.randn(1, 2, 8, 8).to(dtype)
    values = torch.randn(1, 2, 4, 4).to(dtype)
    pooled, mask = MaxPoolWithMask()(x)
    assert pooled.dtype == unpool(values, mask).dtype == dtype
    assert torch.equal(unpool(values, mask), reference(x, values)[1])


def test_gradients_equal_those_of_max_unpool2d():
    x = torch.randn(1, 2, 8, 8).relu()
    gradients = []
    for function in (PoolAndUnpool(), reference):
        leaves = [x.clone().requires_grad_(), torch.ones(1, 2, 4, 4, requires_grad=True)]
        pooled, spread = function(*leaves)
        ((spread * torch.arange(64.0).view(8, 8)).sum() + (pooled**2).sum()).backward()
        gradients.append([leaf.grad for leaf in leaves])
    for own, theirs in zip(*gradients, strict=True):
        assert torch.equal(own, theirs)


@pytest.mark.filterwarnings("ignore")
def test_unpooling_leaves_torch_as_simple_operators(tmp_path):
    x, values = torch.randn(1, 3, 8, 8).relu(), torch.randn(1, 3, 4, 4)
    program = torch.onnx.export(
        PoolAndUnpool(), (x, values), dynamo=True, input_names=["x", "values"], verbose=False
    )
    assert {node.op_type for node in program.model.graph} <= PHONE_OPS
    program.save(tmp_path / "unpool.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "unpool.onnx")
    outputs = session.run(None, {"x": x.numpy(), "values": values.numpy()})
    for own, theirs in zip(outputs, reference(x, values), strict=True):
        np.testing.assert_array_equal(own, theirs.numpy())


def test_decoder_mirrors_the_encoder():
    with torch.device("meta"):
        network = SegNet()
    encoder, decoder = (
        [(m.in_channels, m.out_channels) for m in part.modules() if isinstance(m, nn.Conv2d)]
        for part in (network.encoder, network.decoder)
    )
    head = (network.head.out_channels, network.head.in_channels)
    assert [head, *((b, a) for a, b in reversed(decoder))] == [(10, 64), *encoder[1:]]
    assert len(encoder) == 13

"""PyTorch modules become graphs that compute the same, silently, or are refused in one sentence."""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn

from toolchain.converters.graph import clean
from toolchain.converters.torch_to_onnx import torch_to_onnx
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.models.hourglass import LightHourglass
from toolchain.spec import TensorSpec

IMAGE = TensorSpec("x", (1, 4, 8, 8))


def randomize(module: nn.Module) -> nn.Module:
    """Running statistics and factors that make batch normalization do something."""
    torch.manual_seed(0)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            child.running_mean.normal_()
            child.running_var.uniform_(0.5, 2)
            nn.init.uniform_(child.weight, 0.5, 1.5)
            nn.init.normal_(child.bias)
    return module


def run(model: ir.Model, *inputs: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(ir.serde.serialize_model(model).SerializeToString())
    names = [value.name for value in session.get_outputs()]
    feeds = {value.name: tensor.numpy() for value, tensor in zip(session.get_inputs(), inputs, strict=True)}
    return dict(zip(names, session.run(None, feeds), strict=True))


def ops(model: ir.Model) -> dict[str, int]:
    return dict(Counter(node.op_type for node in model.graph))


def test_the_hourglass_computes_what_torch_computes():
    module = randomize(LightHourglass(8, 2))
    inputs = [TensorSpec("image", (1, 3, 32, 32)), TensorSpec("previous", (1, 10, 32, 32))]
    tensors = [torch.randn(spec.shape) for spec in inputs]
    model = torch_to_onnx(module, inputs, ["logits"])
    assert [value.name for value in model.graph.inputs] == ["image", "previous"]
    clean(model)
    assert [value.name for value in model.graph.outputs] == ["logits"]
    assert ops(model) == {"Concat": 1, "Conv": 41, "Clip": 27, "Add": 17, "MaxPool": 4, "Resize": 4}
    found = run(model, *tensors)["logits"]
    with torch.no_grad():
        wanted = module.eval()(*tensors).numpy()
    noise = np.square(wanted - found).sum() / np.square(wanted).sum()
    assert 10 * np.log10(1 / noise) > 100


PARTS = {
    "relu6": (nn.ReLU6(), {"Clip": 1}),
    "gelu": (nn.GELU(), {"Gelu": 1}),
    "gelu tanh": (nn.GELU(approximate="tanh"), {"Gelu": 1}),
    "hardswish": (nn.Hardswish(), {"HardSwish": 1}),
    "silu": (nn.SiLU(), {"Sigmoid": 1, "Mul": 1}),
    "prelu": (nn.PReLU(4), {"PRelu": 1}),
    "dropout": (nn.Sequential(nn.ReLU(), nn.Dropout()), {"Relu": 1}),
    "norm alone": (nn.BatchNorm2d(4), {"Mul": 1, "Add": 1}),
    "conv norm": (
        nn.Sequential(nn.Conv2d(4, 3, 3, padding="same", bias=False), nn.BatchNorm2d(3), nn.ReLU6()),
        {"Conv": 1, "Clip": 1},
    ),
    "deconv norm": (
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), nn.BatchNorm2d(6)),
        {"ConvTranspose": 1},
    ),
    "pad conv": (nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(4, 3, 3)), {"Conv": 1}),
    "linear norm": (
        nn.Sequential(nn.Flatten(), nn.Linear(256, 5), nn.BatchNorm1d(5)),
        {"Reshape": 1, "Gemm": 1},
    ),
    "global pool": (nn.AdaptiveAvgPool2d(1), {"ReduceMean": 1}),
    "pixel shuffle": (nn.PixelShuffle(2), {"DepthToSpace": 1}),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), {"Resize": 1}),
    "layer norm": (nn.LayerNorm(8), {"LayerNormalization": 1}),
}


class Clamps(nn.Module):
    """Limiters and lists as they are written in forward."""

    def forward(self, x):
        first, second = x.chunk(2, 1)
        return first.clamp(min=0), torch.relu(second).clamp(max=6), x.view(x.shape[0], -1)


class Several(nn.Module):
    """One export for all parts: tracing has a high fixed price."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(part for part, _ in PARTS.values())
        self.clamps = Clamps()

    def forward(self, x):
        return *(part(x) for part in self.parts), *self.clamps(x)


@pytest.fixture(scope="module")
def several():
    """The network of all parts, its cleaned graph, an input and the outputs of both."""
    module = randomize(Several()).eval()
    count = len(PARTS) + 3
    model = torch_to_onnx(module, [IMAGE], [f"out{index}" for index in range(count)])
    clean(model)
    sample = torch.randn(IMAGE.shape)
    with torch.no_grad():
        wanted = [tensor.numpy() for tensor in module(sample)]
    return model, run(model, sample), wanted


def ops_behind(model: ir.Model, name: str) -> dict[str, int]:
    """The operators that one output depends on."""
    pending = [value for value in model.graph.outputs if value.name == name]
    found: dict[str, ir.Node] = {}
    while pending:
        node = pending.pop().producer()
        if node is not None and node.name not in found:
            found[node.name] = node
            pending += [value for value in node.inputs if value is not None]
    return dict(Counter(node.op_type for node in found.values()))


@pytest.mark.parametrize("index", range(len(PARTS)), ids=PARTS)
def test_parts_become_the_expected_operators(several, index):
    model, found, wanted = several
    assert ops_behind(model, f"out{index}") == list(PARTS.values())[index][1]
    np.testing.assert_allclose(found[f"out{index}"], wanted[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("index", "operators"), [(0, {"Split": 1, "Relu": 1}), (1, {"Split": 1, "Clip": 1}), (2, {"Reshape": 1})]
)
def test_limiters_and_lists_become_plain_operators(several, index, operators):
    model, found, wanted = several
    name = f"out{len(PARTS) + index}"
    assert ops_behind(model, name) == operators
    np.testing.assert_array_equal(found[name], wanted[len(PARTS) + index])


class Ends(nn.Module):
    """Returns a value twice, and its input."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(1))

    def forward(self, relu, x):
        y = torch.relu(x) + self.mean
        return y, y, relu, {"nested": [relu * x, None]}


def test_names_are_kept_whatever_torch_calls_its_values():
    inputs = [TensorSpec("mean", (1, 2)), TensorSpec("add", (1, 2), "int64")]
    names = ["relu", "mul", "x", "y"]
    model = torch_to_onnx(Ends(), inputs, names)
    clean(model)
    assert [value.name for value in model.graph.inputs] == ["mean", "add"]
    assert [value.name for value in model.graph.outputs] == names
    assert model.graph.inputs[1].dtype == ir.DataType.INT64
    tensors = [torch.tensor([[1.0, 2]]), torch.tensor([[-3, 4]])]
    wanted = {"relu": [[1, 5]], "mul": [[1, 5]], "x": [[1, 2]], "y": [[-3, 8]]}
    found = run(model, *tensors)
    assert {name: array.tolist() for name, array in found.items()} == wanted


class Chatty(nn.Module):
    """Prints, logs and warns while it is traced."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()

    def forward(self, x):
        sys.stdout.write("tracing")
        logging.getLogger("net").warning("tracing")
        warnings.warn("tracing", stacklevel=1)
        return self.drop(self.norm(x))


def test_silent_and_without_a_trace_on_the_module(capfd, caplog, recwarn):
    module = Chatty()
    module.norm.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    model = torch_to_onnx(module, [IMAGE], ["y"])
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert not recwarn.list
    assert module.training
    assert not module.norm.training
    assert module.drop.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    # Torch notes stack traces with the paths of this computer.
    assert b".py" not in ir.serde.serialize_model(model).SerializeToString()


class Branch(nn.Module):
    """Its result depends on a branch over a value."""

    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


class Decomposition(nn.Module):
    """Uses an operator that ONNX has no form for."""

    def forward(self, x):
        return torch.linalg.svd(x)[1]


class Counting(nn.Module):
    """Counts its calls."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x + self.calls


class Pair(nn.Module):
    """Two outputs."""

    def forward(self, x):
        return x, x + 1


class Number(nn.Module):
    """Returns a plain number."""

    def forward(self, x):
        return x + 1, 3


Z = TensorSpec("z", (1,))
REFUSED = [
    (Branch(), [IMAGE], ["y"], UnsupportedError, "cannot trace Branch: a branch or loop depends on the val"),
    (Decomposition(), [IMAGE], ["y"], UnsupportedError, r"ONNX form of the operator aten\._linalg_svd"),
    (Counting(), [IMAGE], ["y"], UnsupportedError, "Counting changes its buffer 'calls'"),
    (Number(), [IMAGE], ["y"], UnsupportedError, "Number returns 3, which is not a tensor"),
    (Pair(), [IMAGE], ["y"], UsageError, r"Pair has 2 output\(s\), not 1 as the names y"),
    (Pair(), [IMAGE], ["y", "x"], UsageError, "tensor names are not unique: x, y, x"),
    (nn.Conv2d(3, 3, 1), [IMAGE], ["y"], UsageError, r"fails on .*\(x 1x4x8x8 float32\): .* 3 channels"),
    (nn.ReLU(), [IMAGE, Z], ["y"], UsageError, "ReLU fails on inputs of these shapes"),
    (nn.ReLU(), [TensorSpec("x", (1,), "float99")], ["y"], UsageError, "unknown type 'float99'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "inputs", "names", "kind", "message"),
    REFUSED,
    ids=[f"{type(row[0]).__name__} {row[3].__name__}" for row in REFUSED],
)
def test_refusals_are_one_sentence(capfd, module, inputs, names, kind, message):
    with pytest.raises(ToolchainError, match=message) as caught:
        torch_to_onnx(module, inputs, names)
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")
    assert module.training

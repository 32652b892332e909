"""The fake-quantized network computes what the pairs of its exported graph compute, and trains."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.nn import functional

from toolchain.converters.graph import clean
from toolchain.converters.quantize.calibrate import calibrate
from toolchain.converters.quantize.place import place_pairs
from toolchain.converters.torch_to_onnx import torch_to_onnx
from toolchain.errors import UnsupportedError
from toolchain.models.hourglass import LightHourglass
from toolchain.models.layers import InvertedResidual, conv_bn_relu6
from toolchain.runtimes.onnx_runtime import OnnxRuntime
from toolchain.spec import TensorSpec
from toolchain.training.qat import RoundedActivation, fake_quantized, rounded_weights

SIDE = 16


class Pooled(nn.Module):
    """Pools, a concatenation and an upsampling, whose values share a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn_relu6(3, 8, 3)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, image):
        wide = self.first(image)
        low = functional.interpolate(functional.max_pool2d(self.second(wide), 2), scale_factor=2.0)
        return self.head(torch.cat([wide, low], 1))


class Transposed(nn.Module):
    """A transposed convolution, and a product with a sum behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = conv_bn_relu6(3, 8, 3, stride=2)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.side = nn.Conv2d(3, 6, 1)

    def forward(self, image):
        made = self.up(self.down(image))
        return functional.relu(made + self.side(image) * made)


NETWORKS = {
    "pooled": Pooled,
    "transposed": Transposed,
    "inverted-residual": lambda: nn.Sequential(conv_bn_relu6(3, 8, 3), InvertedResidual(8, 8, 4)),
    "classifier": lambda: nn.Sequential(
        conv_bn_relu6(3, 8, 3, stride=2), nn.Flatten(), nn.Linear(8 * (SIDE // 2) ** 2, 10)
    ),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    made = NETWORKS[request.param]()
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.3, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    return made.eval()


def pairs_answer(network: nn.Module, image: torch.Tensor) -> tuple[np.ndarray, float]:
    """What the graph with pairs makes of the picture, and the step of its output."""
    graph = torch_to_onnx(network, [TensorSpec("image", tuple(image.shape), layout="NCHW")], ["made"])
    clean(graph)
    sample = {"image": image.numpy()}
    place_pairs(graph, calibrate(graph, [sample], "minmax").ranges)
    with OnnxRuntime(ir.to_proto(graph).SerializeToString()) as runtime:
        made = runtime.run(sample)["made"]
    values = np.unique(made)
    return made, float(np.diff(values).min())


@torch.no_grad()
def test_computes_what_the_pairs_of_the_exported_graph_compute(network):
    image = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    rounded = fake_quantized(network)
    for layer in rounded.modules():
        if isinstance(layer, RoundedActivation):
            layer.train()
    rounded(image)
    # Ranges were seen behind rounded values here, and behind those of floats by the calibration: a step of
    # one value differs a little from that of the other.
    made = rounded.eval()(image).numpy()
    expected, step = pairs_answer(network, image)
    off = np.abs(made - expected) / step
    assert (off < 1.5).mean() > 0.95
    assert off.max() < 4


def test_training_it_trains_the_network_itself(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rounded = fake_quantized(network).train()
    optimizer = torch.optim.SGD(rounded.parameters(), 0.01)
    rounded(torch.rand(2, 3, SIDE, SIDE)).square().mean().backward()
    optimizer.step()
    after = network.state_dict()
    assert list(after) == list(before)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, _ in network.named_parameters()}


@torch.no_grad()
def test_a_video_parser_of_two_inputs_is_rounded_too():
    torch.manual_seed(0)
    network = LightHourglass(8, 3).eval()
    image, previous = torch.rand(2, 3, 32, 32), torch.rand(2, 10, 32, 32)
    rounded = fake_quantized(network).train()
    rounded(image, previous)
    made, expected = rounded.eval()(image, previous), network(image, previous)
    noise = (made - expected).square().mean() / expected.square().mean()
    assert 20 < -10 * torch.log10(noise) < 60


def test_rounded_weights_take_no_more_than_255_values_a_channel():
    weights = torch.randn(3, 400)
    made = rounded_weights(weights, 0)
    scale = weights.abs().amax(1, keepdim=True) / 127
    assert torch.allclose(made / scale, (weights / scale).round(), atol=1e-4)


def test_the_range_follows_the_data_in_training_and_is_kept_in_evaluation():
    layer = RoundedActivation(2)
    layer(torch.tensor([-1.0, 2.0]), 0)
    layer(torch.tensor([0.5, 5.0]), 1)
    assert (layer.low.min(), layer.high.max()) == (-1, 5)
    layer.eval()(torch.tensor([100.0]), 0)
    assert (layer.low.min(), layer.high.max()) == (-1, 5)


def test_control_flow_that_depends_on_values_is_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError, match="cannot be traced"):
        fake_quantized(Branching())

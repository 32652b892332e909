"""Networks that coremltools converts from MIL, and their quantized forms, against torch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from toolchain.converters.coreml.quiet import spared_collections
from toolchain.runtimes.neuralnetwork.execute import NeuralNetwork

RNG = np.random.default_rng(12)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture
def converted(coremltools, saved):
    """Converts a MIL program for iOS 14; pictures by name become image inputs."""
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, Placeholder, Program, types

    def convert(build, inputs, pictures=()):
        program = Program()
        placeholders = {name: Placeholder(array.shape, dtype=types.fp32) for name, array in inputs.items()}
        with Function(placeholders, opset_version=coremltools.target.iOS13) as function:
            made = build(Builder, **function.inputs)
            function.set_outputs(list(made) if isinstance(made, tuple | list) else [made])
        program.add_function("main", function)
        kinds = [
            coremltools.ImageType(name=name, shape=array.shape, scale=0.5, bias=[-1.0, -2.0, -3.0])
            if name in pictures
            else coremltools.TensorType(name=name, shape=array.shape)
            for name, array in inputs.items()
        ]
        with spared_collections(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return coremltools.convert(
                program,
                source="milinternal",
                convert_to="neuralnetwork",
                minimum_deployment_target=coremltools.target.iOS14,
                inputs=kinds,
                skip_model_load=True,
            )

    return convert


@pytest.fixture
def check(converted, saved):
    def run(build, inputs, expected, pictures=(), tolerance=1e-4):
        network = NeuralNetwork(saved(converted(build, inputs, pictures).get_spec()))
        wanted = expected if isinstance(expected, tuple) else (expected,)
        for have, want in zip(network.run(inputs).values(), wanted, strict=True):
            np.testing.assert_allclose(have, np.asarray(want), rtol=tolerance, atol=tolerance)
            assert have.shape == tuple(want.shape)

    return run


W1, W2, W3 = normal(8, 7, 3, 3) * 0.2, normal(8, 1, 3, 3), normal(5, 8, 1, 1)
BIAS = normal(8)


def small_network(mb, image, previous):
    x = mb.concat(values=[image, previous], axis=1)
    x = mb.relu6(x=mb.conv(x=x, weight=W1, bias=BIAS, strides=[2, 2], pad_type="same"))
    y = mb.conv(x=x, weight=W2, groups=8, pad=[1, 1, 1, 1], pad_type="custom")
    x = mb.add(x=mb.leaky_relu(x=y, alpha=0.1), y=x)
    x = mb.resize_bilinear(x=x, target_size_height=12, target_size_width=16, sampling_mode="OFFSET_CORNERS")
    x = mb.conv(x=x, weight=W3, pad_type="valid")
    return mb.softmax(x=x, axis=1, name="scores"), mb.reduce_argmax(x=x, axis=1, keep_dims=True, name="mask")


def small_network_in_torch(image, previous):
    x = torch.cat([image * 0.5 - torch.tensor([1.0, 2.0, 3.0])[:, None, None], previous], 1)
    x = F.conv2d(F.pad(x, (0, 1, 0, 1)), torch.tensor(W1), torch.tensor(BIAS), 2).clamp(0, 6)
    x = F.leaky_relu(F.conv2d(x, torch.tensor(W2), groups=8, padding=1), 0.1) + x
    rows, columns = (((np.arange(2 * n) + 0.5) * (n - 1) / (2 * n)).astype(np.float32) for n in x.shape[2:])
    grid = torch.stack(
        [
            torch.tensor(columns / (x.shape[3] - 1) * 2 - 1).expand(len(rows), -1),
            torch.tensor(rows / (x.shape[2] - 1) * 2 - 1)[:, None].expand(-1, len(columns)),
        ],
        -1,
    )
    x = F.conv2d(F.grid_sample(x, grid[None], align_corners=True), torch.tensor(W3))
    return torch.softmax(x, 1), x.argmax(1, keepdim=True)


INPUTS = {
    "image": np.floor(RNG.random((1, 3, 12, 16)) * 256).astype(np.float32),
    "previous": normal(1, 4, 12, 16),
}


def test_small_network(check):
    want = small_network_in_torch(*map(torch.tensor, INPUTS.values()))
    check(small_network, INPUTS, want, pictures=("image",))


X = normal(2, 6, 5, 7)
T = torch.tensor(X)
MATRIX, OFFSET, KERNEL, VECTORS = normal(7, 4), normal(6, 1, 1), normal(6, 4, 4, 4), normal(3, 2)
TWO = np.float32(2)
PADS = {"pad_type": "custom", "pad": [1, 1, 1, 1]}


def looked_up(mb, x):
    """Rows of a table by the sign of x plus one."""
    return mb.gather(
        x=VECTORS, indices=mb.cast(x=mb.add(x=mb.sign(x=x), y=np.float32(1)), dtype="int32"), axis=0
    )


OPERATORS = {
    "sub": (lambda mb, x: mb.sub(x=x, y=OFFSET), T - torch.tensor(OFFSET)),
    "real_div": (lambda mb, x: mb.real_div(x=x, y=TWO), T / 2),
    "mul by scalar": (lambda mb, x: mb.mul(x=TWO, y=x), T * 2),
    "square": (lambda mb, x: mb.square(x=x), T**2),
    "log": (lambda mb, x: mb.log(x=mb.abs(x=x)), T.abs().log()),
    "silu": (lambda mb, x: mb.silu(x=x), F.silu(T)),
    "cast": (lambda mb, x: mb.cast(x=mb.mul(x=x, y=TWO), dtype="int32"), (T * 2).trunc()),
    "select": (lambda mb, x: mb.select(cond=mb.less(x=x, y=mb.exp(x=x)), a=x, b=x), T),
    "layer_norm": (lambda mb, x: mb.layer_norm(x=x, axes=[2, 3]), F.layer_norm(T, (5, 7))),
    "layer_norm as mvn": (
        lambda mb, x: mb.layer_norm(x=mb.reshape(x=x, shape=[12, 5, 7]), axes=[-1], epsilon=0.1),
        F.layer_norm(T.reshape(12, 5, 7), (7,), eps=0.1),
    ),
    "instance_norm": (lambda mb, x: mb.instance_norm(x=x, epsilon=1e-3), F.instance_norm(T, eps=1e-3)),
    "batch_norm": (
        lambda mb, x: mb.batch_norm(x=x, mean=OFFSET.ravel(), variance=np.full(6, 2, np.float32)),
        (T - torch.tensor(OFFSET)) / np.sqrt(2 + 1e-5),
    ),
    "local_response_norm": (
        lambda mb, x: mb.local_response_norm(x=x, size=3, alpha=0.5, beta=0.75, k=2.0),
        F.local_response_norm(T, 3, 0.5, 0.75, 2.0),
    ),
    "matmul": (lambda mb, x: mb.matmul(x=x, y=MATRIX), T @ torch.tensor(MATRIX)),
    "linear": (
        lambda mb, x: mb.linear(x=mb.reshape(x=x, shape=[60, 7]), weight=np.ascontiguousarray(MATRIX.T)),
        T.reshape(60, 7) @ torch.tensor(MATRIX),
    ),
    "einsum": (
        lambda mb, x: mb.einsum(values=(x, mb.transpose(x=x, perm=[0, 3, 2, 1])), equation="abcd,adce->abce"),
        torch.einsum("abcd,adce->abce", T, T.permute(0, 3, 2, 1)),
    ),
    "avg_pool": (
        lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[2, 3], strides=[2, 2], pad_type="valid"),
        F.avg_pool2d(T, (2, 3), 2),
    ),
    "max_pool, ceil_mode": (
        lambda mb, x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], ceil_mode=True, **PADS),
        F.max_pool2d(T, 3, 2, 1, ceil_mode=True),
    ),
    "reduce_mean": (
        lambda mb, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True),
        T.mean((2, 3), keepdim=True),
    ),
    "reduce_sum": (lambda mb, x: mb.reduce_sum(x=x, axes=[0, 2], keep_dims=False), T.sum((0, 2))),
    "slice of one axis": (
        lambda mb, x: mb.slice_by_index(x=x, begin=[0, 0, 0, 2], end=[2, 6, 5, 6]),
        T[..., 2:6],
    ),
    "slice of axes": (
        lambda mb, x: mb.slice_by_index(x=x, begin=[0, 1, 0, 2], end=[2, 5, 5, 7], stride=[1, 2, 1, 3]),
        T[:, 1:5:2, :, 2::3],
    ),
    "split": (lambda mb, x: tuple(mb.split(x=x, split_sizes=[1, 5], axis=1)), (T[:, :1], T[:, 1:])),
    "upsample_nearest_neighbor": (
        lambda mb, x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        T.repeat_interleave(2, 2).repeat_interleave(3, 3),
    ),
    "upsample_bilinear": (
        lambda mb, x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False
        ),
        F.interpolate(T, scale_factor=2, mode="bilinear"),
    ),
    "pad": (lambda mb, x: mb.pad(x=x, pad=[1, 2, 3, 0], mode="reflect"), F.pad(T, (3, 0, 1, 2), "reflect")),
    "pad of channels": (
        lambda mb, x: mb.pad(x=x, pad=[0, 0, 2, 1, 0, 0, 0, 0], mode="constant", constant_val=1.5),
        F.pad(T, (0, 0, 0, 0, 2, 1), value=1.5),
    ),
    "transpose": (lambda mb, x: mb.transpose(x=x, perm=[0, 2, 3, 1]), T.permute(0, 2, 3, 1)),
    "pixel_shuffle": (
        lambda mb, x: mb.pixel_shuffle(x=mb.reshape(x=x, shape=[1, 12, 5, 7]), upscale_factor=2),
        F.pixel_shuffle(T.reshape(1, 12, 5, 7), 2),
    ),
    "conv_transpose": (
        lambda mb, x: mb.conv_transpose(x=x, weight=KERNEL, strides=[2, 2], **PADS),
        F.conv_transpose2d(T, torch.tensor(KERNEL), stride=2, padding=1),
    ),
    "conv of rank 3": (
        lambda mb, x: mb.conv(
            x=mb.reshape(x=x, shape=[2, 6, 35]), weight=KERNEL[:, :, 0][:, [0, 1, 2, 3, 0, 1]]
        ),
        F.conv1d(T.reshape(2, 6, 35), torch.tensor(KERNEL[:, :, 0][:, [0, 1, 2, 3, 0, 1]])),
    ),
    "gather": (looked_up, torch.tensor(VECTORS)[T.sign().long() + 1]),
    "cond": (
        lambda mb, x: mb.cond(
            pred=mb.greater(x=mb.reduce_max(x=x, keep_dims=False), y=TWO * 50),
            _true_fn=lambda: mb.mul(x=x, y=TWO),
            _false_fn=lambda: mb.add(x=x, y=TWO),
        ),
        T + 2,
    ),
    "while_loop": (
        lambda mb, x: mb.while_loop(
            _cond=lambda value: mb.less(x=mb.reduce_max(x=value, keep_dims=False), y=TWO * 50),
            _body=lambda value: mb.mul(x=value, y=TWO),
            loop_vars=(x,),
        ),
        T * 2 ** int(np.ceil(np.log2(100 / X.max()))),
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator(check, name):
    build, want = OPERATORS[name]
    check(build, {"x": X}, want)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_recurrent_operators(check, direction):
    x, h, c = normal(4, 2, 3), normal(2, 5), normal(2, 5)
    module = torch.nn.LSTM(3, 5)
    w_x, w_h = (getattr(module, f"weight_{kind}_l0").detach().numpy() for kind in ("ih", "hh"))
    bias = sum(getattr(module, f"bias_{kind}_l0").detach().numpy() for kind in ("ih", "hh"))
    order = [0, 1, 3, 2]  # MIL has the gates i, f, o, z, torch i, f, z, o

    def reordered(values):
        return np.concatenate([np.split(values, 4)[gate] for gate in order])

    def build(mb, x, h, c):
        return mb.lstm(
            x=x,
            initial_h=h,
            initial_c=c,
            weight_ih=reordered(w_x),
            weight_hh=reordered(w_h),
            bias=reordered(bias),
            direction=direction,
        )

    tensors = [torch.tensor(value) for value in (x if direction == "forward" else x[::-1].copy(), h, c)]
    _, (last_h, last_c) = module(tensors[0], (tensors[1][None], tensors[2][None]))
    want = tuple(value.detach() for value in (last_h, last_h[0], last_c[0]))
    check(build, {"x": x, "h": h, "c": c}, want)


@pytest.mark.parametrize(
    ("bits", "mode"),
    [
        (16, "linear"),
        (8, "linear"),
        (8, "linear_symmetric"),
        (5, "linear"),
        (4, "linear_lut"),
        (2, "linear_lut"),
    ],
)
def test_quantized_network(coremltools, converted, saved, bits, mode):
    """coremltools' own dequantization says which weights a quantized file holds."""
    from coremltools.models.neural_network import quantization_utils

    model = converted(small_network, INPUTS, ("image",))
    quantized = quantization_utils.quantize_weights(model, bits, mode)
    spec = getattr(quantized, "get_spec", lambda: quantized)()
    found = NeuralNetwork(saved(spec)).run(INPUTS)["scores"]
    exact = NeuralNetwork(saved(model.get_spec())).run(INPUTS)["scores"]
    assert not np.array_equal(found, exact)
    if bits == 16:
        assert np.abs(found - exact).max() < 1e-2
        return
    quantization_utils._dequantize_nn_spec(spec.neuralNetwork)
    assert spec.neuralNetwork.layers[1].convolution.weights.floatValue
    again = NeuralNetwork(saved(spec)).run(INPUTS)["scores"]
    np.testing.assert_allclose(found, again, rtol=1e-4, atol=1e-5)

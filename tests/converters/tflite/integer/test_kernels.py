"""Integer kernels one by one: LiteRT, with XNNPACK and without, against the QDQ graph in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.quantize.scheme import INTEGER

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


X = (1, 8, 9, 11)
CONV = {"w": normal(12, 8, 3, 3) * 0.2, "b": normal(12) * 0.3}
DEPTHWISE = {"w": normal(8, 1, 3, 3) * 0.4, "b": normal(8) * 0.3}

# id, operator, shape of the input, constants in order, attributes, what the file must consist of.
ROWS = [
    ("conv", "Conv", X, CONV, {"pads": [1, 1, 1, 1]}, {"CONV_2D"}),
    ("conv-no-bias", "Conv", X, {"w": CONV["w"]}, {"strides": [2, 2]}, {"CONV_2D"}),
    ("conv-pads", "Conv", X, CONV, {"pads": [2, 0, 1, 1]}, {"PAD", "CONV_2D"}),
    ("conv-grouped", "Conv", X, {"w": normal(12, 4, 3, 3)}, {"group": 2}, {"CONV_2D"}),
    ("conv-dilated", "Conv", X, CONV, {"dilations": [2, 2]}, {"CONV_2D"}),
    ("conv-1d", "Conv", (1, 6, 21), {"w": normal(5, 6, 3)}, {}, {"RESHAPE", "CONV_2D"}),
    ("depthwise", "Conv", X, DEPTHWISE, {"group": 8, "pads": [1, 1, 1, 1]}, {"DEPTHWISE_CONV_2D"}),
    ("depthwise-multiplier", "Conv", X, {"w": normal(16, 1, 3, 3)}, {"group": 8}, {"DEPTHWISE_CONV_2D"}),
    ("depthwise-large", "Conv", X, {"w": normal(8, 1, 7, 7)}, {"group": 8, "pads": [3] * 4}, {"CONV_2D"}),
    (
        "depthwise-large-strided",
        "Conv",
        (1, 24, 20, 20),
        {"w": normal(24, 1, 9, 3), "b": normal(24)},
        {"group": 24, "strides": [2, 2], "dilations": [1, 2]},
        {"CONV_2D"},
    ),
    ("depthwise-large-odd", "Conv", (1, 7, 9, 9), {"w": normal(7, 1, 7, 7)}, {"group": 7}, {"CONV_2D"}),
    (
        "depthwise-large-prime",
        "Conv",
        (1, 17, 9, 9),
        {"w": normal(17, 1, 7, 7)},
        {"group": 17},
        {"DEPTHWISE_CONV_2D"},
    ),
    (
        "deconv",
        "ConvTranspose",
        X,
        {"w": normal(8, 6, 2, 2), "b": normal(6)},
        {"strides": [2, 2]},
        {"TRANSPOSE_CONV"},
    ),
    (
        "deconv-cut",
        "ConvTranspose",
        X,
        {"w": normal(8, 6, 4, 4)},
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"TRANSPOSE_CONV"},
    ),
    ("gemm", "Gemm", (4, 30), {"w": normal(30, 7), "b": normal(7)}, {}, {"FULLY_CONNECTED"}),
    (
        "gemm-turned",
        "Gemm",
        (4, 30),
        {"w": normal(7, 30), "b": normal(7)},
        {"transB": 1},
        {"FULLY_CONNECTED"},
    ),
    ("matmul", "MatMul", (2, 5, 30), {"w": normal(30, 7)}, {}, {"FULLY_CONNECTED"}),
    ("add-constant", "Add", X, {"c": normal(8, 1, 1)}, {}, {"ADD"}),
    ("sub-constant", "Sub", X, {"c": normal(8, 1, 1)}, {}, {"SUB"}),
    ("mul-constant", "Mul", X, {"c": normal(8, 1, 1)}, {}, {"MUL"}),
    ("mul-scalar", "Mul", X, {"c": np.float32(0.3)}, {}, {"MUL"}),
    ("relu", "Relu", X, {}, {}, {"QUANTIZE"}),
    ("relu6", "Clip", X, {"l": np.float32(0), "h": np.float32(6)}, {}, {"QUANTIZE"}),
    ("clip", "Clip", X, {"l": np.float32(-0.5), "h": np.float32(0.7)}, {}, {"QUANTIZE", "MINIMUM"}),
    ("leaky", "LeakyRelu", X, {}, {"alpha": 0.1}, {"LEAKY_RELU"}),
    (
        "prelu",
        "PRelu",
        X,
        {"s": RNG.uniform(0, 1, (8, 1, 1)).astype(np.float32)},
        {},
        {"QUANTIZE", "MUL", "MAXIMUM"},
    ),
    ("prelu-one-slope", "PRelu", X, {"s": np.full((8, 1, 1), 0.25, np.float32)}, {}, {"LEAKY_RELU"}),
    ("prelu-any-slope", "PRelu", X, {"s": normal(8, 1, 1)}, {}, {"MUL", "ADD", "MAXIMUM", "MINIMUM"}),
    ("log-softmax", "LogSoftmax", X, {}, {"axis": 1}, {"LOG_SOFTMAX"}),
    ("exp", "Exp", X, {}, {}, {"EXP"}),
    ("arg-max", "ArgMax", X, {}, {"axis": 1}, {"ARG_MAX", "CAST", "RESHAPE"}),
    ("arg-min", "ArgMin", X, {}, {"axis": 1, "keepdims": 0}, {"ARG_MIN", "CAST", "RESHAPE"}),
    ("elu", "Elu", X, {}, {}, {"ELU"}),
    ("gelu", "Gelu", X, {}, {}, {"GELU"}),
    ("gelu-tanh", "Gelu", X, {}, {"approximate": "tanh"}, {"GELU"}),
    ("hard-swish", "HardSwish", X, {}, {}, {"MUL", "ADD"}),
    ("swish", "Swish", X, {}, {}, {"LOGISTIC", "MUL"}),
    ("sigmoid", "Sigmoid", X, {}, {}, {"LOGISTIC"}),
    ("tanh", "Tanh", X, {}, {}, {"TANH"}),
    ("softmax", "Softmax", X, {}, {"axis": 1}, {"SOFTMAX"}),
    ("abs", "Abs", X, {}, {}, {"LEAKY_RELU"}),
    ("neg", "Neg", X, {}, {}, {"MUL"}),
    ("max-pool", "MaxPool", X, {}, {"kernel_shape": [2, 2], "strides": [2, 2]}, {"MAX_POOL_2D"}),
    (
        "max-pool-pads",
        "MaxPool",
        X,
        {},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]},
        {"PADV2", "MAX_POOL_2D"},
    ),
    (
        "average-pool",
        "AveragePool",
        X,
        {},
        {"kernel_shape": [3, 3], "strides": [2, 2]},
        {"DEPTHWISE_CONV_2D"},
    ),
    (
        "average-pool-counted",
        "AveragePool",
        X,
        {},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        {"PAD", "DEPTHWISE_CONV_2D"},
    ),
    ("global-average", "GlobalAveragePool", X, {}, {}, {"MEAN"}),
    ("global-max", "GlobalMaxPool", X, {}, {}, {"REDUCE_MAX"}),
    ("mean-channels", "ReduceMean", X, {"axes": ints(1)}, {}, {"MEAN"}),
    ("mean-dropped", "ReduceMean", X, {"axes": ints(2, 3)}, {"keepdims": 0}, {"MEAN"}),
    ("sum", "ReduceSum", X, {"axes": ints(3)}, {}, {"SUM"}),
    ("reduce-max", "ReduceMax", X, {"axes": ints(3)}, {}, {"REDUCE_MAX"}),
    ("reduce-min", "ReduceMin", X, {"axes": ints(2)}, {}, {"REDUCE_MIN"}),
    ("max-constant", "Max", X, {"c": normal(8, 1, 1) * 0.3}, {}, {"MAXIMUM"}),
    ("min-constant", "Min", X, {"c": normal(8, 1, 1) * 0.3}, {}, {"MINIMUM"}),
    ("reshape", "Reshape", (1, 8, 6), {"s": ints(1, 4, 12)}, {}, {"RESHAPE"}),
    ("flatten", "Flatten", (1, 8, 6), {}, {}, {"RESHAPE"}),
    ("squeeze", "Squeeze", (1, 8, 6), {"a": ints(0)}, {}, {"RESHAPE"}),
    ("unsqueeze", "Unsqueeze", (1, 8, 6), {"a": ints(1)}, {}, {"RESHAPE"}),
    ("transpose", "Transpose", (3, 8, 6), {}, {"perm": [2, 0, 1]}, {"TRANSPOSE"}),
    ("pad", "Pad", (1, 8, 6), {"p": ints(0, 1, 2, 0, 3, 1)}, {}, {"PAD"}),
    ("pad-value", "Pad", (1, 8, 6), {"p": ints(0, 1, 2, 0, 3, 1), "v": np.float32(0.5)}, {}, {"PADV2"}),
    ("pad-reflect", "Pad", (1, 8, 6), {"p": ints(0, 1, 2, 0, 3, 1)}, {"mode": "reflect"}, {"MIRROR_PAD"}),
    ("slice", "Slice", (1, 8, 6), {"s": ints(1), "e": ints(5), "a": ints(1)}, {}, {"STRIDED_SLICE", "SLICE"}),
    ("gather", "Gather", (1, 8, 6), {"i": ints(3, 1, 0)}, {"axis": 1}, {"GATHER"}),
    (
        "gather-elements",
        "GatherElements",
        (8, 6),
        {"i": ints(3, 1, 0, 2, 2, 5).reshape(1, 6)},
        {"axis": 0},
        {"GATHER_ND", "GATHER", "RESHAPE"},
    ),
    (
        "gather-nd",
        "GatherND",
        (8, 6),
        {"i": ints(3, 1, 0, 2).reshape(2, 2)},
        {},
        {"GATHER_ND", "GATHER", "RESHAPE"},
    ),
    ("expand", "Expand", (1, 8, 1), {"s": ints(1, 8, 5)}, {}, {"BROADCAST_TO"}),
    ("tile", "Tile", (1, 8, 3), {"r": ints(1, 2, 2)}, {}, {"TILE"}),
    (
        "depth-to-space",
        "DepthToSpace",
        X,
        {},
        {"blocksize": 2},
        {"DEPTH_TO_SPACE", "TRANSPOSE", "RESHAPE", "GATHER"},
    ),
    (
        "space-to-depth",
        "SpaceToDepth",
        (1, 4, 6, 6),
        {},
        {"blocksize": 2},
        {"SPACE_TO_DEPTH", "TRANSPOSE", "RESHAPE"},
    ),
    (
        "resize-nearest",
        "Resize",
        X,
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        {"RESIZE_NEAREST_NEIGHBOR"},
    ),
    (
        "resize-linear",
        "Resize",
        X,
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
        {"mode": "linear"},
        {"RESIZE_BILINEAR"},
    ),
    (
        "resize-by-matrices",
        "Resize",
        X,
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 1.5, 0.5], np.float32)},
        {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
        {"BATCH_MATMUL", "RESHAPE"},
    ),
    (
        "average-pool-same",
        "AveragePool",
        X,
        {},
        {"kernel_shape": [3, 3], "pads": [1] * 4},
        {"AVERAGE_POOL_2D"},
    ),
    ("average-pool-whole", "AveragePool", X, {}, {"kernel_shape": [9, 11]}, {"MEAN"}),
    (
        "deconv-grouped",
        "ConvTranspose",
        X,
        {"w": normal(8, 1, 3, 3)},
        {"group": 8, "strides": [2, 2]},
        {"RESHAPE", "PAD", "DEPTHWISE_CONV_2D"},
    ),
    (
        "slice-back",
        "Slice",
        X,
        {"s": ints(7), "e": ints(0), "a": ints(2), "st": ints(-2)},
        {},
        {"STRIDED_SLICE"},
    ),
    ("hard-sigmoid", "HardSigmoid", X, {}, {}, {"MUL", "ADD"}),
]
# Operators of several inputs, tested by name below.
ELSEWHERE = {"Concat", "Split", "Identity", "Log", "Where"}
BORDERS = {"QUANTIZE", "DEQUANTIZE"}
# Functions of tables and of fixed-point series, and what is rounded twice.
STEPS = {"swish": 2, "softmax": 2, "average-pool-counted": 2, "resize-linear": 1}


# Share of values that may differ by a step, where more than one rounding lies between: 5 % otherwise.
PARTED = {"prelu-any-slope": 0.15, "swish": 0.1, "hard-swish": 0.06}


@pytest.mark.parametrize(
    ("case", "op", "shape", "constants", "attributes", "ops"), ROWS, ids=[r[0] for r in ROWS]
)
def test_kernel(make_node_model, quantize, side_by_side, case, op, shape, constants, attributes, ops):
    feeds = {"x": np.random.default_rng(3).standard_normal(shape).astype(np.float32) * 2}
    opset = 24 if op == "Swish" else 20
    qdq = quantize(make_node_model(op, feeds, constants, opset=opset, **attributes), feeds)
    found = side_by_side(qdq, feeds)
    assert set(found.converted.ops) - BORDERS <= ops, found.converted.ops
    assert not found.converted.report.floats
    assert found.steps <= STEPS.get(case, 1) + 1e-2, (found.steps, found.parted)
    assert found.parted <= PARTED.get(case, 0.05), found.parted


def test_every_integer_operator_has_a_row():
    assert set(INTEGER) - ELSEWHERE <= {row[1] for row in ROWS}

"""Files of old opsets compute after the conversion what ONNX Runtime computes from the original."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from toolchain.converters.graph import clean, load_onnx
from toolchain.errors import UnsupportedError


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 2, shape).astype(np.float32)


def scales(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


NORM = {"a": floats(3), "b": floats(3), "c": floats(3), "d": floats(3)}
CASES = [
    (7, 'y = Upsample<mode="nearest", scales=[1.0,1.0,2.0,2.0]>(x)', {}),
    (8, 'y = Upsample<mode="linear", scales=[1.0,1.0,2.0,2.0]>(x)', {}),
    (9, 'y = Upsample<mode="nearest">(x, s)', {"s": scales(1, 1, 1.3, 1.6)}),
    (9, 'y = Upsample<mode="linear">(x, s)', {"s": scales(1, 1, 2, 3)}),
    (10, 'y = Resize<mode="nearest">(x, s)', {"s": scales(1, 1, 2.3, 1.3)}),
    (10, 'y = Resize<mode="nearest">(x, s)', {"s": scales(1, 1, 0.3, 0.6)}),
    (10, 'y = Resize<mode="linear">(x, s)', {"s": scales(1, 1, 1.5, 0.7)}),
    (10, 's = Constant<value=float[4]{1,1,2.5,1}>() y = Resize<mode="nearest">(x, s)', {}),
    (11, 'y = Resize<mode="linear", coordinate_transformation_mode="pytorch_half_pixel">(x, e, s)',
     {"s": scales(1, 1, 1.5, 3), "e": scales()}),
    (11, 'y = Resize<mode="nearest", nearest_mode="ceil">(x, e, s)',
     {"s": scales(1, 1, 0.5, 0.7), "e": scales()}),
    (7, "y = Softmax(x)", {}),
    (11, "y = Softmax<axis=1>(x)", {}),
    (11, "y = Softmax<axis=3>(x)", {}),
    (12, "y = LogSoftmax<axis=2>(x)", {}),
    (10, 'y = Pad<mode="constant", pads=[0,0,1,1,0,0,2,2], value=0.5>(x)', {}),
    (7, 'y = Pad<mode="reflect", pads=[0,0,1,1,0,0,2,2]>(x)', {}),
    (7, "y = Clip<min=-0.5, max=0.5>(x)", {}),
    (10, "y = Clip<min=0.0>(x)", {}),
    (11, "a = Squeeze<axes=[0]>(x) b = Unsqueeze<axes=[0,3]>(a) y = Neg(b)", {}),
    (7, "y = ReduceMean<axes=[2,3], keepdims=1>(x)", {}),
    (13, "y = ReduceMax<axes=[2,3], keepdims=0>(x)", {}),
    (11, "y = ReduceSum<axes=[1]>(x)", {}),
    (9, "y = Slice<axes=[1,2], starts=[1,-3], ends=[3,9999]>(x)", {}),
    (7, "y = Dropout(x)", {}),
    (7, "y = BatchNormalization(x, a, b, c, d)", NORM),
    (8, "y = BatchNormalization<spatial=1>(x, a, b, c, d)", NORM),
    (7, "y = AveragePool<kernel_shape=[2,2], pads=[1,1,0,0]>(x)", {}),
    (7, 'y = MaxPool<kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER">(x)', {}),
    (7, "v, i = TopK<k=3>(x) y = Neg(v)", {}),
    (10, "v, i = TopK(x, k) y = Neg(v)", {"k": ints(2)}),
    (11, "a, b = Split<axis=1, split=[1,2]>(x) y = Concat<axis=1>(b, a)", {}),
    (13, "a, b = Split<axis=3>(x) y = Concat<axis=3>(b, a)", {}),
    (7, "f = Flatten(x) y = Gemm<transB=1>(f, w, b)", {"w": floats(4, 60), "b": floats(4)}),
    (7, "y = PRelu(x, w)", {"w": floats(3, 1, 1)}),
    (7, "y = Reshape(x, s)", {"s": ints(3, -1)}),
    (9, "y = Conv<pads=[1,1,1,1]>(x, w, b)", {"w": floats(40, 3, 3, 3), "b": floats(40)}),
    (9, "y = ConvTranspose<strides=[2,2]>(x, w)", {"w": floats(3, 5, 2, 2)}),
    (9, "c = Cast<to=7>(x) d = Cast<to=1>(c) y = Mul(x, d)", {}),
    (12, "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
     {"s": np.array(0.1, np.float32), "z": np.array(0, np.uint8)}),
    (10, "y = RoiAlign<output_height=2, output_width=2, sampling_ratio=2>(x, r, k)",
     {"r": scales(0, 0, 2, 3, 1, 1, 3, 4).reshape(2, 4), "k": ints(0, 0)}),
]  # fmt: skip


def file(graphs, folder, opset: int, body: str, constants: dict[str, np.ndarray]):
    before = graphs.build(f"(float[1,3,5,4] x) => (float y) {{ {body} }}", opset, **constants)
    before.graph.output[0].type.tensor_type.ClearField("shape")
    if opset < 9:
        # Files of that time list their weights among the inputs.
        before.ir_version = 3
        before.graph.input.extend(
            onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            for weight in before.graph.initializer
        )
    path = folder / "old.onnx"
    onnx.save(before, path)
    return before, path


@pytest.mark.parametrize(("opset", "body", "constants"), CASES, ids=[f"{n}: {body}" for n, body, _ in CASES])
def test_old_files_keep_their_meaning(graphs, tmp_path, opset, body, constants):
    before, path = file(graphs, tmp_path, opset, body, constants)
    model = load_onnx(path)
    assert model.opset_imports[""] == 18
    assert [value.name for value in model.graph.inputs] == ["x"]
    clean(model)
    feeds = {"x": graphs.random_inputs(before)["x"]}
    after = graphs.run(graphs.proto(model), feeds)[0]
    wanted = graphs.run(before, feeds)[0]
    assert after.shape == wanted.shape
    np.testing.assert_allclose(after, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("opset", "body", "constants", "message"),
    [
        (6, "y = Relu(x)", {}, "has opset 6; the oldest supported one is 7"),
        (12, "y = Hardmax<axis=1>(x)", {}, r"'Hardmax' \(Hardmax\) has no form in opset 18"),
        (8, "y = BatchNormalization<spatial=0>(x, a, b, c, d)", NORM, "Attribute spatial must have value 1"),
        (10, 'y = Resize<mode="nearest">(x, s)', {"s": scales(1, 1, 0.3, 1.6)}, "enlarges one axis"),
        (
            10,
            't = ReduceMean<axes=[0,1,2], keepdims=0>(x) y = Resize<mode="nearest">(x, t)',
            {},
            "computes its",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(graphs, tmp_path, opset, body, constants, message):
    _, path = file(graphs, tmp_path, opset, body, constants)
    with pytest.raises(UnsupportedError, match=message) as caught:
        load_onnx(path)
    assert "opset 18" in caught.value.hint


def test_newer_files_keep_their_opset(graphs, tmp_path):
    _, path = file(graphs, tmp_path, 21, "y = Relu(x)", {})
    assert load_onnx(path).opset_imports[""] == 21

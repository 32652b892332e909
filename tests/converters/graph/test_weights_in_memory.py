import numpy as np
import onnx
import onnx_ir as ir

from toolchain.converters.graph.weights_in_memory import weights_in_memory

TEXT = "<ir_version: 9, opset_import: ['' : 18]> f (float[1,3] x) => (float[1,3] y) { y = Add(x, w) }"


def read(weights: np.ndarray) -> ir.Model:
    proto = onnx.parser.parse_model(TEXT.replace("'", '"'))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return ir.serde.deserialize_model(onnx.ModelProto.FromString(proto.SerializeToString()))


def test_weights_are_the_same_and_no_longer_copied():
    weights = np.arange(3, dtype=np.float32)
    model = read(weights)
    assert weights_in_memory(model)
    tensor = model.graph.initializers["w"].const_value
    np.testing.assert_array_equal(tensor.numpy(), weights)
    assert tensor.numpy() is tensor.numpy()
    assert tensor.name == "w"
    assert not weights_in_memory(model)


def test_the_model_is_written_as_before():
    model = read(np.arange(3, dtype=np.float32))
    before = ir.serde.serialize_model(model).SerializeToString()
    weights_in_memory(model)
    assert ir.serde.serialize_model(model).SerializeToString() == before


def test_types_that_numpy_has_not_stay():
    packed = ir.Tensor(np.arange(4, dtype=np.uint8), name="w").numpy().astype(ir.DataType.UINT4.numpy())
    model = read(np.zeros(3, np.float32))
    proto = ir.serde.serialize_tensor(ir.Tensor(packed, dtype=ir.DataType.UINT4, name="w"))
    value = model.graph.initializers["w"]
    value.const_value = ir.serde.deserialize_tensor(proto)
    weights_in_memory(model)
    assert value.const_value.dtype == ir.DataType.UINT4
    np.testing.assert_array_equal(value.const_value.numpy().astype(int), np.arange(4))

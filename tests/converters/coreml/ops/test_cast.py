"""Changes of the element type."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from toolchain.errors import UnsupportedOpsError

TYPES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}
VALUES = [-2.999, -2, -1.5, -1, -0.7, -1e-6, 0, 1e-6, 0.5, 0.999, 1, 1.5, 2.5, 7.999, 1e6]


@pytest.mark.parametrize("found", TYPES)
def test_cast_and_cast_like(found, check, make_model):
    feeds = {"x": np.array(VALUES).astype(found)}
    like = {f"like_{name}": np.zeros(1, name) for name in TYPES}
    nodes = [helper.make_node("Cast", ["x"], [f"{name}_cast"], to=to) for name, to in TYPES.items()]
    nodes += [helper.make_node("CastLike", ["x", f"like_{name}"], [f"{name}_like"]) for name in TYPES]
    outputs = [node.output[0] for node in nodes]
    check(make_model(nodes, feeds, outputs, constants=like, opset=19), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["DOUBLE", "FLOAT16", "UINT8"])
def test_other_types_are_refused(name, make_model, to_coreml):
    """Inside of the network; as an output the whole network is refused."""
    feeds = {"x": np.ones(3, np.float32)}
    nodes = [
        helper.make_node("Cast", ["x"], ["between"], to=getattr(TensorProto, name)),
        helper.make_node("Cast", ["between"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(UnsupportedOpsError, match=name.lower().replace("double", "float64")):
        to_coreml(make_model(nodes, feeds))

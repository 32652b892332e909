"""Small graphs from text, and how ONNX Runtime runs them."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper

from toolchain.converters.graph import clean
from toolchain.converters.quantize.calibrate import calibrate
from toolchain.converters.quantize.integer_forms import write_integer_forms
from toolchain.converters.quantize.place import place_pairs

ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
NONE = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def graph(text: str, opset: int = 18, **constants: np.ndarray) -> ir.Model:
    """A cleaned graph from the ONNX text form: "(float[1,3] x) => (float[1,3] y) { y = Relu(x) }"."""
    parsed = onnx.parser.parse_graph(f"test {text}")
    parsed.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    imports = [onnx.helper.make_opsetid("", opset)]
    model = ir.from_proto(onnx.helper.make_model(parsed, opset_imports=imports, ir_version=10))
    clean(model)
    return model


def run(model: ir.Model | onnx.ModelProto, feeds, level=NONE):
    """Outputs by name."""
    proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # Without it, products of int8 saturate in 16 bits on processors without VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    # Without it, products of int8 weights and 16-bit activations are computed with activations of 8 bits.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return dict(zip([v.name for v in session.get_outputs()], session.run(None, feeds), strict=True))


def random_feeds(model: ir.Model, count: int = 4, seed: int = 0):
    """Normally distributed inputs."""
    generator = np.random.default_rng(seed)
    return [
        {v.name: generator.standard_normal(v.shape.numpy()).astype(np.float32) for v in model.graph.inputs}
        for _ in range(count)
    ]


def quantized(model: ir.Model, feeds=None, **options) -> ir.Model:
    """The graph with pairs, ranges from `feeds`; the graph that was given stays float."""
    write_integer_forms(model)
    made = model.clone()
    place_pairs(made, calibrate(model, feeds or random_feeds(model)).ranges, **options)
    onnx.checker.check_model(ir.to_proto(made), full_check=True)
    return made


def stored(model: ir.Model, name: str):
    """(scale, zero point) of the pair behind the value `name`; a graph output counts as itself."""
    for node in model.graph:
        if node.op_type == "QuantizeLinear" and node.inputs[0].name in (name, f"{name}.float"):
            scale, zero = (value.const_value.numpy() for value in node.inputs[1:])
            return float(scale), int(zero)
    return None


def ops(model: ir.Model):
    return [node.op_type for node in model.graph]


@pytest.fixture(name="graph")
def graph_fixture():
    return graph


@pytest.fixture
def kit():
    """The functions of this file: tests are no package that could be imported from."""
    return sys.modules[__name__]

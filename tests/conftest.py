"""Fixtures that several folders share: small networks as files."""

from __future__ import annotations

import os
from pathlib import Path

# Workers side by side would otherwise take as many threads as there are cores, each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture(scope="session")
def data_folder() -> Path | None:
    """The real data, where TOOLCHAIN_DATA says; None on a computer without it."""
    place = os.environ.get("TOOLCHAIN_DATA")
    return Path(place) if place else None


def build_cnn(channels: int = 4, size: int = 16) -> onnx.ModelProto:
    """Conv, batch normalization, ReLU, pool, Conv: (1, 3, size, size) -> (1, 5, size / 2, size / 2)."""
    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32) * 0.3, name)

    variance = numpy_helper.from_array(random.uniform(0.5, 2, channels).astype(np.float32), "variance")
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["c1", "gamma", "beta", "mean", "variance"], ["n1"], name="norm"
        ),
        helper.make_node("Relu", ["n1"], ["r1"], name="relu"),
        helper.make_node("MaxPool", ["r1"], ["p1"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["scores"], name="second"),
    ]
    constants = [
        weights("w1", channels, 3, 3, 3),
        weights("gamma", channels),
        weights("beta", channels),
        weights("mean", channels),
        variance,
        weights("w2", 5, channels, 1, 1),
        weights("b2", 5),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5, size // 2, size // 2])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    """A small CNN as an ONNX file."""
    path = tmp_path / "cnn.onnx"
    onnx.save(build_cnn(), path)
    return path

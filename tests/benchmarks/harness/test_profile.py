"""Profiles of operators: every operator is there, shares add up, the slow one comes first."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from toolchain.benchmarks.harness.profile import _nodes, profile
from toolchain.errors import UnsupportedError, UsageError
from toolchain.export import export


@pytest.fixture
def lopsided(tmp_path: Path) -> Path:
    """A large matrix product after a small activation, as an ONNX file."""
    path = tmp_path / "lopsided.onnx"
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"], name="small"),
        helper.make_node("MatMul", ["t", "t"], ["y"], name="large"),
    ]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [400, 400]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_onnx_runtime_times_its_nodes(lopsided):
    found = profile(lopsided)
    assert [(row["name"], row["op"]) for row in found.operators] == [("large", "MatMul"), ("small", "Tanh")]
    assert sum(row["share"] for row in found.operators) == pytest.approx(1, abs=1e-4)
    assert found.operators[0]["ms"] > found.operators[1]["ms"] > 0
    assert "inside the whole network" in found.note


def test_litert_runs_every_operator_alone(cnn, tmp_path):
    [artifact] = export(cnn, formats=["tflite"], precisions=["fp32"], output=tmp_path)
    found = profile(artifact.path)
    assert sorted(row["op"] for row in found.operators) == sorted(
        op for op, count in artifact.ops.items() for _ in range(count)
    )
    assert len({row["name"] for row in found.operators}) == len(found.operators)
    assert sum(row["share"] for row in found.operators) == pytest.approx(1, abs=1e-4)
    assert "run alone" in found.note


def test_events_become_medians_over_the_runs_after_the_warm_up():
    def event(category: str, name: str, begin: int, length: int) -> dict[str, object]:
        return {"cat": category, "name": name, "ts": begin, "dur": length, "args": {"op_name": "Conv"}}

    events = [event("Session", "session_initialization", 0, 5)]
    # Three runs of warm-up, then three of 10, 20 and 60 microseconds; a node that runs twice counts twice.
    for number, length in enumerate([900, 900, 900, 10, 20, 60]):
        begin = 1000 * (number + 1)
        events += [
            event("Node", "c_kernel_time", begin + 1, length),
            event("Node", "twice_kernel_time", begin + 100, 4),
            event("Node", "twice_kernel_time", begin + 200, 6),
            event("Node", "c_fence_before", begin, 1),
            event("Session", "model_run", begin, 990),
        ]
    found = {row["name"]: row["ms"] for row in _nodes(events)}
    assert found == {"c": pytest.approx(0.020), "twice": pytest.approx(0.010)}


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("net.mlpackage", b"", UnsupportedError, "no profiler of operators"),
        ("net.tflite", None, UsageError, "no file at"),
        ("net.onnx", b"damaged", UnsupportedError, "net.onnx"),
    ],
)
def test_what_cannot_be_profiled_is_named(name, content, error, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        profile(path)

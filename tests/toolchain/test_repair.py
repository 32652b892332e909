"""`repair` leaves in float what must be, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.errors import UnsupportedError, UsageError
from toolchain.export import clean_graph
from toolchain.parity import Arrays
from toolchain.quantize import QuantizeOptions, quantized_graph
from toolchain.repair import Repair, interleaved, repair
from toolchain.source import Source, resolve
from toolchain.spec import CLASSIFICATION, SEGMENTATION

CHANNELS = 8
DEPTH = 6
SIZE = 12
LAST = f"conv_{DEPTH - 1}"


def build(folder: Path, broken: Sequence[int] = ()) -> Source:
    """A chain of convolutions with ReLUs; those in `broken` meet a channel of zeros with huge weights."""
    random = np.random.default_rng(0)
    nodes, constants = [], []
    name, inputs = "image", 3
    for index in range(DEPTH):
        outputs = 5 if index == DEPTH - 1 else CHANNELS
        weights = random.normal(0, (2 / (inputs * 9)) ** 0.5, (outputs, inputs, 3, 3)).astype(np.float32)
        if index < DEPTH - 1:
            weights[0] = 0
        if index in broken:
            weights[:, 0] = 40.0
            weights[0] = 0
        constants.append(numpy_helper.from_array(weights, f"w{index}"))
        made = "scores" if index == DEPTH - 1 else f"c{index}"
        nodes.append(
            helper.make_node("Conv", [name, f"w{index}"], [made], name=f"conv_{index}", pads=[1, 1, 1, 1])
        )
        if index < DEPTH - 1:
            nodes.append(helper.make_node("Relu", [made], [f"r{index}"], name=f"relu_{index}"))
        name, inputs = f"r{index}", outputs
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5, SIZE, SIZE])],
        constants,
    )
    path = folder / "chain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    np.savez(folder / "data.npz", image=random.standard_normal((16, 3, SIZE, SIZE)).astype(np.float32))
    source = resolve(path)
    return replace(source, spec=replace(source.spec, task=SEGMENTATION))


def repaired(
    source: Source, folder: Path, max_drop: float, *, equalize: bool = False, **more: object
) -> Repair:
    """Without equalization, which would cure the layers that are broken here."""
    notes: list[str] = []
    options = QuantizeOptions(calibration=folder / "data.npz", equalize=equalize, note=notes.append)
    return repair(source, clean_graph(source), "int8", options, max_drop, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", [(2,), (1, 4)])
def test_the_broken_layers_are_chosen_and_no_other(broken: tuple[int, ...], tmp_path: Path) -> None:
    source = build(tmp_path, broken)
    found = repaired(source, tmp_path, 4.0)
    names = {f"conv_{index}" for index in broken}
    assert {row.node for row in found.rows} == names
    assert set(found.kept) == names | {f"relu_{index}" for index in broken}
    assert found.points_before < 80
    assert found.points_after >= 96
    assert found.sqnr_after > found.sqnr_before + 15
    assert found.candidates == DEPTH
    assert (found.samples, found.inputs) == (8, str(tmp_path / "data.npz"))
    for row in found.rows:
        assert row.op == "Conv"
        assert row.points_gain > 10
        assert row.sqnr_gain > 10
        assert row.milliseconds is not None
    assert [row.alone_db for row in found.rows] == sorted(row.alone_db for row in found.rows)


def test_figures_are_those_of_the_graph_with_the_names_kept(tmp_path: Path) -> None:
    """`kept` is what the export needs: given to `quantized_graph`, it makes the accuracy reported."""
    import onnx_ir

    from toolchain.parity import compare
    from toolchain.runtimes.onnx_runtime import OnnxRuntime

    source = build(tmp_path, (2,))
    found = repaired(source, tmp_path, 4.0, timed=False)
    options = QuantizeOptions(calibration=tmp_path / "data.npz", equalize=False, kept_float=found.kept)
    pairs = quantized_graph(source, clean_graph(source), "int8", options)
    pictures = np.load(tmp_path / "data.npz")["image"][: found.samples]
    answers = []
    for model in (onnx.load(tmp_path / "chain.onnx"), onnx_ir.to_proto(pairs)):
        with OnnxRuntime(model.SerializeToString(), optimize=False) as runtime:
            answers.append([runtime.run({"image": picture[None]}) for picture in pictures])
    parity = compare(*answers, SEGMENTATION)
    assert 100 * (parity.agreement or 0) == pytest.approx(found.points_after, abs=0.01)
    assert parity.sqnr_db == pytest.approx(found.sqnr_after, abs=0.05)
    assert [row.milliseconds for row in found.rows] == [None]


def test_nothing_is_kept_where_the_gate_holds_anyway(tmp_path: Path) -> None:
    found = repaired(build(tmp_path), tmp_path, 10.0)
    assert (found.kept, found.rows) == ([], [])
    assert found.points_before == found.points_after > 90


def test_what_equalization_cures_needs_no_float(tmp_path: Path) -> None:
    found = repaired(build(tmp_path, (2,)), tmp_path, 10.0, equalize=True)
    assert (found.kept, found.points_after > 90) == ([], True)


def test_true_labels_are_the_gate_where_there_are_any(tmp_path: Path) -> None:
    """Labels of noise: they are all the same to the network, rounded or not, agreement is not."""
    source = build(tmp_path, (2,))
    data = dict(np.load(tmp_path / "data.npz"))
    labels = np.random.default_rng(1).integers(0, 5, (16, SIZE, SIZE))
    np.savez(tmp_path / "data.npz", **data, labels=labels)
    found = repaired(source, tmp_path, 2.0, timed=False)
    assert (found.metric, found.kept) == ("mean IoU", [])
    assert found.best - 2 <= found.points_after
    assert found.best < 30


def test_no_drop_at_all_needs_all_layers(tmp_path: Path) -> None:
    """Every rounding moves some label of a network that nobody trained."""
    found = repaired(build(tmp_path), tmp_path, 0.0, timed=False)
    assert found.points_after == 100.0
    assert len(found.rows) == DEPTH


def test_many_layers_are_measured_on_less_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same layers are found, in steps of several."""
    monkeypatch.setattr("toolchain.repair.MANY", 1)
    found = repaired(build(tmp_path, (1, 4)), tmp_path, 4.0, timed=False)
    assert {"conv_1", "conv_4"} == {row.node for row in found.rows}
    assert found.points_after >= 96
    assert all(row.points_gain > 10 and row.sqnr_gain > 10 for row in found.rows)


def test_a_smaller_drop_keeps_more(tmp_path: Path) -> None:
    source = build(tmp_path, (1, 4))
    drops = [60.0, 20.0, 4.0, 0.5]
    made = [repaired(source, tmp_path, drop, timed=False) for drop in drops]
    counts = [len(found.rows) for found in made]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    for found, drop in zip(made, drops, strict=True):
        assert found.points_after >= 100 - drop


def test_a_range_that_two_layers_share_frees_both(tmp_path: Path) -> None:
    """What lies between two layers is only float if both are: ranking each alone finds the pair."""
    source = build(tmp_path)
    model = onnx.load(tmp_path / "chain.onnx")
    weights = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}
    # One channel a thousand times larger, which the next layer divides away.
    weights["w1"][1] *= 1000
    weights["w2"][:, 1] /= 1000
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in weights.items())
    onnx.save(model, tmp_path / "chain.onnx")
    source = replace(resolve(tmp_path / "chain.onnx"), spec=source.spec)
    found = repaired(source, tmp_path, 6.0, timed=False)
    assert {"conv_1", "conv_2"} <= {row.node for row in found.rows}
    assert len(found.rows) == 2
    assert found.sqnr_after > found.sqnr_before + 10


def test_a_metric_of_ones_own_is_the_gate(tmp_path: Path) -> None:
    """Labels of one's own: here those of the network for class 0, the rest does not count."""
    source = replace(build(tmp_path, (2,)), head=None)
    source = replace(source, spec=replace(source.spec, task="generic"))
    truth: list[np.ndarray] = []

    def recall(made: Sequence[Arrays]) -> float:
        labels = np.stack([answer["scores"].argmax(1) for answer in made])
        if not truth:
            truth.append(labels)
        wanted = truth[0] == 0
        return 100.0 * float((labels == truth[0])[wanted].mean())

    found = repaired(source, tmp_path, 5.0, metric=recall, timed=False)
    assert [row.node for row in found.rows] == ["conv_2"]
    assert found.points_after >= 95 > found.points_before


@pytest.mark.parametrize(
    ("task", "max_drop", "message"),
    [
        ("generic", 0.5, "no labels"),
        (SEGMENTATION, -1.0, "not from 0 to 100"),
        (SEGMENTATION, float("nan"), "not from 0 to 100"),
    ],
)
def test_refusals(task: str, max_drop: float, message: str, tmp_path: Path) -> None:
    source = build(tmp_path)
    source = replace(source, spec=replace(source.spec, task=task))
    with pytest.raises(UsageError, match=message):
        repaired(source, tmp_path, max_drop)


def test_pairs_of_another_quantizer_are_refused(tmp_path: Path) -> None:
    source = build(tmp_path)
    options = QuantizeOptions(calibration=tmp_path / "data.npz")
    pairs = quantized_graph(source, clean_graph(source), "int8", options)
    with pytest.raises(UsageError, match="quantized by another tool"):
        repair(source, pairs, "int8", options, 0.5)


def test_a_gate_that_cannot_hold_is_an_error(tmp_path: Path) -> None:
    """A metric that the quantizer's own graph never reaches."""
    source = build(tmp_path)
    points = iter([100.0, *[0.0] * 100])
    with pytest.raises(UnsupportedError, match="cannot be met"):
        repaired(source, tmp_path, 1.0, metric=lambda _made: next(points))


def test_few_labels_are_said(tmp_path: Path) -> None:
    """Sixteen labels cannot judge half a point."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((4, 6)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["scores"], name="gemm", transB=1)],
        "scores",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "scores.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    np.save(tmp_path / "data.npy", random.standard_normal((16, 6)).astype(np.float32))
    source = resolve(path)
    source = replace(source, spec=replace(source.spec, task=CLASSIFICATION))
    notes: list[str] = []
    options = QuantizeOptions(calibration=tmp_path / "data.npy", note=notes.append)
    repair(source, clean_graph(source), "int8", options, 50.0, timed=False)
    assert "--max-drop is judged on 16 labels: one of them is 6.2 points" in " ".join(notes)


def test_interleaved_times_every_file(tmp_path: Path) -> None:
    from toolchain.converters.tflite import convert

    data = convert(clean_graph(build(tmp_path))).data
    times = interleaved([data, data], rounds=3)
    assert len(times) == 2
    assert min(times) > 0

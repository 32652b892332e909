"""LiteRT on files that are written here by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

from toolchain import load
from toolchain.errors import MissingDependencyError, UnsupportedError, UsageError
from toolchain.runtimes.litert import LiteRTRuntime
from toolchain.spec import TensorSpec


def expected_convolution(picture, weight, bias):
    """PyTorch's result for NHWC pictures and OHWI weights."""
    result = torch.nn.functional.conv2d(
        torch.from_numpy(picture).permute(0, 3, 1, 2),
        torch.from_numpy(weight).permute(0, 3, 1, 2),
        torch.from_numpy(bias),
        padding=1,
    )
    return result.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("delegate", [True, False])
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_convolution_computes_what_pytorch_computes(conv_file, conv_graph, rng, threads, delegate):
    _, weight, bias = conv_graph
    picture = rng.standard_normal((1, 5, 6, 3)).astype(np.float32)
    with load(conv_file, threads=threads, delegate=delegate) as runtime:
        assert runtime.inputs == (TensorSpec("image", (1, 5, 6, 3)),)
        assert runtime.outputs == (TensorSpec("logits", (1, 5, 6, 4)),)
        for scale in (1, -2):
            result = runtime.run({"image": picture * scale})["logits"]
            expected = expected_convolution(picture * np.float32(scale), weight, bias)
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_results_stay_what_they_were_when_the_network_runs_again(conv_file, rng):
    picture = rng.standard_normal((1, 5, 6, 3)).astype(np.float32)
    with load(conv_file) as runtime:
        first = runtime.run({"image": picture})["logits"]
        kept = first.copy()
        runtime.run({"image": -picture})
    np.testing.assert_array_equal(first, kept)


def test_names_of_the_signature_in_the_order_of_the_graph(make_difference, write_tflite):
    runtime = LiteRTRuntime(write_tflite(make_difference()))
    assert [spec.name for spec in runtime.inputs] == ["left", "right"]
    result = runtime.run({"right": np.ones((2, 3)), "left": np.full((2, 3), 5.0)})
    np.testing.assert_array_equal(result["result"], np.full((2, 3), 4, np.float32))


@pytest.mark.parametrize(
    ("signatures", "names"),
    [
        ({}, ["a", "b"]),
        ({"main": (0, {"left": 0, "right": 1}, {"result": 2})}, ["left", "right"]),
        (
            {
                "other": (0, {"p": 0, "q": 1}, {"r": 2}),
                "serving_default": (0, {"right": 1, "left": 0}, {"result": 2}),
            },
            ["left", "right"],
        ),
        ({"serving_default": (0, {"same": 0, "right": 1}, {"same": 2})}, ["same", "right"]),
    ],
)
def test_which_names_count(make_difference, write_tflite, signatures, names):
    runtime = LiteRTRuntime(write_tflite(make_difference(signatures=signatures)))
    assert [spec.name for spec in runtime.inputs] == names
    left, right = np.full((2, 3), 7.0), np.full((2, 3), 2.0)
    (result,) = runtime.run(dict(zip(names, (left, right), strict=True))).values()
    np.testing.assert_array_equal(result, left - right)


@pytest.mark.parametrize(
    ("signatures", "reason"),
    [
        (
            {"one": (0, {"a": 0, "b": 1}, {"c": 2}), "two": (0, {"a": 0, "b": 1}, {"c": 2})},
            "signatures one, two",
        ),
        ({"serving_default": (1, {"a": 0, "b": 1}, {"c": 2})}, "on the first subgraph"),
        ({"serving_default": (0, {"a": 0}, {"c": 2})}, "names do not cover the tensors"),
        ({"serving_default": (0, {"a": 0, "b": 99}, {"c": 2})}, "names do not cover the tensors"),
        ({"serving_default": (0, {"a": 0, "b": 1}, {"c": 1})}, "names do not cover the tensors"),
    ],
)
def test_ambiguous_or_wrong_signatures_are_refused(make_difference, write_tflite, signatures, reason):
    with pytest.raises(UnsupportedError) as caught:
        LiteRTRuntime(write_tflite(make_difference(signatures=signatures)))
    assert reason in caught.value.message


def test_a_free_batch_size_follows_the_arrays(make_difference, make_tensor, write_tflite, rng):
    tensors = [make_tensor(name, (1, 3), shape_signature=(-1, 3)) for name in "abc"]
    with LiteRTRuntime(write_tflite(make_difference(tensors=tensors))) as runtime:
        assert [spec.shape for spec in runtime.inputs + runtime.outputs] == [(-1, 3)] * 3
        for rows in (4, 2, 2, 7):
            left, right = rng.standard_normal((2, rows, 3)).astype(np.float32)
            result = runtime.run({"left": left, "right": right})["result"]
            np.testing.assert_array_equal(result, left - right)


def test_types_and_quantization_are_reported(make_difference, make_tensor, write_tflite):
    tensors = [
        make_tensor(name, (2, 3), type=schema.TensorType.INT8, scale=scale, zero_point=zero)
        for name, scale, zero in (("a", 0.5, 3), ("b", 0.5, 3), ("c", 1.0, -4))
    ]
    runtime = LiteRTRuntime(write_tflite(make_difference(tensors=tensors)))
    assert runtime.inputs[0] == TensorSpec("left", (2, 3), "int8", scale=0.5, zero_point=3)
    assert runtime.outputs == (TensorSpec("result", (2, 3), "int8", scale=1.0, zero_point=-4),)
    # (21 - 3) * 0.5 - (5 - 3) * 0.5 = 8, which is stored as 8 / 1.0 - 4.
    result = runtime.run({"left": np.full((2, 3), 21), "right": np.full((2, 3), 5)})["result"]
    np.testing.assert_array_equal(result, np.full((2, 3), 4, np.int8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a .tflite file"),
        (b"hello, world, this is text", "not a .tflite file"),
        (b"\0\0\0\0TFL3" + bytes(500), "damaged"),
        (b"\xff\xff\xff\x7fTFL3" + bytes(500), "damaged"),
        (b"\x08\0\0\0TFL3", "damaged"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, content, reason):
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError) as caught:
        load(path)
    assert reason in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_file_cut_off_anywhere_is_refused(conv_file, conv_graph, write_tflite):
    data = write_tflite(conv_graph[0])
    for length in range(0, len(data) - 1, 37):
        with pytest.raises(UnsupportedError):
            LiteRTRuntime(data[:length])


DAMAGE_EVERY_BYTE = """
import sys
from toolchain.errors import ToolchainError
from toolchain.runtimes.litert import LiteRTRuntime
data = open(sys.argv[1], "rb").read()
outcome = {True: 0, False: 0}
for position in range(len(data)):
    damaged = bytearray(data)
    damaged[position] = 0
    try:
        LiteRTRuntime(bytes(damaged)).close()
        outcome[True] += 1
    except ToolchainError:
        outcome[False] += 1
print(outcome[True], outcome[False])
"""


def test_no_zeroed_byte_crashes_the_process(conv_file):
    done = subprocess.run(
        [sys.executable, "-c", DAMAGE_EVERY_BYTE, str(conv_file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded, refused = map(int, done.stdout.split())
    assert loaded + refused == conv_file.stat().st_size
    assert refused > 50
    assert done.stderr == ""


def test_an_operator_that_the_interpreter_does_not_have_is_refused(make_difference, write_tflite):
    with pytest.raises(UnsupportedError, match="cannot be loaded by LiteRT"):
        LiteRTRuntime(write_tflite(make_difference(operator=schema.BuiltinOperator.CUSTOM)))


RUN_ONCE = """
import sys, numpy
from toolchain import load
with load(sys.argv[1]) as runtime:
    print(runtime.run({"image": numpy.ones((1, 5, 6, 3))})["logits"].shape)
"""


def test_nothing_native_reaches_standard_error(conv_file):
    command = [sys.executable, "-c", RUN_ONCE, str(conv_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == "(1, 5, 6, 4)\n"


def test_standard_error_may_be_closed(conv_file):
    command = f'exec "{sys.executable}" -c "$0" "$1" 2>&-'
    done = subprocess.run(
        ["sh", "-c", command, RUN_ONCE, str(conv_file)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "(1, 5, 6, 4)\n"


@pytest.mark.parametrize(
    ("runtime", "missing", "hint"),
    [
        (None, ["ai_edge_litert.interpreter", "tflite_runtime", "tensorflow"], "pip install ai-edge-litert"),
        ("tflite-runtime", ["tflite_runtime"], "pip install tflite-runtime"),
    ],
)
def test_a_missing_interpreter_is_named(conv_file, monkeypatch, runtime, missing, hint):
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError) as caught:
        load(conv_file, runtime=runtime)
    assert caught.value.hint == hint


def test_another_interpreter_serves_where_litert_is_missing(conv_file, monkeypatch):
    from ai_edge_litert import interpreter

    class Recorded(interpreter.Interpreter):
        made = 0

        def __init__(self, **options):
            Recorded.made += 1
            super().__init__(**options)

    stand_in = type(sys)("tflite_runtime.interpreter")
    stand_in.Interpreter, stand_in.OpResolverType = Recorded, interpreter.OpResolverType
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", type(sys)("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", stand_in)
    with load(conv_file) as runtime:
        assert runtime.run({"image": np.ones((1, 5, 6, 3))})["logits"].shape == (1, 5, 6, 4)
    assert Recorded.made == 1


def test_a_closed_runtime_says_so(conv_file):
    runtime = load(conv_file)
    runtime.close()
    runtime.close()
    with pytest.raises(UsageError, match="closed"):
        runtime.run({"image": np.ones((1, 5, 6, 3))})

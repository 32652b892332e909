"""Which runtime a path gets, and what happens where there is none."""

from __future__ import annotations

import pytest

from toolchain import load
from toolchain.errors import UsageError
from toolchain.runtimes.litert import LiteRTRuntime
from toolchain.runtimes.onnx_runtime import OnnxRuntime


def test_the_suffix_decides(affine_file, conv_file):
    assert isinstance(load(affine_file), OnnxRuntime)
    assert isinstance(load(str(conv_file)), LiteRTRuntime)


@pytest.mark.parametrize("name", ["net.TFLITE", "net.rejected", "net"])
def test_a_named_runtime_needs_no_suffix(conv_file, name):
    moved = conv_file.rename(conv_file.with_name(name))
    assert load(moved, runtime="litert").outputs[0].name == "logits"


@pytest.mark.parametrize(
    ("name", "kind", "message", "hint"),
    [
        ("absent.tflite", UsageError, "no model file", "toolchain export"),
        ("absent.onnx", UsageError, "no model file", "toolchain export"),
        ("net.pt", UsageError, "no suffix of a known model file", ".tflite or .onnx"),
        ("net", UsageError, "no suffix of a known model file", ".tflite or .onnx"),
        ("absent.mlpackage", UsageError, "no model file", "toolchain export"),
        ("absent.mlmodel", UsageError, "no model file", "toolchain export"),
        ("net.mlpackage.rejected", UsageError, "no model file", "toolchain export"),
    ],
)
def test_paths_that_cannot_be_loaded(tmp_path, name, kind, message, hint):
    with pytest.raises(kind) as caught:
        load(tmp_path / name)
    assert message in caught.value.message
    assert name in caught.value.message
    assert hint in caught.value.hint


def test_a_folder_is_not_a_model(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        load(tmp_path / ".." / tmp_path.name, runtime="litert")


def test_an_unknown_runtime_lists_the_known_ones(conv_file):
    with pytest.raises(UsageError) as caught:
        load(conv_file, runtime="lite-rt")
    assert caught.value.hint == (
        "runtimes are onnxruntime, litert, tflite-runtime, tensorflow, coreml, coreml-native"
    )


@pytest.mark.parametrize("threads", [0, -3])
def test_a_thread_count_below_one_is_refused(conv_file, affine_file, threads):
    for path in (conv_file, affine_file):
        with pytest.raises(UsageError, match="threads"):
            load(path, threads=threads)

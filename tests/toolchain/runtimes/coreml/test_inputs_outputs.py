"""What a Core ML file takes and gives: open sizes, optional inputs, labels, element types."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from toolchain.errors import UnsupportedError, UsageError
from toolchain.runtimes.base import DYNAMIC
from toolchain.runtimes.coreml import CoreMLNativeRuntime, CoreMLRuntime

SIZE = 8
PROGRAM, NETWORK = "mlprogram", "neuralnetwork"
GENERATOR = np.random.default_rng(5)


def levels(*shape: int) -> np.ndarray:
    return GENERATOR.integers(0, 256, shape, np.uint8)


def only(made: dict[str, np.ndarray]) -> np.ndarray:
    (found,) = made.values()
    return found


class Add(nn.Module):
    """x + y."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Affine(nn.Module):
    """2 x + 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 + 1


# Sizes that are open.


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
@pytest.mark.parametrize("image", [False, True], ids=["array", "image"])
@pytest.mark.parametrize("listed", [False, True], ids=["range", "listed"])
def test_open_sizes_run_within_what_the_file_allows(listed, image, kind, coremltools, converted, save):
    if listed:
        shape = coremltools.EnumeratedShapes([(1, 3, 8, 8), (1, 3, 12, 16)], default=(1, 3, 8, 8))
    else:
        shape = (1, 3, coremltools.RangeDim(4, 12, 8), coremltools.RangeDim(4, 16, 8))
    made = coremltools.ImageType if image else coremltools.TensorType
    model = converted(
        nn.Conv2d(3, 3, 1, bias=False), torch.zeros(1, 3, 8, 8), [made(name="x", shape=shape)], kind
    )

    def picture(height: int, width: int) -> np.ndarray:
        return levels(height, width, 3) if image else np.ones((1, 3, height, width), np.float32)

    with CoreMLRuntime(save(model)) as runtime:
        assert runtime.inputs[0].shape == ((1, -1, -1, 3) if image else (1, 3, DYNAMIC, DYNAMIC))
        for height, width in ((8, 8), (12, 16)):
            assert only(runtime.run({"x": picture(height, width)})).shape == (1, 3, height, width)
        for height, width in ((12, 17), (2, 8), (13, 16)):
            with pytest.raises(UsageError, match="lists?" if listed else "range") as caught:
                runtime.run({"x": picture(height, width)})
            assert "8x8" in caught.value.hint if listed else "4 to " in caught.value.hint
        with pytest.raises(UsageError, match="shape"):
            runtime.run({"x": np.ones((1, 3, 8), np.float32)})


def test_a_range_without_an_end(coremltools, converted, save):
    shape = (1, coremltools.RangeDim(2, -1, 3))
    model = converted(Affine(), torch.zeros(1, 3), [coremltools.TensorType("x", shape)], NETWORK)
    with CoreMLRuntime(save(model)) as runtime:
        assert only(runtime.run({"x": np.ones((1, 1000), np.float32)})).shape == (1, 1000)
        with pytest.raises(UsageError) as caught:
            runtime.run({"x": np.ones((1, 1), np.float32)})
    assert "at least 2" in caught.value.hint


# Inputs that do not fit, or are not there.


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "missing: x"),
        ({"z": 1}, "missing: x; unknown: z"),
        ({"x": np.zeros((1, 3, SIZE, SIZE), np.float32), "z": 1}, "unknown: z"),
        ([1], "takes a dict"),
        ({"x": np.zeros((1, SIZE, SIZE, 3), np.float32)}, "1x8x8x3, not 1x3x8x8"),
        ({"x": np.zeros((1, 3, SIZE, SIZE), np.int32)}, "int32, not float32"),
        ({"x": np.zeros((1, 3, SIZE, SIZE), np.complex64)}, "complex64"),
        ({"x": np.full((1, 3, SIZE, SIZE), 1e300)}, "do not fit"),
        ({"x": np.zeros((1, 3, 0, SIZE), np.float32)}, "1x3x0x8"),
        ({"x": Image.new("RGB", (SIZE, SIZE))}, "8x8x3"),
    ],
)
def test_inputs_that_do_not_fit(feeds, message, kind, pictures, save):
    with CoreMLRuntime(save(pictures[kind, 3])) as runtime, pytest.raises(UsageError) as caught:
        runtime.run(feeds)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
def test_an_optional_input_has_the_value_that_the_file_states(kind, coremltools, converted, save):
    inputs = [
        coremltools.TensorType("x", (1, 3)),
        coremltools.TensorType("y", (1, 3), default_value=np.full((1, 3), 2, np.float32)),
    ]
    model = converted(Add(), (torch.zeros(1, 3), torch.zeros(1, 3)), inputs, kind)
    x, y = np.float32([[1, 2, 3]]), np.float32([[5, 5, 5]])
    with CoreMLRuntime(save(model)) as runtime:
        np.testing.assert_array_equal(only(runtime.run({"x": x})), x + 2)
        np.testing.assert_array_equal(only(runtime.run({"x": x, "y": y})), x + y)
        with pytest.raises(UsageError, match="missing: x"):
            runtime.run({"y": y})


# Element types.


@pytest.mark.parametrize(("given", "ios"), [(np.float16, 16), (np.float32, 15), (np.int32, 15)])
def test_element_types_are_those_of_the_file(given, ios, coremltools, converted, save):
    dtype = {np.float16: torch.float32, np.float32: torch.float32, np.int32: torch.int32}[given]
    model = converted(
        Add(),
        (torch.zeros(2, 3, dtype=dtype), torch.zeros(2, 3, dtype=dtype)),
        [coremltools.TensorType(name, (2, 3), dtype=given) for name in "xy"],
        ios=ios,
        outputs=[coremltools.TensorType("z", dtype=given)],
        compute_precision=coremltools.precision.FLOAT16,
    )
    x = np.arange(6).reshape(2, 3).astype(given)
    with CoreMLRuntime(save(model)) as runtime:
        found = only(runtime.run({"x": x, "y": x}))
        wider = np.int64 if given is np.int32 else np.float64
        again = only(runtime.run({"x": x.astype(wider), "y": x}))
        assert [spec.dtype for spec in (*runtime.inputs, *runtime.outputs)] == [np.dtype(given).name] * 3
        assert runtime.outputs[0].shape == (2, 3)
    assert found.dtype == given
    np.testing.assert_array_equal(found, x + x)
    np.testing.assert_array_equal(again, x + x)


def test_whole_numbers_of_a_network_may_be_integers_and_fractions_may_not(pictures, save):
    def change(spec: Any) -> None:
        spec.description.output[0].type.multiArrayType.dataType = 131104

    with CoreMLRuntime(save(pictures[NETWORK, 1], change)) as runtime:
        found = only(runtime.run({"x": np.ones((1, 1, SIZE, SIZE), np.float32)}))
        assert found.dtype == np.int32
        assert (found == 3).all()
        with pytest.raises(UnsupportedError, match="fractions"):
            runtime.run({"x": np.full((1, 1, SIZE, SIZE), 0.3, np.float32)})


def test_a_pass_does_not_change_what_the_one_before_gave(pictures, save):
    with CoreMLRuntime(save(pictures[PROGRAM, 1])) as runtime:
        x = np.zeros((1, 1, SIZE, SIZE), np.float32)
        first = only(runtime.run({"x": x}))
        kept = first.copy()
        runtime.run({"x": x + 1})
    np.testing.assert_array_equal(first, kept)
    assert not x.any()


# Classifiers.


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
@pytest.mark.parametrize("labels", [["cat", "dog", "höhle"], [3, 1, 2**40]], ids=["text", "int64"])
def test_a_classifier_gives_its_label_and_all_probabilities(labels, kind, coremltools, converted, save):
    model = converted(
        nn.Softmax(1),
        torch.zeros(1, 3),
        [coremltools.TensorType("x", (1, 3))],
        kind,
        classifier_config=coremltools.ClassifierConfig(labels),
    )
    x = np.float32([[0, 1, 2]])
    with CoreMLRuntime(save(model)) as runtime:
        made = runtime.run({"x": x})
        dtypes = {spec.name: spec.dtype for spec in runtime.outputs}
    name = model.get_spec().description.predictedFeatureName
    assert made[name].item() == labels[2]
    assert dtypes[name] == ("str" if isinstance(labels[0], str) else "int64")
    probabilities = made[next(other for other in made if other != name)]
    expected = np.exp(x) / np.exp(x).sum()
    np.testing.assert_allclose(probabilities.ravel(), expected.ravel(), rtol=1e-5)


# Several functions.


def test_of_several_functions_the_default_one_runs(coremltools, converted, save, tmp_path):
    paths = {}
    for name, network in (("double", Affine()), ("smooth", nn.Sigmoid())):
        model = converted(network, torch.zeros(1, 3), [coremltools.TensorType("x", (1, 3))], ios=18)
        paths[name] = save(model).rename(tmp_path / f"{name}.mlpackage")
    described = coremltools.utils.MultiFunctionDescriptor()
    for name, path in paths.items():
        described.add_function(str(path), src_function_name="main", target_function_name=name)
    x = np.float32([[1, 2, 3]])
    for default, expected in (("double", x * 2 + 1), ("smooth", 1 / (1 + np.exp(-x)))):
        described.default_function_name = default
        target = tmp_path / f"both-{default}.mlpackage"
        coremltools.utils.save_multifunction(described, str(target))
        with CoreMLRuntime(target) as runtime:
            assert [spec.name for spec in runtime.inputs] == ["x"]
            np.testing.assert_allclose(only(runtime.run({"x": x})), expected, rtol=1e-6)


# The rest.


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
def test_a_closed_runtime_is_refused_and_frees_the_file(kind, pictures, save):
    runtime = CoreMLRuntime(save(pictures[kind, 1]))
    engine = weakref.ref(runtime._engine)
    runtime.close()
    runtime.close()
    gc.collect()
    assert engine() is None
    with pytest.raises(UsageError, match="closed"):
        runtime.run({"x": np.zeros((1, 1, SIZE, SIZE), np.float32)})


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
def test_torch_keeps_its_number_of_threads(kind, pictures, save):
    before = torch.get_num_threads()
    with CoreMLRuntime(save(pictures[kind, 1]), threads=before + 1) as runtime:
        runtime.run({"x": np.zeros((1, 1, SIZE, SIZE), np.float32)})
    assert torch.get_num_threads() == before


def test_apples_runtime_refuses_a_damaged_file_first(tmp_path):
    (tmp_path / "net.mlmodel").write_bytes(b"")
    with pytest.raises(UnsupportedError, match="no Core ML model"):
        CoreMLNativeRuntime(tmp_path / "net.mlmodel")

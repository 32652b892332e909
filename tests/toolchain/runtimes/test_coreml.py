"""What a Core ML file takes and gives: images, open sizes, optional inputs, labels, element types."""

from __future__ import annotations

import gc
import logging
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from toolchain.errors import UnsupportedError, UsageError
from toolchain.runtimes.base import DYNAMIC
from toolchain.runtimes.coreml import CoreMLNativeRuntime, CoreMLRuntime
from toolchain.runtimes.coreml_proto import coreml_proto

SIZE = 8
PROGRAM, NETWORK = "mlprogram", "neuralnetwork"
SUFFIXES = {PROGRAM: "mlpackage", NETWORK: "mlmodel"}
GREY, RGB, BGR, FLOAT_GREY = 10, 20, 30, 40
GENERATOR = np.random.default_rng(5)


@pytest.fixture(scope="session")
def coremltools() -> Any:
    """The package, without its remarks on versions of torch."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return coremltools


@pytest.fixture(scope="session")
def converted(coremltools: Any) -> Callable[..., Any]:
    """Function (network, example, inputs, kind, ios, **options) -> model, by coremltools' own converter."""

    def convert(
        network: nn.Module,
        example: Any,
        inputs: list[Any],
        kind: str = PROGRAM,
        ios: int = 16,
        **options: Any,
    ) -> Any:
        if kind == PROGRAM:
            options.setdefault("compute_precision", coremltools.precision.FLOAT32)
            options["minimum_deployment_target"] = getattr(coremltools.target, f"iOS{ios}")
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(network.eval(), example)
            return coremltools.convert(
                traced, inputs=inputs, convert_to=kind, skip_model_load=True, **options
            )

    return convert


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Function (model, change) -> path of the saved file, whose specification was changed."""

    def saved(model: Any, change: Callable[[Any], Any] | None = None) -> Path:
        kind = PROGRAM if model.get_spec().WhichOneof("Type") == "mlProgram" else NETWORK
        path = tmp_path / f"net.{SUFFIXES[kind]}"
        model.save(str(path))
        if change is not None:
            source = path / "Data/com.apple.CoreML/model.mlmodel" if path.is_dir() else path
            spec = coreml_proto("Model").Model.FromString(source.read_bytes())
            change(spec)
            source.write_bytes(spec.SerializeToString())
        return path

    return saved


class Sum(nn.Module):
    """Doubles a picture and adds 1: easy to predict."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 + 1


class Add(nn.Module):
    """x + y."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


@pytest.fixture(scope="session")
def pictures(coremltools, converted) -> dict[tuple[str, int], Any]:
    """The doubled picture as program and network, with three channels and one."""
    return {
        (kind, channels): converted(
            Sum(),
            torch.zeros(1, channels, SIZE, SIZE),
            [coremltools.TensorType("x", (1, channels, SIZE, SIZE))],
            kind,
            **({"outputs": [coremltools.TensorType("y")]} if kind == PROGRAM else {}),
        )
        for kind in (PROGRAM, NETWORK)
        for channels in (3, 1)
    }


def as_image(feature: Any, space: int, size: int = SIZE) -> None:
    image = feature.type.imageType
    image.width, image.height, image.colorSpace = size, size, space


def taking(space: int) -> Callable[[Any], None]:
    return lambda spec: as_image(spec.description.input[0], space)


def levels(*shape: int) -> np.ndarray:
    return GENERATOR.integers(0, 256, shape, np.uint8)


def only(made: dict[str, np.ndarray]) -> np.ndarray:
    (found,) = made.values()
    return found


# Images that enter.

COLOR = Image.fromarray(levels(SIZE, SIZE, 3))
OPAQUE, CLEAR = COLOR.convert("RGBA"), COLOR.convert("RGBA")
CLEAR.putpixel((1, 2), (1, 2, 3, 254))
CLEAR_PALETTE = COLOR.convert("P")
CLEAR_PALETTE.info["transparency"] = CLEAR_PALETTE.getpixel((0, 0))


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
@pytest.mark.parametrize(
    ("space", "picture"),
    [
        (RGB, COLOR),
        (RGB, OPAQUE),
        (RGB, COLOR.convert("P")),
        (RGB, COLOR.convert("L")),
        (RGB, COLOR.convert("LA")),
        (RGB, COLOR.convert("1")),
        (BGR, COLOR),
        (GREY, COLOR),
        (GREY, COLOR.convert("L")),
        (GREY, OPAQUE),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_a_pil_image_of_any_mode_enters_as_its_colours(space, picture, kind, pictures, save):
    channels = 1 if space == GREY else 3
    with CoreMLRuntime(save(pictures[kind, channels], taking(space)), threads=1) as runtime:
        found = only(runtime.run({"x": picture}))
    pixels = np.asarray(picture.convert("L" if space == GREY else "RGB")).reshape(SIZE, SIZE, channels)
    planes = pixels.transpose(2, 0, 1)[:: -1 if space == BGR else 1]
    np.testing.assert_array_equal(found, planes[None].astype(np.float32) * 2 + 1)


@pytest.mark.parametrize(
    ("space", "picture", "message"),
    [
        (RGB, CLEAR, "partly transparent"),
        (RGB, CLEAR_PALETTE, "partly transparent"),
        (RGB, COLOR.convert("F"), "mode F"),
        (GREY, COLOR.convert("I"), "mode I"),
        (GREY, Image.new("I;16", (SIZE, SIZE)), "mode I;16"),
        (RGB, COLOR.convert("CMYK"), "mode CMYK"),
        (RGB, COLOR.resize((4, 6)), "1x6x4x3, not 1x8x8x3"),
        (RGB, np.zeros((SIZE, SIZE, 4), np.uint8), "1x8x8x4"),
        (RGB, np.zeros((SIZE, SIZE), np.uint8), "8x8, not"),
        (RGB, np.zeros((3, SIZE, SIZE), np.uint8), "1x3x8x8"),
        (RGB, np.zeros((2, SIZE, SIZE, 3), np.uint8), "2x8x8x3"),
        (RGB, np.zeros((SIZE, SIZE, 3), np.float32), "is float32, not uint8"),
        (RGB, np.full((SIZE, SIZE, 3), 256), "values do not fit"),
        (RGB, [[1, 2], [3]], "is not an array"),
        (RGB, "picture.png", "shape"),
        (RGB, None, "shape"),
        (FLOAT_GREY, COLOR, "mode RGB"),
        (FLOAT_GREY, np.zeros((SIZE, SIZE), np.uint8), "is uint8, not float16"),
    ],
)
def test_what_is_no_such_picture_is_refused(space, picture, message, pictures, save):
    channels = 1 if space in (GREY, FLOAT_GREY) else 3
    path = save(pictures[PROGRAM, channels], taking(space))
    with CoreMLRuntime(path) as runtime, pytest.raises(UsageError) as caught:
        runtime.run({"x": picture})
    assert message in caught.value.message
    assert caught.value.hint


def test_a_picture_that_is_cut_off_is_refused(pictures, save, tmp_path):
    COLOR.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:100])
    path = save(pictures[PROGRAM, 3], taking(RGB))
    with CoreMLRuntime(path) as runtime, pytest.raises(UsageError, match="cannot be decoded"):
        runtime.run({"x": Image.open(tmp_path / "cut.png")})


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
@pytest.mark.parametrize("pil", [False, True], ids=["array", "pil"])
def test_a_picture_of_numbers_enters_as_it_is(kind, pil, pictures, save):
    values = GENERATOR.standard_normal((SIZE, SIZE)).astype(np.float16)
    given = Image.fromarray(values.astype(np.float32)) if pil else values
    with CoreMLRuntime(save(pictures[kind, 1], taking(FLOAT_GREY))) as runtime:
        assert runtime.inputs[0].dtype == "float16"
        found = only(runtime.run({"x": given}))
    np.testing.assert_array_equal(found, values[None, None].astype(np.float32) * 2 + 1)


# Images that leave.


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
@pytest.mark.parametrize("space", [RGB, BGR, GREY])
def test_an_image_that_leaves_is_clipped_and_rgb(space, kind, pictures, save):
    def change(spec: Any) -> None:
        as_image(spec.description.input[0], space)
        as_image(spec.description.output[0], space)

    channels = 1 if space == GREY else 3
    picture = levels(SIZE, SIZE, channels)
    with CoreMLRuntime(save(pictures[kind, channels], change)) as runtime:
        found = only(runtime.run({"x": picture}))
        assert runtime.outputs[0].shape == found.shape
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], np.clip(picture.astype(int) * 2 + 1, 0, 255))


@pytest.mark.parametrize("kind", [PROGRAM, NETWORK])
@pytest.mark.parametrize(
    ("channels", "size", "value", "message"),
    [(1, SIZE, 0, "picture"), (3, SIZE + 1, 0, "shape"), (3, SIZE, np.nan, "no numbers")],
)
def test_an_output_that_is_no_picture_is_refused(channels, size, value, message, kind, pictures, save):
    path = save(pictures[kind, channels], lambda spec: as_image(spec.description.output[0], RGB, size))
    with pytest.raises(UnsupportedError, match=message), CoreMLRuntime(path) as runtime:
        runtime.run({"x": np.full((1, channels, SIZE, SIZE), value, np.float32)})


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
    model = converted(Sum(), torch.zeros(1, 3), [coremltools.TensorType("x", shape)], NETWORK)
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
        ({"x": COLOR}, "8x8x3"),
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
    for name, network in (("double", Sum()), ("smooth", nn.Sigmoid())):
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

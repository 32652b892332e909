"""Images that enter and leave a Core ML file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toolchain.errors import UnsupportedError, UsageError
from toolchain.runtimes.coreml import CoreMLRuntime

SIZE = 8
PROGRAM, NETWORK = "mlprogram", "neuralnetwork"
GREY, RGB, BGR, FLOAT_GREY = 10, 20, 30, 40
GENERATOR = np.random.default_rng(5)


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

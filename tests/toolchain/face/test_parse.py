"""The parser that everything about the network comes to from the sidecar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.motion import MovingMask, shrunk_planes
from toolchain.face.parse import FaceParser, Stages, contract_of
from toolchain.face.region import Square, crop, crop_matrix, whole_square
from toolchain.spec import CLASSIFICATION, Preprocess, TensorSpec


def by_color(image, previous=None):
    """Logits, channels first: background 0, skin red, nose green, and twice the previous mask on top."""
    logits = np.stack([np.zeros_like(image[:, 0]), 9 * image[:, 0], 9 * image[:, 1]], axis=1)
    return logits if previous is None else logits + 2 * previous


def by_color_last(image, previous=None):
    """The same, channels last."""
    first = (np.moveaxis(array, -1, 1) for array in (image, previous) if array is not None)
    return np.moveaxis(by_color(*first), 1, -1)


FUNCTIONS = {"NCHW": by_color, "NHWC": by_color_last}


def scene(height=40, width=48):
    """A red bar with a green square in it, on black."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[10:30, 12:36] = (255, 0, 0)
    picture[16:24, 20:28] = (0, 255, 0)
    return picture


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("previous", [True, False])
def test_labels_lie_where_the_colours_are(artifact_of, numpy_runtime, layout, previous):
    artifact = artifact_of(size=48, layout=layout, previous=previous)
    parser = FaceParser(numpy_runtime(artifact, FUNCTIONS[layout]), artifact)
    picture = scene()
    parsed = parser.parse(picture, whole_square(*picture.shape[:2]))
    expected = np.zeros(picture.shape[:2], np.uint8)
    expected[picture[:, :, 0] > 0] = 1
    expected[picture[:, :, 1] > 0] = 2
    np.testing.assert_array_equal(parsed.labels, expected)
    assert parsed.probabilities.shape == (3, 48, 48)


def test_the_picture_is_normalized_as_the_sidecar_says(artifact_of, numpy_runtime):
    artifact = artifact_of(size=20, layout="NHWC")
    runtime = numpy_runtime(artifact, by_color_last)
    picture = scene()
    FaceParser(runtime, artifact).parse(picture, Square(10, 8, 20))
    expected = (picture[8:28, 10:30] - np.array([100.0, 110.0, 120.0])) / (50.0, 60.0, 70.0)
    np.testing.assert_allclose(runtime.given[0]["image"][0], expected, rtol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_mask_before_is_zero_at_first_and_then_follows_the_region(artifact_of, numpy_runtime, layout):
    artifact = artifact_of(size=24, layout=layout)
    runtime = numpy_runtime(artifact, FUNCTIONS[layout])
    parser = FaceParser(runtime, artifact)
    picture = scene()
    squares = (Square(4, 2, 36), Square(4, 2, 36), Square(8, 3, 30))
    answers = [parser.parse(picture, square) for square in squares]
    parser.reset()
    parser.parse(picture, Square(8, 3, 30))
    masks = [
        given["previous"][0] if layout == "NCHW" else np.moveaxis(given["previous"][0], -1, 0)
        for given in runtime.given
    ]
    assert not masks[0].any()
    mask = MovingMask()
    for number, (square, answer, given) in enumerate(zip(squares, answers, masks[:3], strict=True)):
        matrix = crop_matrix(square, 24)
        cut = crop(picture, matrix, 24)
        if number:
            np.testing.assert_allclose(given, mask.carried(cut, matrix), atol=1e-6)
            assert given.any()
        mask.put(cut, matrix, shrunk_planes(answer.probabilities))
    assert not masks[3].any()


def test_stages_are_timed_and_add_up(artifact_of, numpy_runtime):
    artifact = artifact_of(size=16)
    parser = FaceParser(numpy_runtime(artifact, by_color), artifact)
    stages = Stages()
    parser.parse(scene(), Square(0, 0, 40), stages)
    once = dict(stages.milliseconds)
    parser.parse(scene(), Square(0, 0, 40), stages)
    assert list(once) == ["crop", "inference", "unwarp"]
    assert all(stages.milliseconds[name] > value > 0 for name, value in once.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": CLASSIFICATION}, "no segmentation of pictures"),
        ({"preprocess": None}, "no segmentation of pictures"),
        ({"outputs": ()}, "0 outputs"),
        ({"inputs": ()}, "0 inputs"),
        ({"labels": ()}, "0 labels and 3 colours"),
        ({"palette": ()}, "3 labels and 0 colours"),
        ({"labels": ("a", "b"), "palette": ((0, 0, 0), (1, 1, 1))}, "with 2 classes"),
        ({"inputs": (TensorSpec("image", (1, 3, 16, 20), layout="NCHW"),)}, "16 x 20 with 3 channels"),
        ({"inputs": (TensorSpec("image", (1, 3, 16, 16)),)}, "tensor 'image' has layout ''"),
        ({"preprocess": Preprocess(mean=(1.0,), std=(1.0,))}, "16 x 16 with 3 channels"),
        ({"outputs": (TensorSpec("logits", (1, 3, 8, 8), layout="NCHW"),)}, "tensor 'logits'"),
    ],
)
def test_a_sidecar_of_something_else_is_refused(artifact_of, changes, message):
    with pytest.raises(UnsupportedError) as caught:
        contract_of(artifact_of(**changes))
    assert message in caught.value.message
    assert caught.value.hint


def test_a_second_input_that_is_no_mask_is_refused(artifact_of):
    artifact = artifact_of()
    state = TensorSpec("state", (1, 7, 16, 16), layout="NCHW")
    with pytest.raises(UnsupportedError, match="tensor 'state'"):
        contract_of(replace(artifact, inputs=(artifact.inputs[0], state)))


@pytest.mark.parametrize(
    ("field", "change"),
    [("inputs", {"name": "picture"}), ("inputs", {"dtype": "int8"}), ("outputs", {"name": "mask"})],
)
def test_the_sidecar_of_another_file_is_refused(artifact_of, numpy_runtime, field, change):
    artifact = artifact_of()
    tensors = getattr(artifact, field)
    other = replace(artifact, **{field: (replace(tensors[0], **change), *tensors[1:])})
    with pytest.raises(UnsupportedError, match=f"the {field} of 'net.onnx' are not those of its sidecar"):
        FaceParser(numpy_runtime(artifact, by_color), other)


def test_a_result_that_is_not_finite_is_refused(artifact_of, numpy_runtime):
    artifact = artifact_of(previous=False)
    parser = FaceParser(numpy_runtime(artifact, lambda image: image * np.nan), artifact)
    with pytest.raises(UnsupportedError, match="not finite"):
        parser.parse(scene(), Square(0, 0, 40))


def test_what_is_no_picture_is_refused(artifact_of, numpy_runtime):
    artifact = artifact_of()
    with pytest.raises(UsageError, match="not \\(height, width, 3\\) uint8"):
        FaceParser(numpy_runtime(artifact, by_color), artifact).parse(np.zeros((4, 4)), Square(0, 0, 4))


@pytest.mark.parametrize(
    ("labels", "is_face"), [(("background", "skin", "nose"), True), (("sky", "road", "car"), False)]
)
def test_only_networks_with_facial_labels_parse_faces(artifact_of, labels, is_face):
    assert contract_of(artifact_of(labels=labels)).is_face is is_face

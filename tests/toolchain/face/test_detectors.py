"""Model files as detectors, played by small files of the same signature whose answers are known."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.converters.graph import clean
from toolchain.converters.tflite import convert
from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.blazeface import anchors, decode
from toolchain.face.detector import FaceDetector
from toolchain.face.detectors import open_detector
from toolchain.face.landmarks import box_of_landmarks, centre_of

SIDE = 320
# A logit that stands for no face.
NEVER = -8.0
# In a frame of 640 x 480: eyes, nose tip, corners of the mouth; and what the box of such a face is.
POINTS = {
    "right eye": (290.0, 200.0),
    "left eye": (350.0, 200.0),
    "nose": (320.0, 236.0),
    "mouth right": (296.0, 272.0),
    "mouth left": (344.0, 272.0),
}
EXPECTED = box_of_landmarks((290, 200), (350, 200), (320, 272))


def same_box(found, expected, atol):
    """Whether all four numbers agree."""
    numbers = [(box.x, box.y, box.width, box.height) for box in (found, expected)]
    np.testing.assert_allclose(*numbers, atol=atol)


def network(shape, answers, bright, dark=0.0):
    """A model that gives `answers` where the mean of its input is well above `bright`, and else `dark`."""
    constants = [
        numpy_helper.from_array(np.full((1, 1, 1), value, np.float32), name)
        for name, value in (("bright", bright), ("steep", 100.0), ("dark", dark))
    ]
    limits = [numpy_helper.from_array(np.float32(value), f"limit{value}") for value in (0, 1)]
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["mean"], ["level"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["level", "bright"], ["above"]),
        helper.make_node("Mul", ["above", "steep"], ["much"]),
        helper.make_node("Clip", ["much", "limit0", "limit1"], ["factor"]),
    ]
    outputs = []
    for name, values in answers.items():
        constants.append(numpy_helper.from_array((values - dark).astype(np.float32), f"{name}_values"))
        nodes.append(helper.make_node("Mul", [f"{name}_values", "factor"], [f"{name}_scaled"]))
        nodes.append(helper.make_node("Add", [f"{name}_scaled", "dark"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(values.shape)))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))],
        outputs,
        [*constants, *limits],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tflite(path, model):
    """The model as a .tflite file with the shapes that it has in ONNX."""
    graph = ir.from_proto(model)
    clean(graph)
    path.write_bytes(convert(graph, layout="nchw").data)
    return path


def yunet_answers(faces):
    """Heads of YuNet at strides 8, 16, 32 for a 320 x 320 input.

    Args:
        faces: (points, score) with five points in the input's pixels each; all are found at stride 8.
    """
    answers = {}
    for stride in (8, 16, 32):
        cells = SIDE // stride
        for head, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            answers[f"{head}_{stride}"] = np.zeros((1, cells * cells, width))
    for points, score in faces:
        points = np.array(points)
        column, row = (points[2] // 8).astype(int)
        cell = row * (SIDE // 8) + column
        # The score is the square root of the product of the two.
        answers["cls_8"][0, cell], answers["obj_8"][0, cell] = score, score
        answers["bbox_8"][0, cell] = [0.5, 0.5, np.log(40 / 8), np.log(50 / 8)]
        answers["kps_8"][0, cell] = ((points - (8 * column, 8 * row)) / 8).ravel()
    return answers


@pytest.fixture
def yunet(tmp_path):
    """A YuNet that finds the face of POINTS and a small one in a frame of 640 x 480, unless it is dark."""
    large = np.array(list(POINTS.values())) / 2
    small = large * 0.4 + (180, 20)
    doubtful = large * 0.4 + (20, 100)
    answers = yunet_answers([(small, 0.9), (large, 0.8), (doubtful, 0.6)])
    path = tmp_path / "yunet.onnx"
    onnx.save(network((1, 3, SIDE, SIDE), answers, 10.0), path)
    return path


def test_yunet_boxes_come_from_its_points(yunet):
    detector = open_detector(yunet)
    large, small = detector.detect(np.full((480, 640, 3), 120, np.uint8))
    same_box(large, EXPECTED, 0.01)
    assert small.width == pytest.approx(0.4 * EXPECTED.width, rel=1e-4)
    assert centre_of(small)[0] == pytest.approx(0.4 * centre_of(EXPECTED)[0] + 360, abs=0.01)
    assert detector.detect(np.zeros((480, 640, 3), np.uint8)) == []
    assert "yunet.onnx" in detector.name


@pytest.mark.parametrize("factor", [0.25, 2.0])
def test_yunet_boxes_are_in_pixels_of_the_picture(yunet, factor):
    picture = np.full((round(480 * factor), round(640 * factor), 3), 120, np.uint8)
    large = open_detector(yunet).detect(picture)[0]
    assert large.width == pytest.approx(factor * EXPECTED.width, rel=1e-4)
    assert large.x == pytest.approx(factor * EXPECTED.x, rel=1e-4)


def blazeface_answers(faces):
    """Numbers and logits of the 896 anchors.

    Args:
        faces: (anchor, six points in the input's pixels, size of the box, logit).
    """
    numbers, logits = np.zeros((1, 896, 16)), np.full((1, 896, 1), NEVER)
    centres = anchors() * 128
    for anchor, points, size, logit in faces:
        middle = np.mean(points, axis=0)
        numbers[0, anchor, :2] = middle - centres[anchor]
        numbers[0, anchor, 2:4] = size
        numbers[0, anchor, 4:] = (np.array(points) - centres[anchor]).ravel()
        logits[0, anchor] = logit
    return {"regressors": numbers, "classificators": logits}


def blazeface_points():
    """POINTS and ears as the network gives them: right eye, left eye, nose, mouth, ears; 640 x 480 to 128."""
    named = [*list(POINTS.values())[:3], (320.0, 272.0), (260.0, 210.0), (380.0, 210.0)]
    # The long side fills the input; above and below are 16 rows of black. Pixel centres are half a pixel in.
    return (np.array(named) + 0.5) / 5 + (0, 16)


@pytest.fixture
def blazeface(tmp_path):
    """A BlazeFace that finds the face of POINTS twice and another one, unless the picture is dark."""
    points = blazeface_points()
    answers = blazeface_answers(
        [(300, points + 1, 40, 3.0), (301, points - 1, 40, 3.0), (850, points * 0.3 + 80, 12, 200.0)]
    )
    return tflite(tmp_path / "blazeface.tflite", network((1, 128, 128, 3), answers, -0.9, NEVER))


def test_anchors_are_two_or_six_at_each_point_of_two_grids():
    made = anchors()
    assert made.shape == (896, 2)
    np.testing.assert_allclose(made[:4] * 128, [[4, 4], [4, 4], [12, 4], [12, 4]])
    np.testing.assert_allclose(made[512:519] * 128, [[8, 8]] * 6 + [[24, 8]])
    np.testing.assert_allclose(made[-1] * 128, [120, 120])
    assert (np.unique(made[:512], axis=0, return_counts=True)[1] == 2).all()
    assert (np.unique(made[512:], axis=0, return_counts=True)[1] == 6).all()


def test_boxes_of_one_face_are_averaged_by_their_scores():
    points = blazeface_points()
    answers = blazeface_answers([(10, points, 40, 0.0), (700, points + 4, 40, np.log(3))])
    [face] = decode(answers["regressors"][0], answers["classificators"][0, :, 0], anchors())
    # Scores are 1/2 and 3/4: the average lies at 3/5 of the way.
    np.testing.assert_allclose(face[4:].reshape(6, 2) * 128, points + 4 * 0.6, atol=1e-4)
    np.testing.assert_allclose(face[2:4] * 128, 40, atol=1e-4)


def test_unlikely_boxes_are_none():
    answers = blazeface_answers([(10, blazeface_points(), 40, -0.01)])
    assert decode(answers["regressors"][0], answers["classificators"][0, :, 0], anchors()) == []


def test_blazeface_boxes_come_from_its_points(blazeface):
    detector = open_detector(blazeface, threads=1)
    large, small = detector.detect(np.full((480, 640, 3), 120, np.uint8))
    # The fake adds -8 to numbers and takes it away again, in float32.
    same_box(large, EXPECTED, 0.01)
    assert small.width == pytest.approx(0.3 * EXPECTED.width, rel=1e-3)
    assert detector.detect(np.zeros((480, 640, 3), np.uint8)) == []
    assert "blazeface.tflite" in detector.name


@pytest.mark.parametrize("factor", [0.1, 0.15, 0.5, 1.7])
def test_blazeface_boxes_are_in_pixels_of_the_picture(blazeface, factor):
    picture = np.full((round(480 * factor), round(640 * factor), 3), 120, np.uint8)
    large = open_detector(blazeface).detect(picture)[0]
    assert large.width == pytest.approx(factor * EXPECTED.width, rel=1e-3)
    middle = (np.array(centre_of(EXPECTED)) + 0.5) * factor - 0.5
    # Where the scaled picture has an odd number of rows, the bars are not of one height.
    np.testing.assert_allclose(centre_of(large), middle, atol=0.01)


def test_without_a_path_it_is_the_bundled_cascade():
    assert isinstance(open_detector(), FaceDetector)


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("missing.onnx", None, UsageError, "no face detector at"),
        ("detector.caffemodel", b"", UsageError, "no face detector that is known"),
        ("damaged.onnx", b"no network", UnsupportedError, "is no YuNet"),
        ("damaged.tflite", b"no network", UnsupportedError, "damaged.tflite"),
    ],
)
def test_files_that_are_no_detectors(tmp_path, name, content, error, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error) as caught:
        open_detector(path)
    assert words in caught.value.message
    assert name in caught.value.message
    assert caught.value.hint


def test_other_networks_are_refused_by_name(cnn, tmp_path):
    with pytest.raises(UnsupportedError, match="is no YuNet"):
        open_detector(cnn)
    other = tflite(tmp_path / "other.tflite", network((1, 64, 64, 3), {"y": np.ones((1, 4, 2))}, 0.0))
    with pytest.raises(UnsupportedError, match="is no short-range BlazeFace"):
        open_detector(other)

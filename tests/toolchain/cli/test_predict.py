"""`toolchain predict` from a model file and a photograph to the overlay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.cli import run
from toolchain.face.picture import read_picture, write_picture
from toolchain.spec import CLASSIFICATION, GENERIC, SEGMENTATION, Artifact, Preprocess, TensorSpec

PHOTOGRAPH = Path(__file__).parents[3] / "docs" / "images" / "astronaut.jpg"
SIZE = 64
LABELS = ("background", "skin", "nose")
PALETTE = ((0, 0, 0), (255, 0, 255), (0, 255, 0))
# Skin where red exceeds blue, the nose where green exceeds red, neither where all three are alike.
WEIGHT = np.array([[0, 0, 0], [4, 0, -4], [-4, 4, 0]], np.float32)
BIAS = np.array([0, -1, -2], np.float32)


def save(path: Path, nodes, constants, inputs, outputs, **sidecar) -> Path:
    """An ONNX file and its sidecar; tensors are given as TensorSpec."""

    def infos(tensors):
        return [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.shape) for t in tensors]

    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "net", infos(inputs), infos(outputs), held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    fields = {
        "name": "net",
        "format": "onnx",
        "precision": "fp32",
        "labels": LABELS,
        "preprocess": Preprocess(resize="area", margin=1.5, shift=-0.1),
    }
    artifact = Artifact(path=path, inputs=tuple(inputs), outputs=tuple(outputs), **{**fields, **sidecar})
    artifact.sidecar_path.write_text(json.dumps(artifact.sidecar()))
    return path


@pytest.fixture
def parser(tmp_path) -> Path:
    """A face parser that goes by colour, channels last, and adds the previous mask."""
    image = TensorSpec("image", (1, SIZE, SIZE, 3), layout="NHWC")
    previous = TensorSpec("previous", (1, SIZE, SIZE, 3), layout="NHWC")
    nodes = [
        helper.make_node("MatMul", ["image", "weight"], ["colored"]),
        helper.make_node("Add", ["colored", "bias"], ["scored"]),
        helper.make_node("Add", ["scored", "previous"], ["logits"]),
    ]
    return save(
        tmp_path / "parser.onnx",
        nodes,
        {"weight": WEIGHT.T.copy(), "bias": BIAS},
        [image, previous],
        [replace(image, name="logits")],
        task=SEGMENTATION,
        palette=PALETTE,
    )


@pytest.fixture
def classifier(tmp_path) -> Path:
    """Seven classes scored by the mean colour of the picture, channels first."""
    weight = np.array([[k, -k, 6 - k] for k in range(7)], np.float32).T.copy()
    return save(
        tmp_path / "classifier.onnx",
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
        ],
        {"weight": weight},
        [TensorSpec("image", (1, 3, SIZE, SIZE), layout="NCHW")],
        [TensorSpec("scores", (1, 7), layout="NC")],
        task=CLASSIFICATION,
        labels=tuple("abcdefg"),
    )


@pytest.fixture
def painted(tmp_path) -> Path:
    """A picture wider than high: grey, with a red and a green rectangle."""
    picture = np.full((128, 192, 3), 60, np.uint8)
    picture[30:90, 20:80] = (250, 40, 40)
    picture[30:90, 110:170] = (40, 250, 40)
    write_picture(tmp_path / "painted.png", picture)
    return tmp_path / "painted.png"


def change_sidecar(path: Path, **changes) -> None:
    beside = path.with_name(path.name + ".json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **changes}))


def test_the_face_is_found_and_coloured(parser, tmp_path, capsys):
    output = tmp_path / "out.png"
    assert run(["predict", str(parser), str(PHOTOGRAPH), "-o", str(output), "--json", "--alpha", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    x, y, width, height = report["box"]
    # Eyes and mouth of the photograph.
    for point in ((204, 101), (248, 104), (224, 148)):
        assert x < point[0] < x + width
        assert y < point[1] < y + height
    assert report["faces"] == 1
    assert report["task"] == "segmentation"
    assert report["output"] == str(output)
    assert list(report["share"]) == list(LABELS)
    assert sum(report["share"].values()) == pytest.approx(1, abs=1e-5)
    stages = ["detection", "crop", "inference", "unwarp", "colorization", "total"]
    assert list(report["milliseconds"]) == stages
    assert sum(list(report["milliseconds"].values())[:-1]) == pytest.approx(
        report["milliseconds"]["total"], abs=0.01
    )

    photograph, drawn = read_picture(PHOTOGRAPH), read_picture(output)
    # The forehead is skin; nothing changes outside of the region of interest, margin times the box.
    np.testing.assert_array_equal(drawn[88, 226], PALETTE[1])
    centre = np.array([x + width / 2, y + height * 0.4])
    far = np.abs(np.indices(photograph.shape[:2]).transpose(1, 2, 0)[:, :, ::-1] - centre).max(2)
    # A pixel of the crop, 2.3 of the picture, may reach out by half, and the outline by one pixel more.
    outside = far > 0.75 * width + 3
    np.testing.assert_array_equal(drawn[outside], photograph[outside])
    skin = (drawn == PALETTE[1]).all(2).mean()
    assert report["share"]["skin"] == pytest.approx(skin, abs=0.01)
    assert report["share"]["skin"] > 0.01


def test_the_whole_picture_keeps_its_shape(parser, painted, tmp_path, capsys):
    output = tmp_path / "out.png"
    options = ["-o", str(output), "--whole", "--json", "--alpha", "1"]
    assert run(["predict", str(parser), str(painted), *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["box"] is None
    assert report["faces"] == 0
    assert "detection" not in report["milliseconds"]
    drawn = read_picture(output)
    np.testing.assert_array_equal(drawn[33:87, 23:77], np.broadcast_to(PALETTE[1], (54, 54, 3)))
    np.testing.assert_array_equal(drawn[33:87, 113:167], np.broadcast_to(PALETTE[2], (54, 54, 3)))
    np.testing.assert_array_equal(drawn[:25], np.full((25, 192, 3), 60))
    # A pixel of the crop is 3 of the picture, and one that is half coloured counts as coloured.
    for label in ("skin", "nose"):
        assert 60**2 <= report["share"][label] * 128 * 192 <= 64**2


@pytest.mark.parametrize("kind", ["grey", "rgba", "sixteen bits"])
def test_photographs_of_other_kinds_are_parsed(parser, tmp_path, kind, capsys):
    photograph = cv2.imread(str(PHOTOGRAPH))
    stored = {
        "grey": cv2.cvtColor(photograph, cv2.COLOR_BGR2GRAY),
        "rgba": cv2.cvtColor(photograph, cv2.COLOR_BGR2BGRA),
        "sixteen bits": photograph.astype(np.uint16) * 257,
    }[kind]
    image = tmp_path / "photograph.png"
    assert cv2.imwrite(str(image), stored)
    assert run(["predict", str(parser), str(image), "-o", str(tmp_path / "out.png"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["faces"] == 1
    # Grey has no red in excess of blue, so that this network sees no skin in it.
    assert (report["share"]["skin"] > 0.01) is (kind != "grey")


def test_the_default_output_lies_in_the_current_folder(parser, tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run(["predict", str(parser), str(PHOTOGRAPH)]) == 0
    out = capsys.readouterr().out
    assert "wrote astronaut-overlay.png" in out
    assert "face at 1" in out
    assert "total" in out
    assert read_picture("astronaut-overlay.png").shape == (512, 512, 3)
    assert [path.name for path in Path.cwd().iterdir()] == ["astronaut-overlay.png"]


def test_a_classifier_names_its_five_best(classifier, painted, capsys):
    assert run(["predict", str(classifier), str(painted), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    square = read_picture(painted)[:, 32:160]
    # The crop averages 2 x 2 pixels, which leaves the mean as it is.
    red, green, blue = (square.mean((0, 1)) - 127.5) / 127.5
    scores = np.array([k * red - k * green + (6 - k) * blue for k in range(7)])
    expected = np.exp(scores - scores.max())
    expected /= expected.sum()
    order = np.argsort(-expected)[:5]
    assert [row["label"] for row in report["top"]] == ["abcdefg"[index] for index in order]
    np.testing.assert_allclose([row["probability"] for row in report["top"]], expected[order], atol=2e-3)
    assert report["output"] is None


def test_probabilities_of_a_network_are_not_softened_again(classifier, painted, capsys):
    model = onnx.load(classifier)
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.append(helper.make_node("Softmax", ["raw"], ["scores"]))
    assert run(["predict", str(classifier), str(painted), "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["top"]
    onnx.save(model, classifier)
    assert run(["predict", str(classifier), str(painted), "--json"]) == 0
    after = json.loads(capsys.readouterr().out)["top"]
    assert [row["label"] for row in after] == [row["label"] for row in before]
    np.testing.assert_allclose(
        [row["probability"] for row in after], [row["probability"] for row in before], rtol=1e-4
    )


def test_a_classifier_prints_a_table(classifier, painted, capsys):
    assert run(["predict", str(classifier), str(painted)]) == 0
    out = capsys.readouterr().out
    assert "probability" in out
    assert out.count("%") == 5


@pytest.fixture(scope="module")
def hourglass(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained face parser in three formats; with fewer pixels than usual, for speed."""
    folder = tmp_path_factory.mktemp("hourglass")
    made = ["export", "mobile-hourglass-light", "--input-shape", "1,3,128,128", "-o", str(folder)]
    formats = ["-f", "tflite", "-f", "coreml", "-f", "mlmodel"]
    assert run([*made, *formats, "-p", "fp32", "-p", "fp16"]) == 0
    return folder


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("fp32.mlpackage", False),
        ("fp32.mlpackage", True),
        ("fp16.mlpackage", False),
        ("fp32.mlmodel", False),
        ("fp32.mlmodel", True),
        ("fp16.mlmodel", False),
    ],
)
def test_core_ml_draws_what_tflite_draws(name, whole, hourglass, tmp_path, capsys):
    flags = ["--json", "--alpha", "1", *(["--whole"] if whole else [])]
    reports, drawn = [], []
    for file in ("fp32.tflite", name):
        output = tmp_path / f"{file}.png"
        arguments = ["predict", str(hourglass / f"mobile-hourglass-light-{file}"), str(PHOTOGRAPH)]
        capsys.readouterr()
        assert run([*arguments, "-o", str(output), *flags]) == 0
        reports.append(json.loads(capsys.readouterr().out))
        drawn.append(read_picture(output))
    assert reports[0]["box"] == reports[1]["box"]
    assert reports[0]["share"]["skin"] > 0.01
    # A pixel of the crop at the border of two classes is 2 x 2 pixels of the picture, or 4 x 4 of all of it.
    different = (drawn[0] != drawn[1]).any(2)
    assert different.mean() < 0.0002
    for label, share in reports[0]["share"].items():
        assert reports[1]["share"][label] == pytest.approx(share, abs=0.0002)


CLASSIFIER = """
import torch
from torch import nn
from toolchain.spec import ModelSpec, Preprocess, TensorSpec

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 7, 1)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[k, -k, 6 - k] for k in range(7)])[:, :, None, None])

    def forward(self, image):
        return self.head(image).mean((2, 3))

def make():
    torch.manual_seed(0)
    image = TensorSpec("image", (1, 3, 64, 64), layout="NCHW")
    spec = ModelSpec("net", "classification", (image,), (TensorSpec("logits", (1, 7), layout="NC"),),
                     Preprocess(resize="area"), tuple("abcdefg"))
    return Net(), spec
"""


@pytest.mark.parametrize("head", [[], ["--head", "softmax"]], ids=["logits", "probabilities"])
def test_core_ml_names_the_classes_that_tflite_names(head, painted, tmp_path, capsys):
    (tmp_path / "net.py").write_text(CLASSIFIER)
    formats = ["-f", "tflite", "-f", "coreml", "-f", "mlmodel"]
    made = ["export", f"{tmp_path / 'net.py'}:make", "-o", str(tmp_path), *formats, *head, "-p", "fp32"]
    assert run(made) == 0
    tops = []
    for suffix in (".tflite", ".mlpackage", ".mlmodel"):
        capsys.readouterr()
        assert run(["predict", str(tmp_path / f"net-fp32{suffix}"), str(painted), "--json"]) == 0
        tops.append(json.loads(capsys.readouterr().out)["top"])
    for top in tops[1:]:
        assert [row["label"] for row in top] == [row["label"] for row in tops[0]]
        np.testing.assert_allclose(
            [row["probability"] for row in top], [row["probability"] for row in tops[0]], atol=2e-3
        )


BROKEN = {
    "model missing": (2, "no model file at", "toolchain export"),
    "sidecar missing": (2, "has no sidecar", "keep the .json"),
    "sidecar damaged": (3, "sidecar of", "export the model again"),
    "sidecar of another file": (3, "are not those of its sidecar", "export the model again"),
    "model damaged": (3, "cannot be loaded by ONNX Runtime", "complete ONNX model"),
    "task generic": (3, "has the task 'generic'", "toolchain.load"),
    "no faces in this task": (3, "does not parse faces", "--whole"),
    "image missing": (2, "No such file", ".jpg or .png"),
    "image damaged": (2, "no picture that OpenCV can read", ".jpg or .png"),
    "no face": (3, "no face was found", "--whole"),
    "output without suffix": (2, "no suffix of a picture format", ".png or .jpg"),
    "output in no folder": (2, "there is no folder", "make it first"),
    "output is the image": (2, "is the photograph itself", "-o"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_done_is_one_error_and_leaves_no_file(parser, painted, tmp_path, capfd, what):
    image, output = tmp_path / "image.jpg", tmp_path / "out.png"
    image.write_bytes(PHOTOGRAPH.read_bytes())
    if what == "model missing":
        parser.unlink()
    elif what == "sidecar missing":
        parser.with_name(parser.name + ".json").unlink()
    elif what == "sidecar damaged":
        parser.with_name(parser.name + ".json").write_text("{")
    elif what == "sidecar of another file":
        outputs = [{"name": "other", "shape": [1, SIZE, SIZE, 3], "dtype": "float32", "layout": "NHWC"}]
        change_sidecar(parser, outputs=outputs)
    elif what == "model damaged":
        parser.write_bytes(parser.read_bytes()[:-40])
    elif what == "task generic":
        change_sidecar(parser, task=GENERIC)
    elif what == "no faces in this task":
        change_sidecar(parser, labels=["sky", "road", "car"])
    elif what == "image missing":
        image.unlink()
    elif what == "image damaged":
        image.write_bytes(image.read_bytes()[:9000])
    elif what == "no face":
        image = painted
    elif what == "output without suffix":
        output = tmp_path / "out"
    elif what == "output in no folder":
        output = tmp_path / "absent" / "out.png"
    elif what == "output is the image":
        output = image
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, message, hint = BROKEN[what]
    assert run(["predict", str(parser), str(image), "-o", str(output)]) == code
    out, err = capfd.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

"""Two files side by side: names that tell them apart, and files for Core ML."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.cli import run
from toolchain.demo.app import DemoOptions, run_demo
from toolchain.demo.lanes import Leader, Network, distinct_names
from toolchain.demo.look import Look
from toolchain.demo.scene import Drawn, Scene
from toolchain.demo.screen import LEFT, shortened, text_width, write, write_captions
from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.picture import read_picture, write_picture
from toolchain.face.source import Synthetic, open_source
from toolchain.spec import sidecar_path

PHOTOGRAPH = Path(__file__).parents[3] / "docs" / "images" / "astronaut.jpg"
LEAST_AGREEMENT = 0.999
parts = st.lists(st.sampled_from(["a", "b", "..", "."]), max_size=4)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["build/a.tflite", "build/b.tflite"], ["a.tflite", "b.tflite"]),
        (["old/a.tflite", "new/a.tflite"], ["old/a.tflite", "new/a.tflite"]),
        (["/runs/1/out/a.onnx", "/runs/2/out/a.onnx"], ["1/out/a.onnx", "2/out/a.onnx"]),
        (["/a.onnx", "/runs/a.onnx"], ["/a.onnx", "runs/a.onnx"]),
        (["/runs/a.onnx", "/runs/../runs/a.onnx"], ["a.onnx", "a.onnx"]),
        (["new/a.tflite"], ["a.tflite"]),
    ],
)
def test_names_have_the_folders_that_tell_files_apart(paths, names):
    assert distinct_names([Path(path) for path in paths]) == names


@given(parts, parts)
def test_names_differ_as_files_do_and_are_no_longer_than_that_takes(first, second):
    paths = [Path("/top", *folders, "net.tflite") for folders in (first, second)]
    whole = [os.path.abspath(path) for path in paths]
    names = distinct_names(paths)
    assert (names[0] != names[1]) == (whole[0] != whole[1])
    assert all(place.endswith(name) for place, name in zip(whole, names, strict=True))
    shorter = [Path(*Path(name).parts[1:]) for name in names]
    assert shorter[0] == shorter[1]


def test_two_files_of_one_name_have_other_captions(stand_ins, tmp_path):
    paths = []
    for folder, precision in (("old", "fp32"), ("new", "int8")):
        (tmp_path / folder).mkdir()
        source = stand_ins / f"stand-in-{precision}.onnx"
        paths.append(tmp_path / folder / "net.onnx")
        shutil.copy(source, paths[-1])
        shutil.copy(sidecar_path(source), sidecar_path(paths[-1]))
    target = tmp_path / "out.png"
    picture = tmp_path / "face.png"
    write_picture(picture, next(Synthetic().frames()))
    made = run_demo(
        DemoOptions(
            source=open_source(str(picture)),
            artifacts=(paths[0], paths[1]),
            look=Look("none"),
            output=target,
            window=False,
        )
    )
    assert [network["path"] for network in made["artifacts"]] == [str(path) for path in paths]
    written = read_picture(target)
    wanted = np.hstack([read_picture(picture)] * 2)
    write(wanted, "old/net.onnx", 640 - LEFT - text_width("old/net.onnx"), 18)
    write(wanted, "new/net.onnx", 640 + LEFT, 18)
    np.testing.assert_array_equal(written[:24], wanted[:24])


@pytest.mark.parametrize("width", [120, 320, 640])
def test_long_names_stay_in_their_half(width):
    names = (f"old/{'a-long-name-' * 9}fp32.tflite", f"new/{'a-long-name-' * 9}fp32.tflite")
    canvas = np.zeros((60, 2 * width, 3), np.uint8)
    drawn = Drawn(canvas, 0, {}, {}, None, None, names, 0.5)
    write_captions(canvas, drawn, 1)
    assert canvas[:, :width].any()
    assert canvas[:, width:].any()
    # The middle, and both ends, stay free.
    assert not canvas[:, width - 4 : width + 4].any()
    assert not canvas[:, -4:].any()


def test_what_is_left_out_is_in_the_middle():
    assert shortened("old/net.tflite", 1000) == "old/net.tflite"
    found = shortened("old/mobile-hourglass-fp32.tflite", 140)
    assert found.startswith("old/")
    assert found.endswith(".tflite")
    assert "..." in found
    assert text_width(found) <= 140


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The shipped network for LiteRT and for Core ML."""
    folder = tmp_path_factory.mktemp("build")
    words = ["export", "mobile-hourglass", "-f", "tflite", "-f", "coreml", "-p", "fp32", "-o", str(folder)]
    assert run(words) == 0
    return folder / "mobile-hourglass-fp32.tflite", folder / "mobile-hourglass-fp32.mlpackage"


def test_a_package_for_core_ml_is_compared_on_the_reference_interpreter(exported, tmp_path):
    target = tmp_path / "out.png"
    made = run_demo(
        DemoOptions(
            source=open_source(str(PHOTOGRAPH)), artifacts=exported, output=target, window=False, threads=1
        )
    )
    assert (made["faces"], made["frames"]["shown"]) == (1, 1)
    titles = [network["runtime"] for network in made["artifacts"]]
    assert titles[0].startswith("LiteRT ")
    assert titles[1] == "Core ML reference interpreter"
    assert made["agreement"]["pixels"] >= LEAST_AGREEMENT
    assert made["agreement"]["face_pixels"] >= LEAST_AGREEMENT


def test_a_package_for_core_ml_leads_as_well(exported):
    picture = next(open_source(str(PHOTOGRAPH)).frames())
    found = []
    for path in exported:
        network = Network.open(path, 1)
        scene = Scene(Leader(network, thorough=True))
        assert scene.process(picture, Look("lipstick"), True, 0.0).faces == 1
        found.append(scene.redraw(Look("lipstick")).picture.copy())
        network.close()
    assert (found[0] != picture).any()
    assert (np.abs(found[0].astype(int) - found[1]).max(axis=-1) > 8).mean() < 1e-3


def test_a_package_that_is_damaged_is_one_error(exported, tmp_path):
    path = tmp_path / exported[1].name
    shutil.copytree(exported[1], path)
    shutil.copy(sidecar_path(exported[1]), sidecar_path(path))
    next(path.rglob("*.mlmodel")).write_bytes(b"no model")
    with pytest.raises(UnsupportedError, match=re.escape(str(path))):
        Network.open(path)


def test_the_sidecar_of_another_file_is_one_error(stand_ins, tmp_path):
    path = tmp_path / "net.onnx"
    shutil.copy(stand_ins / "stand-in-fp32.onnx", path)
    shutil.copy(sidecar_path(stand_ins / "stand-in-int8.onnx"), sidecar_path(path))
    with pytest.raises(UsageError, match=r"net\.onnx' describes another file: the SHA-256 differs"):
        Network.open(path)


@pytest.mark.parametrize("name", ["", ".", "build"])
def test_a_folder_is_no_model_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    with pytest.raises(UsageError, match="is a folder, not a model file"):
        Network.open(Path(name))

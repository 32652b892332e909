"""The demo without a window: every frame of a source through the network, the effect, and into a file."""

from __future__ import annotations

import json
import threading
from time import sleep

import cv2
import numpy as np
import pytest

from toolchain.cli import run
from toolchain.demo import app, output, web_demo
from toolchain.demo.app import DemoOptions, other_precision, run_demo
from toolchain.demo.look import Look
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.face.picture import read_picture, write_picture
from toolchain.face.source import Synthetic, drawn_face, open_source
from toolchain.spec import load_sidecar, sidecar_path

RED = (255, 0, 0)


def frames_of(path):
    return list(open_source(str(path)).frames())


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def options(stand_ins, source, **changes):
    given = {"artifacts": (stand_ins / "stand-in-fp32.onnx",), "window": False, **changes}
    return DemoOptions(source=source if not isinstance(source, str) else open_source(source), **given)


def lips(picture):
    """Pixels that are red."""
    return (picture[..., 0].astype(int) - picture[..., 1:].max(axis=-1) > 120).sum()


def test_every_frame_of_a_clip_is_processed_and_written(stand_ins, clip, tmp_path):
    target = tmp_path / "out.avi"
    made = run_demo(options(stand_ins, str(clip), look=Look("lipstick", RED), output=target))
    assert made["frames"] == {"captured": 45, "shown": 45, "dropped": 0}
    assert made["glass_to_glass"] is None
    assert made["with_face"] == 1
    assert made["steadiness"] > 0.9
    written = frames_of(target)
    assert len(written) == 45
    for number in (0, 20, 44):
        x, y = Synthetic().centre(number)
        mouth = written[number][int(y + 40) : int(y + 100), int(x - 50) : int(x + 50)]
        assert lips(mouth) > 100
        assert lips(mouth) == lips(written[number])
    assert leftovers(tmp_path) == []


def test_a_slow_network_ends_before_the_demo_does(stand_ins, clip, monkeypatch):
    """Python aborts when it ends while a thread of it is in a network's code."""
    slow = app.Scene.process
    monkeypatch.setattr(app, "PATIENCE", 0.01)
    monkeypatch.setattr(app.Scene, "process", lambda *args: (sleep(0.3), slow(*args))[1])
    run_demo(options(stand_ins, str(clip), max_frames=1))
    assert "inference" not in {thread.name for thread in threading.enumerate()}


def test_the_mirror_exchanges_left_and_right(stand_ins, tmp_path):
    write_picture(tmp_path / "face.png", drawn_face((640, 480), (250, 240), 220))
    for mirror in (False, True):
        target = tmp_path / f"{mirror}.png"
        look = Look("lipstick", RED, mirror=mirror)
        run_demo(options(stand_ins, str(tmp_path / "face.png"), look=look, output=target))
    plain, mirrored = (read_picture(tmp_path / f"{mirror}.png") for mirror in (False, True))
    assert lips(plain) > 100
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


def test_a_folder_becomes_a_folder_with_the_same_names(stand_ins, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, side in (("b.png", 200), ("a.png", 240)):
        write_picture(source / name, drawn_face((500, 480), (250, 240), side))
    made = run_demo(options(stand_ins, str(source), look=Look("lipstick", RED), output=target))
    assert made["frames"]["shown"] == 2
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "b.png"]
    assert lips(read_picture(target / "a.png")) > lips(read_picture(target / "b.png")) > 100
    assert leftovers(tmp_path) == []


def test_a_file_compared_with_itself_agrees_and_with_another_differs(stand_ins, tmp_path):
    first, second = stand_ins / "stand-in-fp32.onnx", stand_ins / "stand-in-int8.onnx"
    shares = []
    for name, files in (("same.avi", (first, first)), ("other.avi", (first, second))):
        made = run_demo(
            options(stand_ins, Synthetic(count=6), artifacts=files, look=Look("none"), output=tmp_path / name)
        )
        assert len(made["artifacts"]) == 2
        shares.append(made["agreement"]["face_pixels"])
    assert shares[0] == 1.0
    assert 0.9 < shares[1] < 0.999
    same, other = (frames_of(tmp_path / name)[5].astype(int) for name in ("same.avi", "other.avi"))
    assert same.shape == (480, 1280, 3)
    # What differs is yellow in both halves.
    yellow = [np.minimum(f[..., 0], f[..., 1]) - f[..., 2] > 70 for f in (same[60:440], other[60:440])]
    assert yellow[0].sum() == 0
    assert yellow[1][:, :640].sum() > 100
    assert yellow[1][:, 640:].sum() > 100


def test_both_precisions_along_a_line(stand_ins, tmp_path):
    first = stand_ins / "stand-in-fp32.onnx"
    made = run_demo(
        options(
            stand_ins,
            Synthetic(count=3),
            look=Look("mask", split=True, line=0.25),
            second=lambda: other_precision(first, "fp32"),
            output=tmp_path / "out.avi",
        )
    )
    assert [network["precision"] for network in made["artifacts"]] == ["fp32", "int8"]
    picture = frames_of(tmp_path / "out.avi")[2]
    assert (picture[:, 160] > 230).all()
    assert made["agreement"]["pixels"] < 1


def test_frames_of_a_picture_without_a_face_stay_as_they_are(stand_ins, tmp_path):
    grey = np.full((120, 160, 3), 90, np.uint8)
    write_picture(tmp_path / "grey.png", grey)
    target = tmp_path / "out.png"
    made = run_demo(options(stand_ins, str(tmp_path / "grey.png"), output=target))
    assert (made["faces"], made["with_face"]) == (0, 0)
    np.testing.assert_array_equal(read_picture(target), grey)


def test_a_clip_that_ends_early_leaves_no_output(stand_ins, tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, (160, 120))
    for picture in Synthetic((160, 120), 60).frames():
        writer.write(picture)
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    before = (tmp_path / "out.mp4", b"kept")
    before[0].write_bytes(before[1])
    with pytest.raises(UnsupportedError, match="ends early"):
        run_demo(options(stand_ins, str(path), output=before[0]))
    assert before[0].read_bytes() == before[1]
    assert leftovers(tmp_path) == []


class Recording(Synthetic):
    """A camera that goes away after five frames."""

    live, rate = True, None

    def frames(self):
        for number, picture in enumerate(super().frames()):
            if number == 5:
                raise UnsupportedError("camera 0 went away after 5 frames")
            yield picture


def test_a_recording_is_kept_although_the_camera_went_away(stand_ins, tmp_path):
    with pytest.raises(UnsupportedError, match="went away"):
        run_demo(options(stand_ins, Recording((320, 240)), output=tmp_path / "out.mp4"))
    assert len(frames_of(tmp_path / "out.mp4")) >= 1
    assert leftovers(tmp_path) == []


def test_a_pause_of_the_camera_does_not_fill_the_recording(tmp_path, monkeypatch):
    times = iter([0.0, 0.5, 3600.0, 3600.5])
    monkeypatch.setattr(output, "perf_counter", lambda: next(times))
    made = output.ClipOutput(tmp_path / "out.avi", Recording((64, 48)))
    for picture in Synthetic((64, 48), count=4).frames():
        made.write(picture)
    made.commit()
    # Half a second, at most the longest gap, and half a second, of 30 frames each.
    assert len(frames_of(tmp_path / "out.avi")) == 1 + 15 + 30 + 15


def test_several_faces_are_followed_by_default(stand_ins, tmp_path):
    face = drawn_face((320, 480), (160, 240), 200)
    write_picture(tmp_path / "two.png", np.hstack([face, face]))
    assert run_demo(options(stand_ins, str(tmp_path / "two.png")))["faces"] == 2
    assert run_demo(options(stand_ins, str(tmp_path / "two.png"), faces=1))["faces"] == 1


def test_that_there_was_no_face_is_said(stand_ins, tmp_path, capsys):
    write_picture(tmp_path / "grey.png", np.full((120, 160, 3), 90, np.uint8))
    words = ["demo", "--artifact", str(stand_ins / "stand-in-fp32.onnx"), "--no-window"]
    assert run([*words, "--source", str(tmp_path / "grey.png")]) == 0
    shown = capsys.readouterr()
    assert "no face was found, nothing was painted" in shown.out + shown.err


def test_the_page_is_served_to_this_computer_only_by_default(stand_ins, monkeypatch):
    given = {}
    monkeypatch.setattr(web_demo, "serve_demo", lambda files, **options: given.update(options, files=files))
    assert run(["demo", "--web", "--artifact", str(stand_ins / "stand-in-fp32.onnx")]) == 0
    assert (given["host"], given["port"], given["https"]) == ("127.0.0.1", 8000, False)


def test_a_clip_that_cannot_be_written_whole_is_an_error(stand_ins, tmp_path, monkeypatch):
    real = cv2.VideoWriter

    class Full:
        """Loses every frame after the second, as OpenCV does on a full disk, and says nothing."""

        def __init__(self, *arguments):
            self.writer, self.count = real(*arguments), 0
            self.isOpened, self.release = self.writer.isOpened, self.writer.release

        def write(self, frame):
            self.count += 1
            if self.count <= 2:
                self.writer.write(frame)

    monkeypatch.setattr(cv2, "VideoWriter", Full)
    with pytest.raises(ToolchainError, match="2 of 6 frames"):
        run_demo(options(stand_ins, Synthetic(count=6), output=tmp_path / "out.avi"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--artifact", "missing.tflite"], 2, "no model file at 'missing.tflite'"),
        (["--artifact", "lone.onnx"], 2, "'lone.onnx' has no sidecar"),
        (["--artifact", "classifier.onnx"], 3, "no segmentation of pictures"),
        (["--source", "missing.mp4"], 2, "there is no source 'missing.mp4'"),
        (["--source", "63"], 2, "camera 63"),
        (["--source", "synthetic", "-o", "out.png"], 2, "'out.png' is no clip"),
        (["--source", "face.png", "-o", "out.mp4"], 2, "is one picture"),
        (["--source", "face.png", "-o", "face.png"], 2, "the source itself"),
        (["--source", "synthetic", "-o", "missing/out.mp4"], 2, "there is no folder 'missing'"),
        (["--effect", "lipgloss"], 2, "unknown effect 'lipgloss'"),
        (["--effect", "blur", "--color", "ruby"], 2, "has no colour"),
        (["--color", "rubi"], 2, "'rubi' is no colour"),
        (["--port", "80"], 2, "--port is for --web only"),
        (["--web", "--mirror"], 2, "is not for --web"),
        (["--source", "synthetic", "--split", "--max-frames", "2"], 2, "no int8 file beside"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words, status, says, stand_ins, tmp_path, monkeypatch, capsys, request
):
    monkeypatch.chdir(tmp_path)
    write_picture("face.png", drawn_face((320, 240), (160, 120), 100))
    net = (stand_ins / "stand-in-fp32.onnx").read_bytes()
    sidecar = sidecar_path(stand_ins / "stand-in-fp32.onnx").read_text()
    for name in ("lone.onnx", "net-fp32.onnx", "classifier.onnx"):
        (tmp_path / name).write_bytes(net)
    (tmp_path / "net-fp32.onnx.json").write_text(sidecar)
    (tmp_path / "classifier.onnx.json").write_text(sidecar.replace('"segmentation"', '"classification"'))
    given = ["demo", *words]
    if "--web" not in words:
        given += [] if "--port" in words else ["--no-window"]
        given += [] if "--source" in words else ["--source", "face.png"]
    given += [] if "--artifact" in words else ["--artifact", "net-fp32.onnx"]
    assert run(given) == status
    out, err = capsys.readouterr()
    assert says in err.splitlines()[0]
    assert err.splitlines()[0].startswith("error: ")
    assert "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.glob("out.*"))


def test_the_command_prints_json_and_nothing_else(stand_ins, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--source", "synthetic", "--max-frames", "4", "--no-window", "--json", "--effect", "skin"]
    assert run(["demo", *words, "--artifact", str(stand_ins / "stand-in-fp32.onnx")]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["frames"]["shown"] == 4
    assert (made["effect"], made["color"]) == ("skin", None)
    assert run(["demo", *words[:5], "--artifact", str(stand_ins / "stand-in-fp32.onnx")]) == 0
    assert "4 frames of synthetic" in capsys.readouterr().out


def test_two_networks_with_other_classes_cannot_be_compared(stand_ins, tmp_path):
    from toolchain.demo.lanes import Follower, Leader, Network

    path = tmp_path / "other.onnx"
    path.write_bytes((stand_ins / "stand-in-fp32.onnx").read_bytes())
    described = sidecar_path(stand_ins / "stand-in-fp32.onnx").read_text()
    sidecar_path(path).write_text(described.replace('"left brow"', '"hair"'))
    assert "hair" in load_sidecar(path).labels
    leader = Leader(Network.open(stand_ins / "stand-in-fp32.onnx"))
    with pytest.raises(UsageError, match="other classes"):
        Follower(Network.open(path), leader.contract)

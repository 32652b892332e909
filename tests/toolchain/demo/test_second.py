"""A second precision that cannot be shown: said on the screen and at the end, and the demo goes on."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from toolchain.benchmarks.demo_stand_in import write_stand_in
from toolchain.demo import app
from toolchain.demo.app import DemoOptions, run_demo
from toolchain.demo.lanes import Leader, Network
from toolchain.demo.look import Look
from toolchain.demo.scene import Scene
from toolchain.demo.second import LOADING, Second
from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.source import Synthetic, open_source
from toolchain.spec import sidecar_path

PATIENCE = 120.0


def alerts(picture):
    """Pixels of a message: yellow, in the middle of the window."""
    middle = picture[200:300, :640].astype(int)
    return ((middle[..., 0] - middle[..., 2] > 95) & (middle[..., 1] > 130)).sum()


def has_line(picture):
    """Whether there is a white line in the middle, away from what is written over its ends."""
    return (picture[100:200, 320] == 255).all()


def copied(source: Path, folder: Path, name: str) -> Path:
    for path in (source, sidecar_path(source)):
        shutil.copy(path, folder / path.name.replace(source.name, name))
    return folder / name


def missing(_fp32: Path, _int8: Path) -> str:
    return "there is no int8 file beside"


def damaged(fp32: Path, int8: Path) -> str:
    copied(fp32, int8.parent, int8.name)
    int8.write_bytes(fp32.read_bytes()[:-200])
    return "net-int8.onnx'"


def not_finite(_fp32: Path, int8: Path) -> str:
    """Loads, and fails on its first frame, in the thread of the inference."""
    (int8.parent / "made").mkdir()
    copied(write_stand_in(int8.parent / "made", "int8", shift=float("nan")), int8.parent, int8.name)
    return "not finite"


@pytest.mark.parametrize("breaks", [missing, damaged, not_finite])
def test_a_second_precision_that_fails_ends_nothing(display, start, stand_ins, tmp_path, breaks):
    fp32, int8 = (tmp_path / f"net-{precision}.onnx" for precision in ("fp32", "int8"))
    copied(stand_ins / "stand-in-fp32.onnx", tmp_path, fp32.name)
    says = breaks(fp32, int8)
    demo = start(["--source", "synthetic", "--artifact", fp32, "--effect", "none", "--json"], display.name)
    demo.until(lambda: display.window() and display.screen()[150, 30].any())
    assert alerts(display.screen()) == 0
    display.press("p")
    demo.until(lambda: alerts(display.screen()) > 50)
    before = display.screen()
    # Frames go on below the message.
    demo.until(lambda: (display.screen()[350:440] != before[350:440]).any())
    display.press("q")
    status, out, err = demo.result()
    assert status == 0, err
    made = json.loads(out)
    assert [network["precision"] for network in made["artifacts"]] == ["fp32"]
    assert says in made["second_error"]
    assert err.count("\n") == 1
    assert err.startswith("note: the second precision could not be shown: ")
    assert made["second_error"] in err


def test_what_was_asked_for_by_an_option_is_an_error_at_the_end(display, start, stand_ins, tmp_path):
    fp32 = copied(stand_ins / "stand-in-fp32.onnx", tmp_path, "net-fp32.onnx")
    words = ["--source", "synthetic", "--artifact", fp32, "--effect", "none", "--split", "-o", "out.avi"]
    demo = start([*words, "--max-frames", "20"], display.name)
    status, out, err = demo.result()
    assert status == 2
    assert "20 frames of synthetic" in out
    assert "wrote out.avi" in out
    assert err.startswith("error: the second precision could not be shown: there is no int8 file beside")
    assert len(list(open_source(str(tmp_path / "out.avi")).frames())) == 20


def test_asking_again_tries_again(display, start, stand_ins, tmp_path):
    fp32 = copied(stand_ins / "stand-in-fp32.onnx", tmp_path, "net-fp32.onnx")
    demo = start(["--source", "synthetic", "--artifact", fp32, "--effect", "none", "--json"], display.name)
    demo.until(lambda: display.window() and display.screen()[150, 30].any())
    display.press("p")
    demo.until(lambda: alerts(display.screen()) > 50)
    display.press("p")
    demo.until(lambda: alerts(display.screen()) == 0)
    assert not has_line(display.screen())
    copied(stand_ins / "stand-in-int8.onnx", tmp_path, "net-int8.onnx")
    display.press("p")
    demo.until(lambda: has_line(display.screen()))
    display.press("q")
    status, out, err = demo.result()
    assert (status, err) == (0, "")
    made = json.loads(out)
    assert [network["precision"] for network in made["artifacts"]] == ["fp32", "int8"]
    assert made["second_error"] is None


@pytest.fixture
def scene(stand_ins):
    """A scene with one network, and the list of those that are open."""
    network = Network.open(stand_ins / "stand-in-fp32.onnx")
    networks = [network]
    yield Scene(Leader(network), optional=True), networks
    for one in networks:
        one.close()


def wait(second: Second) -> None:
    end = time.monotonic() + PATIENCE
    while second.message == LOADING:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UsageError("no such file", "look elsewhere"), "no second precision: no such file"),
        (OSError(28, "No space left on device"), "no second precision: OSError: [Errno 28] No space left"),
        (RuntimeError("two\n  lines"), "no second precision: RuntimeError: two lines"),
        (MemoryError(), "no second precision: MemoryError: "),
    ],
)
def test_a_message_stays_while_both_are_wanted(scene, stand_ins, monkeypatch, error, text):
    answers = [error, error, stand_ins / "stand-in-int8.onnx"]
    asked = []

    def give() -> Path:
        asked.append(answers[len(asked)])
        if isinstance(asked[-1], BaseException):
            raise asked[-1]
        return asked[-1]

    made, networks = scene
    second = Second(made, networks, give)
    second.update(False)
    assert (asked, second.message) == ([], "")
    for _ in range(2):
        second.update(True)
        wait(second)
        # Hours later it is still there, and nothing has been tried again.
        for _ in range(3):
            second.update(True)
            assert second.message.startswith(text)
        assert second.error is error
        second.update(False)
        assert second.message == ""
    assert len(asked) == 2
    second.update(True)
    wait(second)
    second.update(True)
    assert (second.error, second.message, len(networks)) == (None, "", 2)
    assert made.follower is not None


def test_a_network_with_other_classes_is_not_kept_open(scene, stand_ins, tmp_path):
    made, networks = scene
    path = copied(stand_ins / "stand-in-fp32.onnx", tmp_path, "other.onnx")
    described = sidecar_path(path).read_text()
    sidecar_path(path).write_text(described.replace('"left brow"', '"hair"'))
    second = Second(made, networks, lambda: path)
    with pytest.raises(UsageError, match="other classes"):
        second.open()
    assert (len(networks), made.follower) == (1, None)


def test_a_failure_is_raised_where_the_second_file_is_no_option(scene, tmp_path):
    made, networks = scene
    made.optional = False
    path = write_stand_in(tmp_path, "int8", shift=float("nan"))
    Second(made, networks, lambda: path).open()
    picture = next(Synthetic().frames())
    with pytest.raises(UnsupportedError, match="not finite"):
        made.process(picture, Look(split=True), True, 0.0)


class Unseen:
    """A window that nobody sees."""

    is_closed = False

    def show(self, _picture) -> int:
        return -1

    def poll(self) -> int:
        return -1

    def close(self) -> None:
        pass


def test_an_unknown_error_is_raised_after_the_output_was_written(stand_ins, tmp_path, monkeypatch):
    def give() -> Path:
        raise RuntimeError("a mistake in the program")

    monkeypatch.setattr(app, "check_display", lambda: None)
    monkeypatch.setattr(app, "Window", Unseen)
    options = DemoOptions(
        source=Synthetic(count=5),
        artifacts=(stand_ins / "stand-in-fp32.onnx",),
        look=Look("none", split=True),
        output=tmp_path / "out.avi",
        second=give,
    )
    with pytest.raises(RuntimeError, match="a mistake in the program"):
        run_demo(options)
    assert len(list(open_source(str(tmp_path / "out.avi")).frames())) == 5

"""A face parser without weights, a clip of drawn faces, and an X server without a screen."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.benchmarks.demo_stand_in import write_stand_in
from toolchain.face.source import Synthetic

SCREEN = (800, 600)
COMMAND = "import sys; from toolchain.cli import main; main(sys.argv[1:])"
KEY_PRESS, CLIENT_MESSAGE = 2, 33
# Seconds; nothing takes so long, unless it does not come to an end.
ALWAYS = 240.0


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory) -> Path:
    """A folder with stand-in-fp32.onnx, stand-in-int8.onnx (wider skin), and their sidecars."""
    folder = tmp_path_factory.mktemp("stand-in")
    write_stand_in(folder)
    write_stand_in(folder, "int8", shift=4.0)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """45 frames of a drawn face that moves, 640 x 480 at 30 frames/s."""
    path = tmp_path_factory.mktemp("clip") / "face.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, (640, 480))
    for picture in Synthetic(count=45).frames():
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


class _KeyEvent(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("root", ctypes.c_ulong),
        ("subwindow", ctypes.c_ulong), ("time", ctypes.c_ulong), ("x", ctypes.c_int), ("y", ctypes.c_int),
        ("x_root", ctypes.c_int), ("y_root", ctypes.c_int), ("state", ctypes.c_uint),
        ("keycode", ctypes.c_uint), ("same_screen", ctypes.c_int),
    ]  # fmt: skip


class _ClientMessage(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int), ("data", ctypes.c_long * 5),
    ]  # fmt: skip


class _Event(ctypes.Union):
    _fields_ = [("key", _KeyEvent), ("client", _ClientMessage), ("pad", ctypes.c_long * 24)]


class Display:
    """An X server: what it shows, and keys for its only window."""

    def __init__(self, number: str, folder: Path) -> None:
        self.name = f":{number}"
        self._frame = folder / "Xvfb_screen0"
        self._x = ctypes.CDLL("libX11.so.6")
        for function in ("XOpenDisplay", "XDefaultRootWindow", "XStringToKeysym", "XInternAtom"):
            getattr(self._x, function).restype = ctypes.c_void_p
        self._display = ctypes.c_void_p(self._x.XOpenDisplay(self.name.encode()))
        assert self._display.value

    def screen(self) -> np.ndarray:
        """(height, width, 3) RGB: the whole screen, from the server's XWD file."""
        data = self._frame.read_bytes()
        header = struct.unpack(">25I", data[:100])
        width, height, line, colors = header[4], header[5], header[12], header[19]
        pixels = np.frombuffer(data, np.uint8, line * height, header[0] + 12 * colors)
        return pixels.reshape(height, line // 4, 4)[:, :width, 2::-1].copy()

    def window(self) -> int:
        """The window that is shown, 0 while there is none."""
        root, parent, count = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_uint()
        children = ctypes.POINTER(ctypes.c_ulong)()
        top = ctypes.c_ulong(self._x.XDefaultRootWindow(self._display))
        references = (ctypes.byref(value) for value in (root, parent, children, count))
        self._x.XQueryTree(self._display, top, *references)
        for index in range(count.value):
            name = ctypes.c_char_p()
            self._x.XFetchName(self._display, ctypes.c_ulong(children[index]), ctypes.byref(name))
            if name.value and b"toolchain" in name.value:
                return int(children[index])
        return 0

    def press(self, key: str) -> None:
        """Send a key to the window."""
        event = _Event()
        symbol = ctypes.c_ulong(self._x.XStringToKeysym(key.encode()))
        event.key.type, event.key.same_screen = KEY_PRESS, 1
        event.key.display, event.key.window = self._display, self.window()
        event.key.root = self._x.XDefaultRootWindow(self._display)
        event.key.keycode = self._x.XKeysymToKeycode(self._display, symbol)
        self._send(event)

    def close_window(self) -> None:
        """What a window manager does when its button is pressed."""
        event = _Event()
        event.client.type, event.client.format = CLIENT_MESSAGE, 32
        event.client.window = self.window()
        event.client.message_type = self._x.XInternAtom(self._display, b"WM_PROTOCOLS", 0)
        event.client.data[0] = self._x.XInternAtom(self._display, b"WM_DELETE_WINDOW", 0)
        self._send(event)

    def _send(self, event: _Event) -> None:
        target = ctypes.c_ulong(event.key.window)
        assert target.value
        self._x.XSendEvent(self._display, target, 0, ctypes.c_long(0), ctypes.byref(event))
        self._x.XFlush(self._display)


@pytest.fixture(scope="session")
def display(tmp_path_factory):
    """`Display`; without Xvfb the tests of the window fail."""
    if shutil.which("Xvfb") is None:
        pytest.fail("the tests of the window need Xvfb: apt-get install xvfb")
    folder = tmp_path_factory.mktemp("screen")
    reading, writing = os.pipe()
    words = f"-screen 0 {SCREEN[0]}x{SCREEN[1]}x24 -nolisten tcp -noreset".split()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-fbdir", str(folder), *words],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as numbers:
        number = numbers.readline().strip()
    assert number, "Xvfb does not start"
    yield Display(number, folder)
    server.terminate()
    server.wait()


class Demo:
    """The command in a process of its own."""

    def __init__(self, words: list[str], display: str | None, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
        if display is not None:
            environment["DISPLAY"] = display
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND, "demo", *words],
            cwd=folder,
            env=environment,
            # Programs that a script starts in the background have it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, condition) -> None:
        """Wait until something is so; an error when the command ends before."""
        end = time.monotonic() + ALWAYS
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)

    def result(self) -> tuple[int, str, str]:
        """Exit code, and what it wrote to both streams."""
        out, err = self.process.communicate(timeout=ALWAYS)
        return self.process.returncode, out, err


@pytest.fixture
def command(tmp_path):
    """Starts `toolchain demo` with words, on a display or none; what still runs at the end is ended."""
    started = []

    def start_demo(words: list[str], display: str | None = None) -> Demo:
        started.append(Demo([str(word) for word in words], display, tmp_path))
        return started[-1]

    yield start_demo
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.communicate()


@pytest.fixture
def start(command):
    """The same by another name, which the tests of the page have for their browser."""
    return command

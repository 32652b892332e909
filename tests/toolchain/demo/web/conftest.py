"""Chromium with a fake camera, and the page with a face parser."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from toolchain.benchmarks.devices.web_browser import find_browser
from toolchain.cli import run
from toolchain.demo.web_demo import DemoServer
from toolchain.demo.web_site import DemoSite
from toolchain.face.picture import read_picture

PICTURE = Path(__file__).parents[4] / "docs" / "images" / "astronaut.jpg"
WIDTH, HEIGHT, RATE = 640, 480, 30
LEAST_AGREEMENT = 0.995
PATIENCE = 180.0
NETWORK = "mobile-hourglass"
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
# Row and column of the nose in PICTURE.
NOSE = (130, 225)
# Arrays as text, in pieces that a call may have as arguments.
PACK = """(array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = '';
  for (let at = 0; at < bytes.length; at += 32768) {
    text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  return btoa(text);
}"""
ARRAYS = {
    "pixels": np.uint8,
    "shown": np.uint8,
    "labels": np.uint8,
    "probabilities": np.float32,
    "previous": np.float32,
}


class Browser:
    """Chromium without a window, spoken to over a pipe with the DevTools protocol."""

    def __init__(self, folder: Path, *options: str) -> None:
        program = find_browser()
        assert program, "install Chromium for the tests of pages"
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # Chromium reads from descriptor 3 and writes to 4; above 10 nothing is in the way of these two.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        words = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run"]
        words += ["--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        words += ["--disable-sync", "--no-sandbox", "--autoplay-policy=no-user-gesture-required", *options]
        self._process = subprocess.Popen(
            [program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=place,
            pass_fds=(3, 4),
            start_new_session=True,
        )
        for end in (to_browser, from_browser, *ends):
            os.close(end)
        os.set_blocking(self._in, False)
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: str | None = None
        self.errors: list[str] = []

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, url: str, width: int, height: int) -> None:
        """A new page of that size; the one before is closed."""
        if self._session:
            self.call("Page.close")
            self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self.errors.clear()
        self.call("Page.navigate", url=url)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)
        raise AssertionError(f"Chromium did not answer to {method}")

    def _messages(self) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            text, found, rest = self._rest.partition(b"\0")
            if found:
                self._rest = rest
                yield json.loads(text)
                continue
            pieces = [self._rest]
            try:
                while b"\0" not in (piece := os.read(self._in, 1 << 20)):
                    assert piece, "Chromium has ended"
                    pieces.append(piece)
                pieces.append(piece)
            except BlockingIOError:
                time.sleep(0.002)
            self._rest = b"".join(pieces)

    def _note(self, event: dict[str, Any]) -> None:
        values = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(values["exceptionDetails"])[:500])
        elif event.get("method") == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.errors.append(values["entry"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and values["type"] in ("error", "assert"):
            self.errors.append(json.dumps(values["args"])[:500])

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is, or its promise becomes."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.value(expression):
            status = self.value("document.getElementById('status')?.textContent")
            assert time.monotonic() < deadline, f"{expression} is never true; the page says: {status}"
            time.sleep(0.1)

    def hears(self, start: str) -> None:
        """Until the page's status begins with these words."""
        self.wait(f"document.getElementById('status')?.textContent.startsWith({json.dumps(start)})")

    def ask(self, count: int = 1) -> None:
        """Ask for the next frames, before what makes them."""
        self.value(f"{{ self.made = toolchainDemo.frames({count}); undefined }}")

    def frames(self, count: int = 0) -> list[dict[str, Any]]:
        """The frames that were asked for, or the next `count` ones, with the page's arrays as arrays."""
        if count:
            self.ask(count)
        names = json.dumps(list(ARRAYS))
        text = self.value(
            "self.made.then((made) => JSON.stringify(made.map((frame) => "
            f"({{...frame, ...Object.fromEntries({names}.map((name) => [name, ({PACK})(frame[name])]))}}))))"
        )
        frames = json.loads(text)
        for frame in frames:
            for name, kind in ARRAYS.items():
                frame[name] = np.frombuffer(base64.b64decode(frame[name]), kind)
            sizes = frame["height"], frame["width"]
            for name in ("pixels", "shown"):
                frame[name] = np.ascontiguousarray(frame[name].reshape(*sizes, 4)[..., :3])
            if frame["square"]:
                frame["labels"] = frame["labels"].reshape(sizes)
        return frames

    def choose(self, control: str, value: str) -> None:
        """Give a control a value, as a person would."""
        self.value(
            f"{{ const one = document.getElementById('{control}'); one.value = '{value}'; "
            "one.dispatchEvent(new Event('input')); one.dispatchEvent(new Event('change')); undefined }"
        )

    def drop(self, data: bytes, name: str) -> None:
        """Drop a file on the page."""
        text = base64.b64encode(data).decode()
        self.value(
            f"{{ const data = Uint8Array.from(atob('{text}'), (one) => one.charCodeAt(0)); "
            f"const transfer = new DataTransfer(); transfer.items.add(new File([data], '{name}')); "
            "document.getElementById('drop').dispatchEvent("
            "new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true})); undefined }"
        )

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      **({"text": text} if text and kind == "keyDown" else {}))  # fmt: skip

    def screenshot(self, path: Path) -> np.ndarray:
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        path.write_bytes(data)
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    """A YUV4MPEG2 file of RGB frames, which Chromium takes for a camera."""
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C420\n".encode())
        for frame in frames:
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())


def moving(picture: np.ndarray) -> list[np.ndarray]:
    """A face that moves to and fro and comes nearer, about a pixel a frame."""
    made = []
    for step in range(40):
        phase = 2 * np.pi * step / 40
        scale = 1.15 + 0.04 * np.cos(phase)
        x, y = 320 - 225 * scale + 12 * np.sin(phase), 250 - 118 * scale
        matrix = np.array([[scale, 0, x], [0, scale, y]])
        made.append(cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE))
    return made


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("build")
    words = ["export", NETWORK, "-f", "tflite", "-p", "fp32", "-p", "int8", "-o", str(folder)]
    assert run(words) == 0
    return [folder / f"{NETWORK}-{precision}.tflite" for precision in ("fp32", "int8")]


@pytest.fixture(scope="session")
def server(artifacts: list[Path]) -> Iterator[DemoServer]:
    with DemoServer(DemoSite(artifacts)) as running:
        yield running


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Browser]]:
    """Function (*options) -> a browser; the one before is closed, so that one at a time runs."""
    running: list[Browser] = []

    def go(*options: str) -> Browser:
        while running:
            running.pop().close()
        running.append(Browser(tmp_path_factory.mktemp("profile"), *options))
        return running[-1]

    yield go
    while running:
        running.pop().close()


@pytest.fixture(scope="module")
def filmed(
    start: Callable[..., Browser], server: DemoServer, tmp_path_factory: pytest.TempPathFactory
) -> Browser:
    """A browser whose camera shows a moving face, with the page open."""
    clip = tmp_path_factory.mktemp("clip") / "face.y4m"
    write_clip(clip, moving(read_picture(PICTURE)))
    browser = start(*CAMERA, f"--use-file-for-fake-video-capture={clip}")
    browser.open(server.url, 1280, 900)
    browser.hears("Live.")
    return browser


@pytest.fixture(scope="session")
def picture() -> Path:
    """A photograph of one face."""
    return PICTURE

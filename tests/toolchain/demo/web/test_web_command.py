"""`toolchain demo --web` as a user starts it: the printed address in a real browser, then Ctrl-C."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from toolchain.face.picture import read_picture
from toolchain.spec import sidecar_path

# tests/toolchain/demo/conftest.py and tests/toolchain/demo/web/conftest.py have the classes.
Demo = Any
Browser = Any
PLAIN = ("open", "a phone", "Ctrl-C")
SECURE = ("open", "a phone", "SHA-256", "browsers warn", "only this computer", "Ctrl-C")


def told(demo: Demo) -> list[str]:
    """The lines that the command prints before it waits."""
    lines = [demo.process.stdout.readline().rstrip("\n")]
    while lines[-1] and not lines[-1].startswith("Ctrl-C"):
        lines.append(demo.process.stdout.readline().rstrip("\n"))
    assert lines[-1], demo.result()
    return lines


def interrupted(demo: Demo) -> tuple[int, str, str]:
    demo.process.send_signal(signal.SIGINT)
    return demo.result()


@pytest.mark.parametrize(("options", "starts"), [((), PLAIN), (("--https",), SECURE)], ids=["http", "https"])
def test_a_picture_is_parsed_in_the_page_that_the_command_serves(
    command: Callable[..., Demo],
    start: Callable[..., Browser],
    artifacts: list[Path],
    picture: Path,
    options: tuple[str, ...],
    starts: tuple[str, ...],
) -> None:
    demo = command(["--web", "--port", "0", "--artifact", artifacts[0], *options])
    lines = told(demo)
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * len(starts)
    url = lines[0].removeprefix("open ")
    browser = start("--ignore-certificate-errors")
    browser.open(url, 1280, 900)
    browser.hears("No camera was found.")
    browser.ask()
    browser.drop(picture.read_bytes(), "face.jpg")
    (frame,) = browser.frames()
    browser.hears("Done.")
    nose = np.argwhere(frame["labels"] == 6).mean(axis=0)
    assert np.abs(nose - (130, 225)).max() < 15
    assert (frame["shown"] != frame["pixels"]).any(axis=-1).mean() > 0.02
    assert np.abs(frame["pixels"].astype(int) - read_picture(picture)).mean() < 1
    assert ", fp32," in browser.value("document.getElementById('network-name').textContent")
    assert browser.errors == []
    assert interrupted(demo) == (0, "", "")
    # Nobody listens any more, and the page says so.
    place = urlsplit(url)
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(place.hostname, place.port, timeout=5).request("GET", place.path)
    browser.choose("artifact", "0")
    browser.hears("The server does not answer: is `toolchain demo --web` still running?")


def test_two_files_can_be_chosen_between(
    command: Callable[..., Demo], start: Callable[..., Browser], artifacts: list[Path]
) -> None:
    demo = command(["--web", "--port", "0", "--compare", *artifacts])
    browser = start("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    browser.open(told(demo)[0].removeprefix("open "), 360, 740)
    browser.hears("No face in sight")
    for index, precision in ((1, "int8"), (0, "fp32")):
        browser.choose("artifact", str(index))
        browser.wait(f"document.getElementById('network-name').textContent.includes(', {precision},')")
        browser.hears("No face in sight")
    assert browser.errors == []
    assert interrupted(demo) == (0, "", "")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_one_error(command: Callable[..., Demo], artifacts: list[Path], taken: int) -> None:
    status, out, err = command(["--web", "--port", taken, "--artifact", artifacts[0]]).result()
    assert (status, out) == (2, "")
    assert re.fullmatch(rf"error: [^\n]*port {taken}[^\n]*\nhint: [^\n]*--port[^\n]*\n", err)


def test_a_file_that_litert_cannot_load_is_said_on_the_page(
    command: Callable[..., Demo], start: Callable[..., Browser], artifacts: list[Path], tmp_path: Path
) -> None:
    """Its sidecar is its own, as far as the server can tell: only LiteRT.js finds out."""
    path = tmp_path / "broken.tflite"
    data = bytearray(artifacts[0].read_bytes())
    data[64:4096] = bytes(4032)
    path.write_bytes(data)
    shutil.copy(sidecar_path(artifacts[0]), sidecar_path(path))
    sidecar = json.loads(sidecar_path(path).read_text())
    sidecar["sha256"] = hashlib.sha256(data).hexdigest()
    sidecar_path(path).write_text(json.dumps(sidecar))
    demo = command(["--web", "--port", "0", "--artifact", path])
    browser = start()
    browser.open(told(demo)[0].removeprefix("open "), 1280, 900)
    browser.wait("document.getElementById('status')?.classList.contains('failed')")
    said = browser.value("document.getElementById('status').textContent")
    assert said.startswith("broken.tflite cannot be run: ")
    assert interrupted(demo)[0] == 0

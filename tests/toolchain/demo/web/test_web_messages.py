"""What the page says when something is in its way, and when the server has another file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from toolchain.demo.web_demo import DemoServer
from toolchain.demo.web_site import DemoSite
from toolchain.spec import sidecar_path

# tests/toolchain/demo/web/conftest.py has the class.
Browser = Any
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def test_pictures_without_a_face(start: Callable[..., Browser], server: DemoServer) -> None:
    browser = start()
    browser.open(server.url, 360, 740)
    browser.hears("No camera was found.")
    browser.drop(cv2.imencode(".png", np.full((200, 200, 3), 90, np.uint8))[1].tobytes(), "wall.png")
    browser.hears("No face was found")
    browser.drop(b"no picture", "text.jpg")
    browser.hears("“text.jpg” is no picture")
    assert browser.errors == []


def test_what_stands_in_the_way_is_said(start: Callable[..., Browser], server: DemoServer) -> None:
    browser = start("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    browser.open(server.url, 360, 740)
    browser.hears("The camera was refused.")
    assert browser.value("document.getElementById('status').classList.contains('failed')")
    # A picture can still be opened.
    assert browser.value("!document.getElementById('choose').disabled")
    browser.call("Page.addScriptToEvaluateOnNewDocument", source="WebAssembly.validate = () => false")
    browser.call("Page.navigate", url=server.url)
    browser.hears("This browser has no WebAssembly with SIMD.")
    assert browser.errors == []


def test_a_new_export_shows_on_reload(
    start: Callable[..., Browser], artifacts: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / artifacts[0].name
    copies = [(path, artifacts[0]), (sidecar_path(path), sidecar_path(artifacts[0]))]
    for to, source in copies:
        shutil.copy(source, to)
    with DemoServer(DemoSite([path])) as server:
        browser = start(*CAMERA)
        browser.open(server.url, 1280, 900)
        browser.hears("No face in sight")
        assert ", fp32," in browser.value("document.getElementById('network-name').textContent")
        shutil.copy(artifacts[1], path)
        browser.call("Page.reload")
        browser.hears(f"The sidecar of {path.name} describes another file")
        shutil.copy(sidecar_path(artifacts[1]), sidecar_path(path))
        browser.call("Page.reload")
        browser.hears("No face in sight")
        assert ", int8," in browser.value("document.getElementById('network-name').textContent")
        path.unlink()
        browser.errors.clear()
        browser.call("Page.reload")
        browser.hears("The server has no artifact/0.tflite (404)")


def test_without_webgpu_the_page_says_so(start: Callable[..., Browser], server: DemoServer) -> None:
    browser = start(*CAMERA)
    browser.open(server.url, 1280, 900)
    browser.hears("No face in sight")
    browser.choose("backend", "webgpu")
    browser.wait("document.getElementById('note').textContent.endsWith('WebAssembly is used.')")
    browser.hears("No face in sight")
    assert browser.value("document.getElementById('backend').value") == "wasm"
    assert browser.errors == []

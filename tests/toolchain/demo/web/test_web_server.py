"""The demo's server: what it answers, to whom, over https as well, and what it refuses before it starts."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmarks.devices import web_site as benchmark_site
from toolchain.demo.web_certificate import self_signed
from toolchain.demo.web_demo import DemoServer, known_name, notes, serve_demo
from toolchain.demo.web_site import BUILT, DemoSite, check_artifact
from toolchain.errors import MissingDependencyError, ToolchainError, UnsupportedError, UsageError
from toolchain.spec import Artifact, Preprocess, TensorSpec

SOURCES = BUILT.with_name("web")
LABELS = ("background", "skin", "nose")
SIZE = 8


def described(path: Path) -> Artifact:
    """A face parser as a sidecar describes it; the file itself is never run here."""
    data = path.read_bytes()
    return Artifact(
        path=path, format="tflite", precision="fp32", name="tiny", task="segmentation",
        inputs=(TensorSpec("image", (1, SIZE, SIZE, 3), "float32", "NHWC"),),
        outputs=(TensorSpec("logits", (1, SIZE, SIZE, len(LABELS)), "float32", "NHWC"),),
        preprocess=Preprocess(), labels=LABELS, palette=((0, 0, 0), (9, 9, 9), (5, 6, 7)),
        bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip


def describe(artifact: Artifact) -> Path:
    artifact.sidecar_path.write_text(json.dumps(artifact.sidecar()))
    return artifact.path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-fp32.tflite"
    path.write_bytes(b"a network")
    return describe(described(path))


def ask(
    server: DemoServer, path: str, host: str | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    place = urlsplit(server.url)
    if server.certificate:
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(place.hostname, place.port, timeout=20, context=trusting)
    else:
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    try:
        headers = {"Host": host} if host is not None else {}
        connection.request(method, f"{place.path}{path}", headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("https", [False, True])
def test_the_page_comes_with_strict_headers(tiny: Path, https: bool) -> None:
    with DemoServer(DemoSite([tiny]), https=https) as server:
        status, headers, body = ask(server, "")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b"toolchain demo" in body
        assert server.url.startswith("https://" if https else "http://")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Cache-Control"] == "no-store"
    assert "script-src 'self' 'wasm-unsafe-eval'" in headers["Content-Security-Policy"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_nothing_but_the_page_the_artefacts_and_their_sidecars(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    with DemoServer(DemoSite([tiny])) as server:
        (row,) = json.loads(ask(server, "artifacts.json")[2])
        assert row["name"] == "tiny-fp32.tflite"
        assert ask(server, row["file"])[2] == b"a network"
        assert json.loads(ask(server, row["sidecar"])[2])["labels"] == list(LABELS)
        status, headers, body = ask(server, "wasm/litert_wasm_internal.wasm")
        assert (status, headers["Content-Type"], headers["Content-Encoding"]) == (
            200,
            "application/wasm",
            "gzip",
        )
        assert body == (benchmark_site.BUILT / "wasm/litert_wasm_internal.wasm.gz").read_bytes()
        for path in (
            "secret.txt", "artifact/../secret.txt", "../", "artifact/", "artifact/1.tflite",
            "..%2fsecret.txt", "%2e%2e/web_site.py", "sources.json", "LICENSES.txt", "artifact/0.tflite/",
            "//etc/passwd", str(tmp_path / "secret.txt"),
        ):  # fmt: skip
            assert ask(server, path)[0] == 404, path
        for method in ("POST", "PUT", "DELETE"):
            assert ask(server, row["file"], method=method)[0] in (404, 501)


def test_two_files_of_one_name_are_told_apart_without_their_folders(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / tiny.name
    other.parent.mkdir()
    other.write_bytes(b"another")
    describe(described(other))
    with DemoServer(DemoSite([tiny, other])) as server:
        body = ask(server, "artifacts.json")[2]
        assert [row["name"] for row in json.loads(body)] == [f"1: {tiny.name}", f"2: {tiny.name}"]
        assert b"other" not in body
        assert ask(server, "artifact/1.tflite")[2] == b"another"


def test_files_are_read_again_for_every_request(tiny: Path) -> None:
    with DemoServer(DemoSite([tiny])) as server:
        tiny.write_bytes(b"a newer one")
        assert ask(server, "artifact/0.tflite")[2] == b"a newer one"
        tiny.unlink()
        assert ask(server, "artifact/0.tflite")[0] == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 421), ("192.168.1.5", 421), ("", 421), ("[", 421), ("127.0.0.1.evil.example:80", 421),
     ("localhost", 200), ("127.0.0.1:99", 200), ("[::1]:99", 200)],
)  # fmt: skip
def test_only_names_of_this_computer_are_answered(tiny: Path, host: str, status: int) -> None:
    with DemoServer(DemoSite([tiny])) as server:
        assert ask(server, "", host=host)[0] == status


@given(st.text(max_size=30))
def test_no_name_is_this_computers_by_chance(name: str) -> None:
    assert not known_name(name, "127.0.0.1") or "localhost" in name.lower() or "127." in name or ":" in name


@pytest.mark.parametrize(
    ("name", "known"),
    [("192.168.1.5:8000", True), ("[fe80::1]:8000", True), ("evil.example", False), (None, False)],
)
def test_names_where_the_network_is_let_in(name: str | None, known: bool) -> None:
    assert known_name(name, "0.0.0.0") is known


def test_the_certificate_is_the_one_that_is_told(tiny: Path) -> None:
    with DemoServer(DemoSite([tiny]), https=True) as server:
        seen = ssl.get_server_certificate(("127.0.0.1", server.port))
        assert server.certificate is not None
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(seen)).hexdigest().upper()
        assert server.certificate.fingerprint.replace(":", "") == digest
        # A client that trusts it takes it for these names.
        trusting = ssl.create_default_context(cadata=seen)
        for name in ("127.0.0.1", "localhost"):
            connection = http.client.HTTPSConnection(name, server.port, timeout=20, context=trusting)
            connection.request("GET", urlsplit(server.url).path)
            assert connection.getresponse().status == 200
            connection.close()


def test_keys_are_left_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = self_signed(["127.0.0.1", "computer.example"])
    assert len(made.fingerprint.split(":")) == 32
    assert made.fingerprint != self_signed(["127.0.0.1"]).fingerprint
    assert list(tmp_path.iterdir()) == []


def test_https_without_openssl_is_one_error(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="no `openssl` program") as caught:
        DemoServer(DemoSite([tiny]), https=True)
    assert "adb reverse" in caught.value.hint


def test_an_openssl_that_fails_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "openssl"
    program.write_text("#!/bin/sh\necho 'no entropy' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match="made no certificate: no entropy"):
        self_signed(["127.0.0.1"])


def test_a_port_in_use_is_one_error(tiny: Path) -> None:
    with DemoServer(DemoSite([tiny])) as server, pytest.raises(UsageError, match=f"port {server.port}"):
        serve_demo([tiny], port=server.port)


def test_files_that_the_page_cannot_show(tiny: Path, tmp_path: Path) -> None:
    good = described(tiny)
    with pytest.raises(UsageError, match="there is nothing to show"):
        DemoSite([])
    with pytest.raises(UsageError, match="no model file"):
        DemoSite([tmp_path / "none.tflite"])
    for change, message in (
        ({"sha256": "0" * 64}, "describes another file"),
        ({"labels": ("background", "cat", "dog")}, "does not parse faces"),
        ({"task": "classification"}, "no segmentation"),
        ({"inputs": (replace(good.inputs[0], dtype="int8"),)}, "LiteRT.js exchanges float32"),
    ):
        describe(replace(good, **change))
        with pytest.raises((UsageError, UnsupportedError), match=message):
            check_artifact(tiny)
    good.sidecar_path.unlink()
    with pytest.raises(UsageError, match="has no sidecar"):
        serve_demo([tiny])


def test_an_installation_without_the_page_is_one_error(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="not part of this installation"):
        DemoSite([tiny], tmp_path / "nothing")


def test_what_a_user_is_told(tiny: Path) -> None:
    lines: list[str] = []
    stop = threading.Event()
    stop.set()
    serve_demo([tiny], report=lines.append, stop=stop)
    port = urlsplit(lines[0].removeprefix("open ")).port
    assert lines[1].endswith(f"adb reverse tcp:{port} tcp:{port}")
    with DemoServer(DemoSite([tiny]), host="0.0.0.0") as server:
        assert any("no camera over plain http: add --https" in line for line in notes(server))
    with DemoServer(DemoSite([tiny]), host="0.0.0.0", https=True) as server:
        told = "\n".join(notes(server))
        assert server.certificate is not None
        assert server.certificate.fingerprint in told
        assert "adb" not in told
        assert "0.0.0.0" not in server.url


def test_the_built_page_is_of_these_sources() -> None:
    """Holds without Node; `npm ci && npm run build` in toolchain/demo/web makes both alike."""
    built = json.loads((BUILT / "sources.json").read_text())
    names = ("index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts")
    files = [SOURCES / name for name in names] + sorted((SOURCES / "src").iterdir())
    found = {
        file.relative_to(SOURCES).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }
    assert built["sources"] == found


def test_both_pages_have_one_litert() -> None:
    """The demo has no WebAssembly of its own: it takes the benchmark's."""
    assert list(BUILT.rglob("*.wasm*")) == []
    page = benchmark_site.BUILT.with_name("page")
    ours, theirs = (
        json.loads((folder / "package.json").read_text())["dependencies"] for folder in (SOURCES, page)
    )
    assert ours == theirs
    built = json.loads((BUILT / "sources.json").read_text())
    assert built["litertjs"] == ours["@litertjs/core"]
    licences = (benchmark_site.BUILT / "LICENSES.txt").read_text()
    assert f"@litertjs/core {built['litertjs']} " in licences

"""The page server: what is answered, what is refused, and with which headers."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from toolchain.benchmarks.devices.server import Content, PageServer
from toolchain.errors import UsageError

LIMIT = 100


class Notes:
    """A page, and a place where 100 bytes may be posted."""

    def __init__(self) -> None:
        self.posted: list[bytes] = []

    def get(self, path: str) -> Content | None:
        pages = {
            "": Content(b"<p>page</p>", "text/html"),
            "a/b.js": Content(b"\x1f\x8b", "text/javascript", "gzip"),
        }
        return pages.get(path)

    def limit(self, path: str) -> int | None:
        return LIMIT if path == "note" else None

    def post(self, path: str, body: bytes) -> str | None:
        if body == b"bad":
            return "no such note"
        self.posted.append(body)
        return None


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer(Notes()) as running:
        yield running


def ask(
    server: PageServer,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_the_page_comes_with_strict_headers(server: PageServer) -> None:
    status, headers, body = ask(server, "GET", f"/{server.token}/")
    assert (status, body, headers["Content-Type"]) == (200, b"<p>page</p>", "text/html")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]
    assert server.url == f"http://127.0.0.1:{server.port}/{server.token}/"


def test_compressed_files_say_so(server: PageServer) -> None:
    status, headers, body = ask(server, "GET", f"/{server.token}/a/b.js?x=1")
    assert (status, body, headers["Content-Encoding"]) == (200, b"\x1f\x8b", "gzip")


@pytest.mark.parametrize(
    "path",
    ["/", "/{token}", "/wrong/", "/{token}x/", "/{token}/other", "/{token}/../", "/{token}/a/../a/b.js",
     "/{token}/%2e%2e/server.py", "/favicon.ico"],
)  # fmt: skip
def test_everything_else_is_not_there(server: PageServer, path: str) -> None:
    status, _, body = ask(server, "GET", path.format(token=server.token))
    assert (status, body) == (404, b"not found\n")


def test_tokens_differ() -> None:
    made = {PageServer(Notes()).token for _ in range(3)}
    assert len(made) == 3
    assert all(len(token) >= 20 for token in made)


def test_what_is_posted_arrives(server: PageServer) -> None:
    assert ask(server, "POST", f"/{server.token}/note", b"x" * LIMIT)[0] == 200
    assert server.site.posted == [b"x" * LIMIT]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/{token}/note", b"x" * (LIMIT + 1), {}, 413),
        ("/{token}/note", None, {"Content-Length": "99999999999999999999999999"}, 413),
        ("/{token}/note", None, {"Content-Length": "-1"}, 411),
        ("/{token}/note", None, {"Transfer-Encoding": "chunked"}, 411),
        ("/{token}/note", b"bad", {}, 400),
        ("/{token}/", b"x", {}, 404),
        ("/wrong/note", b"x", {}, 404),
    ],
)
def test_what_is_refused(
    server: PageServer, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    assert ask(server, "POST", path.format(token=server.token), body, headers)[0] == status
    assert server.site.posted == []
    assert ask(server, "GET", f"/{server.token}/")[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_not_there(server: PageServer, method: str) -> None:
    assert ask(server, method, f"/{server.token}/note")[0] == 501


def test_a_port_in_use_is_one_error(server: PageServer) -> None:
    with pytest.raises(UsageError, match=f"nothing can be served on 127.0.0.1 port {server.port}") as caught:
        PageServer(Notes(), port=server.port)
    assert "--port 0" in caught.value.hint


def test_an_address_of_another_computer_is_one_error() -> None:
    with pytest.raises(UsageError, match=r"nothing can be served on 192\.0\.2\.7 port 0"):
        PageServer(Notes(), host="192.0.2.7")


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_loopback_is_told_apart(host: str, loopback: bool) -> None:
    with PageServer(Notes(), host=host) as running:
        assert running.loopback is loopback
        assert "0.0.0.0" not in running.url

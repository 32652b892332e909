"""A small HTTP server for one page and the files that it needs, behind a random token in the path.

Nothing outside the token is answered, nothing is listed, no path reaches the file system: a site knows each
of its files by name. Loopback unless told otherwise.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from toolchain.errors import UsageError

LOOPBACK = "127.0.0.1"
SOCKET_SECONDS = 30.0
TOKEN_BYTES = 16
# Cross-origin isolation gives the page a fine clock; 'wasm-unsafe-eval' allows WebAssembly and no eval.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Content:
    """What a path answers.

    Attributes:
        body: the bytes that are sent.
        kind: media type.
        encoding: "gzip" where `body` is compressed.
    """

    body: bytes
    kind: str
    encoding: str | None = None


class Site(Protocol):
    """What is served; called from several threads. Paths have no leading slash, the page itself is ""."""

    def get(self, path: str) -> Content | None:
        """The answer to GET; None for a path that is not there."""

    def limit(self, path: str) -> int | None:
        """The most bytes that may be posted there; None where nothing may be."""

    def post(self, path: str, body: bytes) -> str | None:
        """Take what was posted; a sentence when it is refused."""


@dataclass
class PageServer:
    """Serves a site until it is closed; use it in a `with` statement.

    Args:
        site: what is served.
        host: address to bind to.
        port: port; 0 takes a free one.

    Raises:
        UsageError: the address is not this computer's, or the port is in use or not allowed.
    """

    site: Site
    host: str = LOOPBACK
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_urlsafe(TOKEN_BYTES))

    def __post_init__(self) -> None:
        try:
            self._server = _Server((self.host, self.port), _handler(self.site, self.token))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"nothing can be served on {self.host} port {self.port}: {reason}",
                "--port 0 takes a free port; --host must be an address of this computer",
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Address of the page, for a browser on this computer or, where bound to more, in its network."""
        host = _reachable(self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/{self.token}/"

    @property
    def loopback(self) -> bool:
        """Whether browsers take the page for secure, which WebGPU and a fine clock need."""
        return is_loopback(self.host)

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    # On Windows this lets two servers share a port; elsewhere it only skips the wait after a server's end.
    allow_reuse_address = os.name == "posix"
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers close connections whenever they like; that is nobody's error."""


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this computer only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reachable(host: str) -> str:
    """The address that others call; "0.0.0.0" becomes that of the interface that leads out."""
    try:
        if not ipaddress.ip_address(host).is_unspecified:
            return host
    except ValueError:
        return host
    # Connecting a datagram socket chooses the interface and sends nothing (TEST-NET-1 of RFC 5737).
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return LOOPBACK


def _handler(site: Site, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "toolchain"
        sys_version = ""
        timeout = SOCKET_SECONDS

        def do_GET(self) -> None:
            path = self._inside()
            found = None if path is None else site.get(path)
            if found is None:
                self._answer(HTTPStatus.NOT_FOUND, Content(b"not found\n", "text/plain"))
                return
            self._answer(HTTPStatus.OK, found)

        def do_POST(self) -> None:
            path = self._inside()
            limit = None if path is None else site.limit(path)
            if path is None or limit is None:
                self._refuse(HTTPStatus.NOT_FOUND, "not found")
                return
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()):
                self._refuse(HTTPStatus.LENGTH_REQUIRED, "the length must be known")
            elif len(length) > len(str(limit)) or int(length) > limit:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {limit} bytes")
            else:
                self._take(path, self.rfile.read(int(length)), int(length))

        def _take(self, path: str, body: bytes, length: int) -> None:
            refused = "cut off" if len(body) != length else site.post(path, body)
            if refused is None:
                self._answer(HTTPStatus.OK, Content(b"", "text/plain"))
            else:
                self._refuse(HTTPStatus.BAD_REQUEST, refused)

        def _inside(self) -> str | None:
            """The path behind the token; None without it."""
            given, slash, rest = self.path.split("?", 1)[0].removeprefix("/").partition("/")
            known = secrets.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())
            return rest if known and slash else None

        def _refuse(self, status: HTTPStatus, reason: str) -> None:
            # The body was perhaps not read, so the connection cannot be used again.
            self.close_connection = True
            self._answer(status, Content(f"{reason}\n".encode(), "text/plain"), {"Connection": "close"})

        def _answer(
            self, status: HTTPStatus, content: Content, more: Mapping[str, str] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {**HEADERS, **(more or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Type", content.kind)
            if content.encoding:
                self.send_header("Content-Encoding", content.encoding)
            self.send_header("Content-Length", str(len(content.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content.body)

        def log_message(self, format: str, *args: Any) -> None:
            """The terminal belongs to the results."""

    return Handler

"""The demo in a browser: this computer serves a page that opens the camera and runs the network there."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from toolchain.benchmarks.devices.server import LOOPBACK, PageServer, Site, is_loopback
from toolchain.demo.web_certificate import Certificate, self_signed
from toolchain.demo.web_site import DemoSite

# Somebody types this on a phone: letters and digits that look like no other.
TOKEN_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
TOKEN_LENGTH = 10
WAIT_SECONDS = 0.25


class DemoServer(PageServer):
    """The page server, over https where wanted; answers only to names that are this computer's.

    A page of somebody else whose name is pointed at this address (DNS rebinding) gets nothing.

    Args:
        site: what is served.
        host: address to bind to.
        port: port; 0 takes a free one.
        https: with a self-signed certificate.

    Raises:
        UsageError: the address is not this computer's, or the port is in use or not allowed.
        MissingDependencyError: https without the `openssl` program.
    """

    def __init__(self, site: Site, host: str = LOOPBACK, port: int = 0, https: bool = False) -> None:
        token = "".join(secrets.choice(TOKEN_LETTERS) for _ in range(TOKEN_LENGTH))
        super().__init__(site, host, port, token)
        handler = cast(Any, self._server.RequestHandlerClass)
        self._server.RequestHandlerClass = _named(handler, lambda name: known_name(name, host))
        self.certificate: Certificate | None = None
        if https:
            try:
                self.certificate = self_signed(self._names())
            except BaseException:
                self._server.server_close()
                raise
            # The handshake belongs to the thread of the connection: a slow client must hold up nobody.
            self._server.socket = self.certificate.context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def url(self) -> str:
        """Address of the page, for a browser on this computer or, where bound to more, in its network."""
        plain = super().url
        return plain.replace("http:", "https:", 1) if self.certificate else plain

    def _names(self) -> list[str]:
        reached = urlsplit(super().url).hostname or LOOPBACK
        return list(dict.fromkeys([reached, LOOPBACK, "localhost"]))


def known_name(name: str | None, bound: str) -> bool:
    """Whether a request's Host can be this server's.

    An address cannot be pointed elsewhere, so every one will do where the server is bound to more than
    loopback; of names, only this computer's own.

    Args:
        name: the Host header; None without one.
        bound: the address that the server is bound to.
    """
    try:
        host = urlsplit(f"//{name or ''}").hostname or ""
    except ValueError:
        return False
    if is_loopback(host):
        return True
    if is_loopback(bound):
        return False
    try:
        ipaddress.ip_address(host)
        return True
    except ValueError:
        own = socket.gethostname().lower()
        return host in (own, f"{own}.local", bound.lower())


def _named(
    handler: Callable[..., BaseHTTPRequestHandler], is_known: Callable[[str | None], bool]
) -> type[BaseHTTPRequestHandler]:
    assert isinstance(handler, type)

    class Named(handler):  # type: ignore[valid-type, misc]
        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            if is_known(self.headers.get("Host")):
                return True
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "unknown host")
            return False

    return Named


def serve_demo(
    artifacts: Sequence[Path],
    host: str = LOOPBACK,
    port: int | None = None,
    https: bool = False,
    report: Callable[[str], None] = lambda _line: None,
    stop: threading.Event | None = None,
) -> None:
    """Serve the page until Ctrl-C, which is the usual end and no error.

    Args:
        artifacts: .tflite files of face parsers with their sidecars, the one shown first in front.
        host: address to bind to; "0.0.0.0" is reached from the whole network.
        port: port; None takes a free one.
        https: with a self-signed certificate; browsers give pages of other computers no camera without.
        report: told what to open and what to know, line by line.
        stop: ends it when set.

    Raises:
        UsageError: a file is not there or has no sidecar; the port is in use, or the address not this
            computer's.
        UnsupportedError: a file that the page cannot show.
        MissingDependencyError: https without `openssl`, or the page is not installed.
    """
    server = DemoServer(DemoSite(artifacts), host, port or 0, https)
    ended = stop or threading.Event()
    with server, contextlib.suppress(KeyboardInterrupt):
        for line in notes(server):
            report(line)
        while not ended.wait(WAIT_SECONDS):
            pass


def notes(server: DemoServer) -> list[str]:
    """What a user must know: where to go, with what, and why a phone may get no camera."""
    lines = [f"open {server.url}"]
    if server.loopback:
        lines.append(f"a phone on USB reaches it after: adb reverse tcp:{server.port} tcp:{server.port}")
    if server.certificate:
        lines.append(f"SHA-256 fingerprint of its certificate: {server.certificate.fingerprint}")
        lines.append("browsers warn of it, as nobody has vouched for it: compare the fingerprint, then go on")
        if server.loopback:
            lines.append("only this computer reaches it: --host 0.0.0.0 is for phones in the network")
    elif not server.loopback:
        lines.append("browsers give pages of other computers no camera over plain http: add --https")
    return [*lines, "Ctrl-C ends it"]

"""A certificate that a server signs itself, for phones that give a page its camera over https only."""

from __future__ import annotations

import hashlib
import ipaddress
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import MissingDependencyError, ToolchainError

DAYS = 30
SECONDS = 60.0
CONFIG = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = toolchain demo
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key.

    Attributes:
        context: for the server's socket; the key is nowhere else.
        fingerprint: SHA-256 of the certificate, as browsers show it ("AB:CD:...").
    """

    context: ssl.SSLContext
    fingerprint: str


def self_signed(hosts: Sequence[str]) -> Certificate:
    """Make a key (ECDSA, P-256) and a certificate for it that holds for DAYS days.

    The `openssl` program makes both, in a folder that only this user can read and that is removed at once.

    Args:
        hosts: names and addresses under which the server is reached.

    Raises:
        MissingDependencyError: there is no `openssl`.
        ToolchainError: it failed.
    """
    program = shutil.which("openssl")
    if program is None:
        raise MissingDependencyError(
            "there is no `openssl` program to make a certificate with",
            "install OpenSSL, or reach this computer over USB: `adb reverse` needs no certificate",
        )
    with tempfile.TemporaryDirectory(prefix="toolchain-https-") as name:
        folder = Path(name)
        key, certificate, config = (folder / part for part in ("key.pem", "certificate.pem", "config.txt"))
        config.write_text(CONFIG.format(names=", ".join(_alternative(host) for host in hosts)))
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256")
        files = ("-config", config, "-keyout", key, "-out", certificate)
        done = subprocess.run(
            [program, "req", "-x509", "-new", *curve, "-days", str(DAYS), *files],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ToolchainError(f"`openssl` made no certificate: {last}", "see `openssl version`")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        encoded = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    return Certificate(context, hashlib.sha256(encoded).digest().hex(":").upper())


def _alternative(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"

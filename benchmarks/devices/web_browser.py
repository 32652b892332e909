"""A browser without a window that opens one page."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from toolchain.errors import MissingDependencyError

PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "firefox",
)
END_SECONDS = 10.0


def find_browser(given: str | None = None) -> str | None:
    """Path of a browser: the one given by path or name, else the first known one that is installed.

    Returns:
        None when there is none.
    """
    if given is not None:
        return shutil.which(os.path.expanduser(given))
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class HeadlessBrowser:
    """Opens a page without a window, with a profile of its own that is removed afterwards.

    Args:
        program: path or name; Firefox is recognized by its name, all others are taken for Chromium's kin.
        url: the page.
        gpu: leave the GPU on, which WebGPU needs.

    Raises:
        MissingDependencyError: no such program, or it does not start.
    """

    def __init__(self, program: str, url: str, gpu: bool = False) -> None:
        found = find_browser(program)
        if found is None:
            raise MissingDependencyError(
                f"no browser at '{program}'",
                "give the path of Chromium, Chrome, Edge or Firefox with --browser",
            )
        self._folder = tempfile.TemporaryDirectory(prefix="toolchain-browser-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "log.txt"
        profile = Path(self._folder.name) / "profile"
        profile.mkdir()
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [found, *_options(found, profile, gpu), url],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            self._folder.cleanup()
            raise MissingDependencyError(f"'{found}' does not start: {error.strerror}") from error

    @property
    def ended(self) -> int | None:
        """Exit status of a browser that has ended by itself; None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """Last line of what it wrote on its standard streams."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it said nothing")

    def __enter__(self) -> HeadlessBrowser:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            self._process.wait(END_SECONDS)
        self._folder.cleanup()

    def _signal(self, number: int) -> None:
        """Reach the browser's children as well, which a launcher script would leave behind."""
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(self._process.pid, number)
            else:
                self._process.terminate()


def _options(program: str, profile: Path, gpu: bool) -> list[str]:
    if "firefox" in Path(program).name.lower():
        return ["--headless", "--no-remote", "--profile", str(profile)]
    options = [
        "--headless",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-renderer-backgrounding",
        "--use-fake-device-for-media-stream",
    ]
    options += ["--enable-unsafe-webgpu"] if gpu else ["--disable-gpu"]
    # Chromium's sandbox refuses to run as root.
    return [*options, "--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else options

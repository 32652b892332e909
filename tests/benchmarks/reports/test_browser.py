"""The page in a browser: it renders without a word on the console and fits a telephone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from toolchain.benchmarks.reports.measured import Measured
from toolchain.benchmarks.reports.page import page

# Windows of Chromium are not as narrow as a telephone, frames are; the probe writes what the layout is into
# the title of the page around the frame, which `--dump-dom` shows.
FRAME = '<!doctype html><title></title><iframe style="border: 0; width: 360px; height: 2000px" srcdoc="{}">'
PROBE = """<script>
const wide = [...document.querySelectorAll("body > *")].filter(e => e.scrollWidth > e.clientWidth + 1
  && !["auto", "scroll"].includes(getComputedStyle(e).overflowX) && getComputedStyle(e).display !== "inline");
const bar = document.querySelector("figure[aria-label=Stages] svg rect");
parent.document.title = JSON.stringify({
  page: document.documentElement.scrollWidth, window: innerWidth, wide: wide.map(e => e.className),
  bar: bar.getBoundingClientRect().height, ground: getComputedStyle(document.body).backgroundColor,
});
</script></body>"""


@dataclass(frozen=True)
class Browser:
    """Headless Chromium with a profile of its own."""

    program: str
    folder: Path

    def run(self, path: Path, width: int, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                self.program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--enable-logging=stderr", f"--user-data-dir={self.folder}", f"--window-size={width},3000",
                *options, path.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    found = [
        program
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (program := shutil.which(name))
    ]
    assert found, "install Chromium for the tests of pages"
    return Browser(found[0], tmp_path / "profile")


def test_the_page_renders(browser: Browser, measured: list[Measured], tmp_path: Path) -> None:
    path, picture = tmp_path / "report.html", tmp_path / "shown.png"
    path.write_text(page(measured), encoding="utf-8")
    done = browser.run(path, 1200, f"--screenshot={picture}")
    assert "CONSOLE" not in done.stderr
    shown = cv2.imread(str(picture))
    assert shown.shape[1] == 1200
    # Colours of the charts are on it: blue bars of distributions, green ones of inference.
    assert (shown == (0xD0, 0x6F, 0x2F)).all(-1).sum() > 1000
    assert (shown == (0x61, 0x94, 0x2E)).all(-1).sum() > 1000


@pytest.mark.parametrize(("scheme", "ground"), [(1, "rgb(251, 251, 250)"), (0, "rgb(23, 24, 26)")])
def test_the_page_fits_a_telephone(
    browser: Browser, measured: list[Measured], tmp_path: Path, scheme: int, ground: str
) -> None:
    path = tmp_path / "report.html"
    text = re.sub(r"<meta http-equiv.*?>", "", page(measured))
    path.write_text(FRAME.format(html.escape(text.replace("</body>", PROBE))), encoding="utf-8")
    done = browser.run(path, 800, "--dump-dom", f"--blink-settings=preferredColorScheme={scheme}")
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None
    layout = json.loads(html.unescape(title[1]))
    assert layout["window"] == 360
    assert layout["page"] <= 360
    assert layout["wide"] == []
    assert layout["bar"] == 22
    assert layout["ground"] == ground

"""The browser demo's page: what a browser may fetch, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from toolchain.benchmarks.devices.server import Content
from toolchain.benchmarks.devices.web_model import DTYPES, tflite_file
from toolchain.benchmarks.devices.web_site import BUILT as BENCHMARK_PAGE
from toolchain.benchmarks.devices.web_site import BYTES, JSON, page_files
from toolchain.errors import MissingDependencyError, UnsupportedError, UsageError
from toolchain.face.parse import contract_of
from toolchain.spec import load_sidecar, sidecar_path

BUILT = Path(__file__).with_name("page_built")
# LiteRT.js, of which the benchmark's page has the only copy.
WASM = "wasm/"


class DemoSite:
    """Serves the page, LiteRT.js, and the artefacts with their sidecars; nothing can be posted.

    Artefacts are read again for every request, so that a new export shows as soon as the page is loaded
    again.

    Args:
        artifacts: .tflite files of face parsers, the one shown first in front.
        built: folder of the built page.

    Raises:
        UsageError: no artefact, no such file, another suffix, no sidecar, or the sidecar of another file.
        UnsupportedError: no face parser, or one whose tensors LiteRT.js does not exchange.
        MissingDependencyError: the built page is not there.
    """

    def __init__(self, artifacts: Sequence[Path], built: Path = BUILT) -> None:
        if not artifacts:
            raise UsageError("there is nothing to show", "toolchain demo --web --artifact FILE.tflite")
        for path in artifacts:
            check_artifact(path)
        self._pages = _pages(built)
        self._pages["artifacts.json"] = Content(json.dumps(_listing(artifacts)).encode(), JSON)
        self._artifacts: dict[str, tuple[Path, str]] = {}
        for index, path in enumerate(artifacts):
            file, sidecar = _names(index)
            self._artifacts[file] = (path, BYTES)
            self._artifacts[sidecar] = (sidecar_path(path), JSON)

    def get(self, path: str) -> Content | None:
        """A file of the page, or an artefact or sidecar as it is now."""
        if path not in self._artifacts:
            return self._pages.get(path)
        file, kind = self._artifacts[path]
        try:
            return Content(file.read_bytes(), kind)
        except OSError:
            return None

    def limit(self, path: str) -> int | None:
        """Nothing may be posted."""
        return None

    def post(self, path: str, body: bytes) -> str | None:
        """Nothing is taken."""
        return "nothing is taken here"


def check_artifact(path: Path) -> None:
    """Check that the page can show a file.

    Raises:
        UsageError: no such file, another suffix, no sidecar, or the sidecar of another file.
        UnsupportedError: no face parser, or one whose tensors LiteRT.js does not exchange.
    """
    tflite_file(path)
    artifact = load_sidecar(path)
    if not contract_of(artifact).is_face:
        raise UnsupportedError(
            f"'{path}' does not parse faces", "give a face parser, such as mobile-hourglass"
        )
    for spec in (*artifact.inputs, *artifact.outputs):
        if spec.dtype not in DTYPES:
            raise UnsupportedError(
                f"tensor '{spec.name}' of '{path}' is {spec.dtype}; LiteRT.js exchanges {', '.join(DTYPES)}",
                "export with inputs and outputs of float32",
            )


def _pages(built: Path) -> dict[str, Content]:
    """Path -> content of the page's own files and of LiteRT.js."""
    if not (built / "index.html").is_file():
        raise MissingDependencyError(
            "the page of the browser demo is not part of this installation",
            "install a wheel of mobile-toolchain, or `npm ci && npm run build` in toolchain/demo/web",
        )
    litert = {name: file for name, file in page_files(BENCHMARK_PAGE).items() if name.startswith(WASM)}
    return page_files(built) | litert


def _names(index: int) -> tuple[str, str]:
    return f"artifact/{index}.tflite", f"artifact/{index}.tflite.json"


def _listing(artifacts: Sequence[Path]) -> list[dict[str, str]]:
    """Names as the page shows them; paths of this computer are nobody's business."""
    counts = Counter(path.name for path in artifacts)
    rows = []
    for index, path in enumerate(artifacts):
        file, sidecar = _names(index)
        name = path.name if counts[path.name] == 1 else f"{index + 1}: {path.name}"
        rows.append({"name": name, "file": file, "sidecar": sidecar})
    return rows

"""HTML files that need nothing from outside: templates, pictures as part of the page, writing in one go."""

from __future__ import annotations

import base64
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

JPEG_QUALITY = 85


def render(package: str, template: str, **values: Any) -> str:
    """Fill a template that lies in a package; every value is escaped.

    Args:
        package: name of the package.
        template: name of the file in it.
        **values: what the template asks for; it fails on anything that is missing.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = resources.files(package).joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(source).render(**values)


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """Raises UsageError when a report could not be written to `path`: ask before doing the work."""
    if path.suffix.lower() not in suffixes:
        raise UsageError(
            f"'{path}' is no name for a report", f"give a name that ends in {' or '.join(suffixes)}"
        )
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder", "give the name of a file")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{path.parent}'", "make it first")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"folder '{path.parent}' cannot be written to", "choose another with -o")


def write_text(path: Path, text: str) -> None:
    """Write a file and move it into place.

    Raises:
        UsageError: it cannot be written; nothing is left behind then.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}", "choose another with -o") from error
    finally:
        aside.unlink(missing_ok=True)


def data_uri(picture: np.ndarray, largest: int) -> str:
    """A picture as the JPEG that a page can hold.

    Args:
        picture: (height, width, 3) RGB uint8.
        largest: it is shrunk to at most that many pixels a side.
    """
    import cv2

    scale = largest / max(picture.shape)
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")

"""Picture files: read as RGB, written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from toolchain.errors import UsageError
from toolchain.runtimes.native_output import captured_stderr

# OpenCV's warpAffine counts pixels with 16 bits.
LONGEST = 32_766
JPEG_QUALITY = 95
# Older releases of OpenCV fill what is missing of a JPEG with grey, and libjpeg only writes this.
CUT_OFF = ("premature end", "truncated")
WRITABLE = "give a name that ends in .png or .jpg"


def check_picture(picture: np.ndarray, name: str = "the picture") -> None:
    """Check what the functions of this package take as a picture.

    Args:
        picture: (height, width, 3) uint8, between 1 and LONGEST pixels wide and high.
        name: how the message calls it.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(picture, np.ndarray):
        raise UsageError(f"{name} is a {type(picture).__name__}, not an array", "read it with read_picture()")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise UsageError(
            f"{name} is {picture.dtype} {picture.shape}, not (height, width, 3) uint8",
            "read it with read_picture()",
        )
    if max(picture.shape) > LONGEST:
        raise UsageError(
            f"{name} is {picture.shape[1]} x {picture.shape[0]} pixels",
            f"make it smaller: at most {LONGEST} on a side",
        )


def read_picture(path: Path | str) -> np.ndarray:
    """Decode a picture file as (height, width, 3) RGB uint8, upright.

    The EXIF orientation is applied; grey pictures get three equal channels, 16-bit ones keep their upper
    8 bits, and transparency is dropped.

    Raises:
        UsageError: the file cannot be read, is no picture, or is cut off.
    """
    path = Path(path)
    hint = "give a complete .jpg or .png file"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"picture '{path}' cannot be read: {error.strerror}", hint) from error
    if not data:
        raise UsageError(f"picture '{path}' is empty", hint)
    picture = None
    with captured_stderr() as native, suppress(cv2.error):
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or any(sign in native.text.lower() for sign in CUT_OFF):
        raise UsageError(f"'{path}' is no picture that OpenCV can read, or it is cut off or damaged", hint)
    check_picture(picture, f"'{path}'")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def check_writable(path: Path | str) -> None:
    """Raises UsageError when a picture could not be written to `path`: ask before doing the work."""
    path = Path(path)
    if not path.suffix or not cv2.haveImageWriter(str(path)):
        raise UsageError(f"'{path}' has no suffix of a picture format that can be written", WRITABLE)
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder", WRITABLE)
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder '{path.parent}'", "make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"folder '{path.parent}' cannot be written to", "choose another with -o")


def write_picture(path: Path | str, picture: np.ndarray) -> None:
    """Encode RGB uint8 (height, width, 3) by the suffix of `path` and move it into place.

    Raises:
        UsageError: the suffix is unknown, or the file cannot be written; nothing is left behind then.
    """
    path = Path(path)
    check_writable(path)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix.lower() in (".jpg", ".jpeg") else []
    try:
        _, encoded = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    except cv2.error as error:
        raise UsageError(
            f"'{path}': {path.suffix} cannot hold this picture: {error.err}", WRITABLE
        ) from error
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(encoded.tobytes())
        os.replace(aside, path)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}", "choose another with -o") from error
    finally:
        aside.unlink(missing_ok=True)

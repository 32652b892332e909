"""Picture files: read as RGB, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from toolchain.errors import UsageError
from toolchain.runtimes.native_output import captured_stderr

JPEG_QUALITY = 95
# Decoders fill what is missing with grey and only mutter about it.
CUT_OFF = ("premature end", "truncated", "unexpected end", "not enough image data")
WRITABLE = "give a name that ends in .png or .jpg"


def check_picture(picture: np.ndarray) -> None:
    """Raises UsageError unless `picture` is (height, width, 3) uint8 with at least one pixel."""
    fits = isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3
    if not fits or picture.shape[2] != 3 or picture.size == 0:
        got = (
            f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        )
        raise UsageError(
            f"a picture is (height, width, 3) RGB uint8, not {got}", "read it with read_picture()"
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
    picture = None
    with captured_stderr() as native:
        try:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        except cv2.error as error:
            raise UsageError(f"picture '{path}' cannot be decoded: {error.err}", hint) from error
    complaint = " ".join(native.text.split())
    if any(sign in complaint.lower() for sign in CUT_OFF):
        raise UsageError(f"picture '{path}' is damaged: {complaint}", hint)
    if picture is None:
        reason = "it is empty" if not data else complaint or "no known picture format"
        raise UsageError(f"'{path}' is not a readable picture: {reason}", hint)
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
    _, encoded = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(encoded.tobytes())
        os.replace(aside, path)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}", "choose another with -o") from error
    finally:
        aside.unlink(missing_ok=True)

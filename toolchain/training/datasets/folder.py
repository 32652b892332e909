"""Any folder of pictures and index maps, described by a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UsageError
from toolchain.models.faces import LABELS
from toolchain.training.datasets.crop import CroppedPairs
from toolchain.training.datasets.decode import (
    PICTURE_SUFFIXES,
    decode_index_map,
    decode_picture,
    file_bytes,
)
from toolchain.training.datasets.mapping import SIDES, ClassMapping
from toolchain.training.datasets.pairs import IGNORE
from toolchain.training.datasets.partners import files_by_stem, partners, same_name
from toolchain.training.datasets.schemes import SPLITS
from toolchain.training.datasets.sides import sampled_sides

_KEYS = ("description", "terms", "left", "crop", "map", *SPLITS)
_CLASSES = (*LABELS, "ignore")
_SIDED = {LABELS[number] for side in SIDES for number in side}


class MappedFolder(CroppedPairs):
    """Pairs that a TOML file describes.

    ::

        left = "subject"            # or "viewer": whose left the map means
        description = "our faces"   # for cards and reports
        terms = ""                  # what may be done with weights that were trained on them
        crop = true                 # false: the pictures are face crops already

        [train]
        images = "train/images"     # a folder or a glob, from the folder of this file
        labels = "train/*_mask.png"

        [map]                       # every index that occurs -> a class, or "ignore"
        0 = "background"
        1 = "skin"
        2 = "left brow"
        17 = "ignore"

    `[val]` and `[test]` are as `[train]`. Pictures (JPEG or PNG) and index maps (PNG) belong together by
    their name without suffix; with a glob, by what its one star stands for.

    Args:
        path: the TOML file.
        split: the table to use.
        size: side in pixels of the pairs.

    Raises:
        UsageError: the file is missing or wrong, or left and right are the other way round in the label maps.
        UnsupportedError: a pair is damaged, or has an index that the map does not know; or left means the
            subject's in some label maps and the viewer's in others.
    """

    def __init__(self, path: Path | str, split: str, size: int) -> None:
        self.path = Path(path)
        self.size = size
        self.random = split == "train"
        config = _read(self.path)
        self.description = config.get("description", self.path.stem)
        self.terms = config.get("terms", "")
        self.crops = config.get("crop", True)
        self._mapping = _mapping(config, self.path)
        if split not in config:
            present = [name for name in SPLITS if name in config]
            raise UsageError(
                f"'{self.path}' has no table [{split}]", f"it has {', '.join(present) or 'none'}"
            )
        places = {key: _files(self.path, split, key, config[split][key]) for key in ("images", "labels")}
        self._pictures, self._labels = places["images"], places["labels"]
        self.names, self.skipped = partners(self._pictures, self._labels)
        if not self.names:
            raise UsageError(
                f"[{split}] of '{self.path}' has no pairs: {len(self._pictures)} pictures and "
                f"{len(self._labels)} label maps, none with the same name",
            )
        if sampled_sides(len(self.names), self._label, str(self.path)) is False:
            other = "viewer" if config["left"] == "subject" else "subject"
            raise UsageError(
                f"the left eyes and brows of '{self.path}' are on the wrong side for "
                f"left = {config['left']!r}",
                f'write left = "{other}"',
            )

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The whole picture and its label map."""
        source = self._pictures[self.names[index]]
        return decode_picture(file_bytes(source), f"'{source}'"), self._label(index)

    def _label(self, index: int) -> np.ndarray:
        source = self._labels[self.names[index]]
        return self._mapping.apply(decode_index_map(file_bytes(source), f"'{source}'"), f"'{source}'")


def _read(path: Path) -> dict[str, Any]:
    """The checked content of the TOML file."""
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be read: {error.strerror}", "give the path of a TOML file: folder:PATH.toml"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"'{path}' is not TOML: {error}") from error
    _check_keys(config, _KEYS, f"'{path}'")
    for key, kind in {"description": str, "terms": str, "crop": bool, "map": dict}.items():
        if key in config and not isinstance(config[key], kind):
            raise UsageError(f"{key} of '{path}' is {config[key]!r}, not a {kind.__name__}")
    for split in SPLITS:
        if split in config:
            _check_split(config[split], split, path)
    return config


def _check_split(table: Any, split: str, path: Path) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"{split} of '{path}' is not a table", f"write [{split}] with images and labels")
    _check_keys(table, ("images", "labels"), f"[{split}] of '{path}'")
    for key in ("images", "labels"):
        if not isinstance(table.get(key), str):
            raise UsageError(f"[{split}] of '{path}' has no {key}", "give a folder or a glob")


def _check_keys(table: dict[str, Any], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"unknown key '{key}' in {where}", _near(key, known))


def _near(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"


def _mapping(config: dict[str, Any], path: Path) -> ClassMapping:
    """The table [map], with left and right the subject's."""
    if not config.get("map"):
        raise UsageError(f"'{path}' has no table [map]", 'write [map] with lines such as 1 = "skin"')
    classes = {}
    for key, name in config["map"].items():
        if not key.isdecimal() or int(key) > 255:
            raise UsageError(f"'{key}' in [map] of '{path}' is not an index", "indices are 0 to 255")
        if name not in _CLASSES:
            raise UsageError(f"unknown class {name!r} in [map] of '{path}'", _near(str(name), _CLASSES))
        classes[int(key)] = IGNORE if name == "ignore" else LABELS.index(name)
    left = config.get("left")
    if left not in ("subject", "viewer") and (left is not None or _SIDED & set(config["map"].values())):
        raise UsageError(
            f"'{path}' does not say whose left is meant" if left is None else f"left of '{path}' is {left!r}",
            'write left = "subject" or left = "viewer" above the tables',
        )
    mapping = ClassMapping(classes)
    return mapping.mirrored() if left == "viewer" else mapping


def _files(config: Path, split: str, key: str, pattern: str) -> dict[str, Path]:
    """Name to path of what a folder or glob holds."""
    suffixes = PICTURE_SUFFIXES if key == "images" else (".png",)
    if "*" not in pattern:
        return files_by_stem(config.parent / pattern, suffixes)
    if pattern.count("*") != 1 or Path(pattern).is_absolute():
        raise UsageError(
            f"{key} of [{split}] of '{config}' is '{pattern}'",
            "a glob has one star, which stands for the name, and starts from the folder of the TOML file",
        )
    start, _, end = pattern.partition("*")
    found: dict[str, Path] = {}
    for path in sorted(config.parent.glob(pattern)):
        if path.suffix.lower() not in suffixes:
            continue
        relative = path.relative_to(config.parent).as_posix()
        # The star of "train/*" stands for the suffix too.
        name = relative[len(start) : len(relative) - len(end)].removesuffix(path.suffix)
        if name in found:
            raise same_name(found[name], path)
        found[name] = path
    return found

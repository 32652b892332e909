"""Recipes of experiments: the rows of one comparison and everything that decides them, as TOML files."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from toolchain.errors import UsageError

EXPERIMENTS = Path(__file__).parent / "recipes"
CLASSIFICATION, FACE_PARSING = "classification", "face-parsing"
TASKS = (CLASSIFICATION, FACE_PARSING)
BASELINE, DENSE, SPARSE, SCRATCH = "baseline", "dense", "sparse", "scratch"
GROUP_NORM, MAGNITUDE, DISTILLED = "group-norm", "magnitude", "distilled"
KINDS = (BASELINE, DENSE, SPARSE, SCRATCH, GROUP_NORM, MAGNITUDE, DISTILLED)
# Rows that take widths or multiply-adds from a point of another row.
FOLLOWERS = (SCRATCH, GROUP_NORM, MAGNITUDE, DISTILLED)
# Names become folders.
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# What is said about a recipe changes nothing that is trained by it.
SAID = ("description", "caveat", "targets", "published")
WHOLE = "all"


BEST, FIRST = CHOICES = ("best", "first")


@dataclass(frozen=True)
class Point:
    """A trade-off point of a row: which epoch is kept.

    Attributes:
        name: of the point.
        gone: only epochs with at least this share (0-1) of the filters zeroed are kept.
        choose: "best": the one with the lowest validation error, the later of two equal ones; "first": the
            earliest, which has the most filters left to be trained on with.
    """

    name: str = WHOLE
    gone: float = 0.0
    choose: str = BEST

    def __post_init__(self) -> None:
        _check_name("point", self.name)
        _check_number("point.gone", self.gone, 0.0, 1.0)
        if self.choose not in CHOICES:
            raise UsageError(f"point.choose is {self.choose!r}", f"use {' or '.join(CHOICES)}")

    @property
    def rule(self) -> str:
        """The rule in words."""
        of = "the earliest" if self.choose == FIRST else "lowest validation error"
        return f"{of} of the epochs with at least {100 * self.gone:g} % of filters gone"


@dataclass(frozen=True)
class Row:
    """One row of the comparison, trained once for each seed.

    Attributes:
        name: of the row.
        kind: one of KINDS.
        of: "ROW" or "ROW:POINT" whose widths (scratch, distilled) or multiply-adds (group-norm, magnitude)
            are taken, of the same seed.
        points: trade-off points of a sparse row; other rows have one.
        settings: of the method: for sparse rows keyword arguments of SparsitySettings, for group-norm those
            of `baselines.GroupNormRegularizer`, for distilled rows `share`, `temperature` and `keep` (begin
            with the followed network's weights instead of new ones), for these and magnitude rows `start`
            (the row whose network teaches or is pruned, else the baseline), for baseline and dense rows
            `whole` (all classes of the zoo's network).
    """

    name: str
    kind: str
    of: str = ""
    points: tuple[Point, ...] = field(default_factory=lambda: (Point(),))
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name("row", self.name)
        if self.kind not in KINDS:
            raise UsageError(f"row '{self.name}' has the kind {self.kind!r}", f"use {', '.join(KINDS)}")
        if (self.kind in FOLLOWERS) != bool(self.of):
            needs = "needs `of`, the row that it follows" if not self.of else "follows no row"
            raise UsageError(f"row '{self.name}' {needs}", f"rows with `of`: {', '.join(FOLLOWERS)}")
        names = [point.name for point in self.points]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"row '{self.name}' has no points, or two of one name", "name each once")
        if self.kind != SPARSE and self.points != (Point(),):
            raise UsageError(f"row '{self.name}' has points", f"only rows of the kind '{SPARSE}' do")

    @property
    def followed(self) -> tuple[str, str]:
        """(row, point) that `of` means; the point is "" for the only one."""
        row, _, point = self.of.partition(":")
        return row, point


@dataclass(frozen=True)
class Target:
    """What a row must reach, beside the baseline.

    Attributes:
        text: as it is required.
        of: "ROW" or "ROW:POINT".
        error: the mean error over seeds may be above the baseline's by so many points.
        gone: the mean share (0-1) of filters gone must be at least this.
        fewer: multiply-adds of the baseline over those of the row must be at least this.
        faster: latency (LiteRT, fp32) of the baseline over that of the row must be at least this.
    """

    text: str
    of: str
    error: float
    gone: float = 0.0
    fewer: float = 1.0
    faster: float = 0.0


@dataclass(frozen=True)
class Experiment:
    """One comparison.

    Attributes:
        name: that of its file.
        description: one line.
        task: "classification" or "face-parsing".
        model: zoo name of the network.
        data: scheme of the data that it is made for, for the hint.
        size: side of the pictures in pixels.
        labels: number of classes that the data must have.
        classes: of the network's labels, the ones that it is specialised to; () for all.
        weights: "shipped" to start from the weights of the zoo, "" for random ones.
        schedule: settings of the training, by the names of the task's own settings.
        finetune: settings that the training of a network with removed filters has instead.
        rows: of the table, in an order in which rows come after those that they follow.
        targets: what must be reached.
        bits: of shared weights in the packed file, as `toolchain compress pack --bits` takes them.
        published: lines about what was published.
        caveat: what a reader of the table must know.
    """

    name: str
    description: str
    task: str
    model: str
    data: str
    size: int
    labels: int
    rows: tuple[Row, ...]
    schedule: dict[str, Any]
    finetune: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    weights: str = ""
    bits: str = "conv=8,linear=5"
    targets: tuple[Target, ...] = ()
    published: tuple[str, ...] = ()
    caveat: str = ""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError(f"task is {self.task!r}", f"use {' or '.join(TASKS)}")
        if self.weights not in ("", "shipped"):
            raise UsageError(f"weights is {self.weights!r}", 'use "shipped", or leave it out')
        for key in ("size", "labels"):
            _check_whole(key, getattr(self, key))
        _check_whole("schedule.epochs", self.schedule.get("epochs"))
        if self.finetune:
            _check_whole("finetune.epochs", self.finetune.get("epochs"))
        _check_rows(self.rows)
        for target in self.targets:
            find_point(self.rows, target.of, "target")

    def row(self, name: str) -> Row:
        """The row called `name`.

        Raises:
            UsageError: there is none; it suggests near names.
        """
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            names = [row.name for row in self.rows]
            raise UsageError(
                f"'{self.name}' has no row '{name}'", _near(name, names) + f"rows are {', '.join(names)}"
            )
        return found

    @property
    def baseline(self) -> Row:
        """The row that others are compared with."""
        return next(row for row in self.rows if row.kind == BASELINE)

    def identity(self) -> dict[str, Any]:
        """All that decides the results, as JSON can express it."""
        known = {key: value for key, value in _as_json(asdict(self)).items() if key not in SAID}
        for point in (point for row in known["rows"] for point in row["points"]):
            # As results of before there was a choice say it.
            if point["choose"] == BEST:
                del point["choose"]
        return known


def experiment_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.toml"))


def read_experiment(name: str) -> Experiment:
    """The recipe called `name`, or the one in the file `name`, which ends in `.toml`.

    Raises:
        UsageError: there is none, or the file has an unknown key or a value that is not allowed.
    """
    path = Path(name) if name.endswith(".toml") else EXPERIMENTS / f"{name}.toml"
    if not name.endswith(".toml") and name not in experiment_names():
        known = experiment_names()
        hint = f"experiments are {', '.join(known)}, or give the path of a .toml file"
        raise UsageError(f"unknown experiment '{name}'", _near(name, known) + hint)
    try:
        return parse_experiment(path.stem, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"recipe '{path}' cannot be read: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"recipe '{path}' is not UTF-8 text", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"recipe '{path}' is not TOML: {error}", "see the recipe `lenet-mnist`") from error
    except UsageError as error:
        raise UsageError(f"recipe '{path}': {error.message}", error.hint) from error


def parse_experiment(name: str, table: Mapping[str, Any]) -> Experiment:
    """A recipe from the tables of its file; keys that are left out keep their defaults.

    Raises:
        UsageError: an unknown or missing key, or a value that is not allowed; the message names it.
    """
    if "name" in table:
        raise UsageError("unknown key 'name'", "a recipe is called like its file")
    values = dict(table)
    values["rows"] = tuple(
        _made(Row, "row", {**row, "points": _points(row)} if "points" in row else row)
        for row in _tables("rows", values.get("rows", []))
    )
    values["targets"] = tuple(
        _made(Target, "target", row) for row in _tables("targets", values.get("targets", []))
    )
    return _made(Experiment, "", {"name": name, **values})


def find_point(rows: Sequence[Row], text: str, what: str) -> tuple[Row, Point]:
    """Row and point that "ROW" or "ROW:POINT" means.

    Raises:
        UsageError: there is no such row or point, or the row has several and none is named.
    """
    name, _, wanted = text.partition(":")
    row = next((row for row in rows if row.name == name), None)
    if row is None:
        raise UsageError(
            f"{what} names the row '{name}', which is not there", "rows come after those that they follow"
        )
    if not wanted and len(row.points) == 1:
        return row, row.points[0]
    for point in row.points:
        if point.name == wanted:
            return row, point
    points = ", ".join(f"{name}:{point.name}" for point in row.points)
    raise UsageError(f"{what} names '{text}'", f"points of that row are {points}")


def _check_rows(rows: Sequence[Row]) -> None:
    if sum(row.kind == BASELINE for row in rows) != 1:
        raise UsageError("there must be one row of the kind 'baseline'", "add it as the first of [[rows]]")
    for index, row in enumerate(rows):
        before = rows[:index]
        if row.name in {other.name for other in before}:
            raise UsageError(f"two rows are called '{row.name}'", "give each a name of its own")
        if row.of:
            find_point(before, row.of, f"row '{row.name}'")
        if row.kind in (MAGNITUDE, DISTILLED) and not any(other.kind == BASELINE for other in before):
            raise UsageError(f"row '{row.name}' comes before the baseline", "put the baseline first")


def _points(row: Mapping[str, Any]) -> tuple[Point, ...]:
    return tuple(_made(Point, "point", table) for table in _tables("points", row["points"]))


def _tables(key: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise UsageError(f"'{key}' is no list of tables", f"write each as [[{key}]]")
    return value


def _made(kind: Any, prefix: str, table: Mapping[str, Any]) -> Any:
    """The dataclass of a table, with lists as tuples."""
    assert is_dataclass(kind)
    known = {item.name: item for item in fields(kind)}
    where = f"{prefix}." if prefix else ""
    for key in table:
        if key not in known:
            raise UsageError(
                f"unknown key '{where}{key}'", _near(key, list(known)) + f"keys are {', '.join(known)}"
            )
    for key, item in known.items():
        if key not in table and item.default is MISSING and item.default_factory is MISSING:
            raise UsageError(f"'{where}{key}' is missing", "see the recipe `lenet-mnist`")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    for key, value in values.items():
        _check_type(f"{where}{key}", value, str(known[key].type))
    return cast(Any, kind)(**values)


def _check_type(key: str, value: Any, wanted: str) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "int": (int,),
        "float": (int, float),
        "dict": (dict,),
    }
    allowed = kinds.get(wanted.partition("[")[0], (tuple,))
    if not isinstance(value, allowed) or isinstance(value, bool):
        raise UsageError(f"{key} is {value!r}", f"give a {wanted.partition('[')[0]}")


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise UsageError(
            f"{what} has the name {name!r}", "use lower-case letters, digits and single hyphens between them"
        )


def _check_whole(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{key} is {value!r}", "give a whole number of at least 1")


def _check_number(key: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{key} is {value!r}", f"give a number from {low:g} to {high:g}")


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(entry) for key, entry in value.items()}
    return [_as_json(entry) for entry in value] if isinstance(value, list | tuple) else value

"""Which classes of a network a specialised one keeps."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from toolchain.errors import UnsupportedError, UsageError
from toolchain.spec import CLASSIFICATION, SEGMENTATION, ModelSpec

# Names that stand for several classes, wherever a network has all of them. What lies between open lips is no
# lip: whoever wants it says "mouth".
GROUPS = {
    "lips": ("upper lip", "lower lip"),
    "mouth": ("upper lip", "inner mouth", "lower lip"),
    "eyes": ("left eye", "right eye"),
    "brows": ("left brow", "right brow"),
}
BACKGROUND = "background"
ALL_HINT = "leave some out; `toolchain compress train` (zoo) and `distill` (any network) keep all classes"


def split_names(text: str) -> list[str]:
    """The names of "lips, left eye", in lower case."""
    return [name.strip().lower() for name in text.split(",") if name.strip()]


def is_background(label: str) -> bool:
    """Whether a class is what is none of the others; torchvision writes "__background__"."""
    return label.strip("_ ").lower() == BACKGROUND


def kept_classes(spec: ModelSpec, names: Sequence[str]) -> tuple[int, ...]:
    """The classes that a network specialised to `names` keeps.

    Args:
        spec: contract of the whole network.
        names: classes or groups (`GROUPS`) in any order, upper and lower case alike; naming one twice is the
            same as naming it once. A segmenter keeps its background without being told.

    Returns:
        Ascending indices into `spec.labels`, so that the order of the classes stays the network's.

    Raises:
        UsageError: a class does not exist, or the choice leaves nothing to learn or nothing to do.
        UnsupportedError: the network has no names of classes, or a segmenter no background to which the rest
            could go.
    """
    _check_network(spec)
    chosen = named_classes(spec.labels, names, f"'{spec.name}'")
    if spec.task == SEGMENTATION:
        if chosen <= {0}:
            raise UsageError(
                f"background alone leaves '{spec.name}' nothing to find", _listing(spec.labels[1:])
            )
        chosen |= {0}
    elif len(chosen) < 2:
        raise UsageError(
            f"'{spec.labels[min(chosen)]}' alone leaves '{spec.name}' nothing to tell apart",
            f"name at least two; {_listing(spec.labels)}",
        )
    if len(chosen) == len(spec.labels):
        raise UsageError(f"these are all classes of '{spec.name}': there is nothing to leave out", ALL_HINT)
    return tuple(sorted(chosen))


def named_classes(labels: Sequence[str], names: Sequence[str], owner: str) -> set[int]:
    """Indices into `labels` of what `names` mean, groups included.

    Args:
        labels: all names.
        names: classes or groups.
        owner: what has the classes, for messages.

    Raises:
        UsageError: none is named, or one does not exist; the message names it and near ones.
    """
    if not names:
        raise UsageError("no class is named", f"--classes A,B; {_listing(labels)}")
    place = {label.lower(): index for index, label in enumerate(labels)}
    groups = {name: parts for name, parts in GROUPS.items() if all(part in place for part in parts)}
    chosen: set[int] = set()
    for name in (name.strip().lower() for name in names):
        if name not in place and name not in groups:
            raise _unknown(name, labels, tuple(groups), owner)
        chosen |= {place[part] for part in groups.get(name, (name,))}
    return chosen


def _check_network(spec: ModelSpec) -> None:
    if spec.task not in (SEGMENTATION, CLASSIFICATION):
        raise UnsupportedError(
            f"'{spec.name}' is neither a classifier nor a segmenter",
            "let the factory return (module, ModelSpec) with task and labels",
        )
    if not spec.labels:
        raise UnsupportedError(
            f"'{spec.name}' does not say what its classes are called",
            "let the factory return (module, ModelSpec) with labels",
        )
    if spec.task == SEGMENTATION and not is_background(spec.labels[0]):
        raise UnsupportedError(
            f"the first class of '{spec.name}' is '{spec.labels[0]}', not background: the rest has no class"
            " to go to",
            "name the class of everything else 'background', and put it first",
        )


def _unknown(name: str, labels: Sequence[str], groups: Sequence[str], owner: str) -> UsageError:
    lower = [label.lower() for label in labels]
    near = difflib.get_close_matches(name, [*lower, *groups], n=3, cutoff=0.5)
    # "lip" is far from "upper lip" letter by letter.
    near = near or [known for known in lower if name in known.split()][:3]
    suggestion = f"did you mean {' or '.join(near)}? " if near else ""
    grouped = f"; groups are {', '.join(groups)}" if groups else ""
    return UsageError(f"{owner} has no class '{name}'", f"{suggestion}{_listing(labels)}{grouped}")


def _listing(labels: Sequence[str], most: int = 40) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return f"classes are {', '.join(labels[:most])}{more}"

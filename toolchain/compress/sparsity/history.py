"""The evolution of a training with kernel sparsity: one file per epoch, and the weights of the best ones."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedError, UsageError

VERSION = 1
# Names of figures that are taken as the verdict about an epoch when none is named, first come first.
VERDICTS = ("val_error", "overall_f1", "mean_iou", "val_accuracy", "val_loss")
# Figures with these words in their names are better when they are lower.
LOWER_IS_BETTER = ("error", "loss")


@dataclass(frozen=True)
class EpochRecord:
    """The state at the end of an epoch, after its kernels were set to zero.

    Attributes:
        epoch: from 1 on.
        norms: n of every kernel, by layer in the order of the network: (filters,) float32.
        zeroed: the kernels that are zero: (filters,) bool.
        term: value of the sparsity term.
        strength: what it was multiplied with in this epoch; 0 where it was not in force.
        figures: of training and validation, by the name under which they were logged.
        kernels: weights of the first of these layers: (filters, channels, height, width) float32.
        spared: layers that would have lost all their kernels, and kept the strongest.
        settings: of the method, as JSON can express them.
    """

    epoch: int
    norms: dict[str, np.ndarray]
    zeroed: dict[str, np.ndarray]
    term: float
    strength: float
    figures: dict[str, float]
    kernels: np.ndarray
    spared: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def filters(self) -> int:
        """Kernels of all layers."""
        return sum(len(mask) for mask in self.zeroed.values())

    @property
    def filters_left(self) -> int:
        """Kernels that are not zero."""
        return self.filters - sum(int(mask.sum()) for mask in self.zeroed.values())


class History:
    """A folder with `epoch-0001.npz`, ... and, for the epochs worth keeping, `epoch-0001.safetensors`, ...

    Every file is written beside its place and then moved there: it is complete or missing, whenever the
    process ends. An .npz file is a zip archive, whose checksums tell damage.

    Args:
        folder: made when the first epoch is written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def path(self, epoch: int) -> Path:
        """Where the record of an epoch (from 1 on) belongs."""
        return self.folder / f"epoch-{epoch:04d}.npz"

    def weights(self, epoch: int) -> Path:
        """Where the weights of an epoch belong; only those kept are there."""
        return self.path(epoch).with_suffix(".safetensors")

    def numbers(self) -> list[int]:
        """The epochs that have a record, ascending."""
        found = (re.fullmatch(r"epoch-(\d{4,})\.npz", path.name) for path in self.folder.glob("epoch-*.npz"))
        return sorted(int(match[1]) for match in found if match)

    def write(self, record: EpochRecord) -> None:
        """Write the record of an epoch, in place of an earlier one."""
        from toolchain.training.checkpoints import write_atomically

        about = {
            "version": VERSION,
            "epoch": record.epoch,
            "layers": list(record.norms),
            "term": record.term,
            "strength": record.strength,
            "figures": record.figures,
            "spared": list(record.spared),
            "settings": record.settings,
        }
        arrays: dict[str, Any] = {"about": np.array(json.dumps(about)), "kernels": record.kernels}
        for index, layer in enumerate(record.norms):
            arrays[f"norms{index}"] = record.norms[layer].astype(np.float32)
            arrays[f"zeroed{index}"] = record.zeroed[layer].astype(np.bool_)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path(record.epoch), lambda file: np.savez_compressed(file, **arrays))

    def write_weights(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Write the state dict (of torch tensors) of an epoch."""
        from safetensors.torch import save

        from toolchain.training.checkpoints import write_atomically

        # Tensors that share their memory cannot be written as one.
        content = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.weights(epoch), lambda file: file.write(content))

    def read(self, epoch: int) -> EpochRecord:
        """The record of an epoch.

        Raises:
            UsageError: there is none.
            UnsupportedError: it is damaged, or of another version; the message names the file.
        """
        path = self.path(epoch)
        if not path.is_file():
            raise UsageError(f"'{self.folder}' has no epoch {epoch}", f"its epochs are {self._span()}")
        try:
            return _parse(path)
        except UnsupportedError:
            raise
        except Exception as error:
            # Damaged bytes come out of zip and array parsers as nearly every type of error.
            raise UnsupportedError(
                f"'{path}' is damaged or no record of an epoch: {error}",
                "remove this one file: the pictures do without an epoch",
            ) from error

    def epochs(self) -> list[EpochRecord]:
        """All records, in the order of the epochs.

        Raises:
            UsageError: there is none.
            UnsupportedError: a file is damaged, or belongs to the training of another network.
        """
        numbers = self.numbers()
        if not numbers:
            raise UsageError(
                f"'{self.folder}' is no history of a training with kernel sparsity: it has no epoch-0001.npz",
                "give the folder `history` in the output folder of `toolchain compress train`",
            )
        records = [self.read(number) for number in numbers]
        first = _widths(records[0])
        for record in records[1:]:
            if _widths(record) != first:
                raise UnsupportedError(
                    f"'{self.path(record.epoch)}' has other layers than '{self.path(records[0].epoch)}'",
                    "keep the histories of two networks in two folders",
                )
        return records

    def front(self, figure: str | None = None) -> list[EpochRecord]:
        """The epochs that are worth a choice: no other has as few filters and as good a figure.

        Args:
            figure: by which epochs are judged; None for the first of `VERDICTS` that was logged.

        Returns:
            Ascending by filters left. Of equal epochs the first.
        """
        return pareto_front(self.epochs(), figure)

    def choose(self, loss: float, figure: str | None = None) -> EpochRecord:
        """The epoch with the fewest filters among those whose figure is near the best.

        Args:
            loss: by how much the figure may be worse than in the best epoch, in its own unit.
            figure: see `front`.
        """
        records = self.epochs()
        name = verdict(records, figure)
        front = pareto_front(records, name)
        best = min(_cost(record, name) for record in front)
        return next(record for record in front if _cost(record, name) <= best + loss)

    def keep(self, epochs: Iterable[int]) -> None:
        """Remove the weights of all other epochs; records stay."""
        wanted = {self.weights(epoch).name for epoch in epochs}
        for path in self.folder.glob("epoch-*.safetensors"):
            if path.name not in wanted:
                path.unlink()

    def _span(self) -> str:
        numbers = self.numbers()
        return f"{numbers[0]} to {numbers[-1]}" if numbers else "none"


def verdict(records: Iterable[EpochRecord], figure: str | None = None) -> str:
    """Name of the figure by which epochs are judged.

    Raises:
        UsageError: no epoch has it.
    """
    logged = sorted({name for record in records for name in record.figures})
    found = next((name for name in ([figure] if figure else VERDICTS) if name in logged), None)
    if found is None:
        what = f"'{figure}'" if figure else f"any of {', '.join(VERDICTS)}"
        raise UsageError(f"no epoch has the figure {what}", f"logged are: {', '.join(logged) or 'none'}")
    return found


def lower_is_better(figure: str) -> bool:
    """Whether a figure is an error or a loss."""
    return any(word in figure for word in LOWER_IS_BETTER)


def pareto_front(records: Iterable[EpochRecord], figure: str | None = None) -> list[EpochRecord]:
    """See `History.front`; epochs without the figure, or with one that is no number, are left out."""
    records = list(records)
    name = verdict(records, figure)
    judged = [record for record in records if math.isfinite(_cost(record, name))]
    front: list[EpochRecord] = []
    for record in sorted(judged, key=lambda r: (r.filters_left, _cost(r, name), r.epoch)):
        if not front or _cost(record, name) < _cost(front[-1], name):
            front.append(record)
    return front


def _cost(record: EpochRecord, figure: str) -> float:
    value = record.figures.get(figure, math.inf)
    return value if lower_is_better(figure) or figure not in record.figures else -value


def _widths(record: EpochRecord) -> list[tuple[str, int]]:
    return [(name, len(values)) for name, values in record.norms.items()]


def _parse(path: Path) -> EpochRecord:
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    if bad is not None:
        raise UnsupportedError(
            f"'{path}' is damaged: the checksum of '{bad}' is wrong",
            "remove this one file: the pictures do without an epoch",
        )
    with np.load(path, allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        if about["version"] != VERSION:
            raise UnsupportedError(
                f"'{path}' has version {about['version']}, not {VERSION}", "train again with this version"
            )
        layers = about["layers"]
        return EpochRecord(
            epoch=int(about["epoch"]),
            norms={name: arrays[f"norms{index}"] for index, name in enumerate(layers)},
            zeroed={name: arrays[f"zeroed{index}"] for index, name in enumerate(layers)},
            term=float(about["term"]),
            strength=float(about["strength"]),
            figures={name: float(value) for name, value in about["figures"].items()},
            kernels=arrays["kernels"],
            spared=tuple(about["spared"]),
            settings=dict(about["settings"]),
        )

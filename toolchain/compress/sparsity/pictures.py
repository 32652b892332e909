"""Pictures of a training with kernel sparsity, from its history alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolchain.compress.sparsity.history import VERDICTS, EpochRecord, History, verdict
from toolchain.errors import MissingDependencyError

FORMATS = ("png", "svg")
DPI = 150
STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    # The same history gives the same bytes.
    "svg.hashsalt": "toolchain",
}

# A figure, made by matplotlib, of all records and the name of the figure by which they are judged.
Draw = Callable[[Sequence[EpochRecord], "str | None"], Any]


def drawings() -> dict[str, Draw]:
    """Every picture by the stem of its files; matplotlib is imported here for the first time.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"pictures need the package '{error.name}'", 'pip install "mobile-toolchain[compress]"'
        ) from error
    matplotlib.use("Agg")
    from toolchain.compress.sparsity.pictures_filters import draw_filters, draw_trade_off
    from toolchain.compress.sparsity.pictures_kernels import draw_histogram, draw_kernels, draw_values
    from toolchain.compress.sparsity.pictures_training import draw_curves

    return {
        "kernels": draw_kernels,
        "values": draw_values,
        "histogram": draw_histogram,
        "curves": draw_curves,
        "filters": draw_filters,
        "trade-off": draw_trade_off,
    }


def draw_history(history: History | Path, output: Path, figure: str | None = None) -> list[Path]:
    """Draw all pictures of a history, each as .png and .svg.

        kernels     the first layer's kernels over the epochs
        values      value n of every kernel over the epochs, layer by layer
        histogram   how n is distributed at the beginning, in the middle and at the end
        curves      losses, errors or accuracies, and the term
        filters     filters left in every layer
        trade-off   the figure by which epochs are judged, against the filters left

    Args:
        history: of at least one epoch, or its folder.
        output: folder, made when it is missing.
        figure: by which epochs are judged; None for the first known one. Without one, no "trade-off".

    Returns:
        The files written.

    Raises:
        UsageError: no history, or no epoch has this figure.
        UnsupportedError: a file of the history is damaged.
        MissingDependencyError: matplotlib is not installed.
    """
    records = (history if isinstance(history, History) else History(history)).epochs()
    pictures = drawings()
    name = _judged_by(records, figure)
    import matplotlib.pyplot as plt

    output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    style: dict[Any, Any] = {**plt.rcParamsDefault, **STYLE, "backend": "Agg"}
    with plt.rc_context(style):
        for stem, draw in pictures.items():
            if stem == "trade-off" and name is None:
                continue
            drawn = draw(records, name)
            for suffix in FORMATS:
                path = output / f"{stem}.{suffix}"
                drawn.savefig(path, dpi=DPI, metadata={"Date": None} if suffix == "svg" else {"Software": ""})
                written.append(path)
            plt.close(drawn)
    return written


def _judged_by(records: Sequence[EpochRecord], figure: str | None) -> str | None:
    known = any(name in record.figures for record in records for name in VERDICTS)
    return verdict(records, figure) if figure or known else None

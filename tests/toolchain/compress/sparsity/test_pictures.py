"""Pictures of a history: what they show are the numbers of the records, and they are the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest

from toolchain.cli import run
from toolchain.compress.sparsity.history import EpochRecord, History
from toolchain.compress.sparsity.pictures import draw_history, drawings

EPOCHS = 5
STEMS = {"kernels", "values", "histogram", "curves", "filters", "trade-off"}


def make_records(layers: int = 3, channels: int = 1, epochs: int = EPOCHS) -> list[EpochRecord]:
    """Kernel k of each layer is zero from epoch k + 2 on, but for the last two."""
    random = np.random.default_rng(0)
    widths = [6 + index % 3 for index in range(layers)]
    weights = random.standard_normal((widths[0], channels, 3, 3)).astype(np.float32)
    values = [random.uniform(0.5, 2, width).astype(np.float32) for width in widths]
    records = []
    for epoch in range(1, epochs + 1):
        zeroed = [np.arange(width) < min(epoch - 1, width - 2) for width in widths]
        records.append(
            EpochRecord(
                epoch,
                {f"l{i}": np.where(zeroed[i], 0, values[i]).astype(np.float32) for i in range(layers)},
                {f"l{i}": zeroed[i] for i in range(layers)},
                1 / epoch,
                0.1,
                {"val_error": float(10 - epoch % 3), "val_loss": 1 / epoch, "train_loss": 2 / epoch},
                np.where(zeroed[0][:, None, None, None], 0, weights),
            )
        )
    return records


@pytest.fixture
def draw() -> Iterator[Callable[..., Any]]:
    """`draw(stem, records)` gives the figure."""
    yield lambda stem, records, figure="val_error": drawings()[stem](records, figure)
    plt.close("all")


def test_filters_are_counted_per_layer_and_epoch(draw) -> None:
    records = make_records()
    over, bars = draw("filters", records).axes
    *layers, total = over.get_lines()
    for line, layer in zip(layers, records[0].zeroed, strict=True):
        shares = [100 * (~record.zeroed[layer]).mean() for record in records]
        assert line.get_label() == layer
        assert list(line.get_ydata()) == pytest.approx(shares)
    assert list(total.get_ydata()) == pytest.approx([100 * r.filters_left / r.filters for r in records])
    widths = [patch.get_width() for patch in bars.patches]
    assert widths == [6, 7, 8] + [int((~mask).sum()) for mask in records[-1].zeroed.values()]
    assert [text.get_text() for text in bars.texts] == ["2 of 6", "3 of 7", "4 of 8"]


def test_trade_off_shows_every_epoch_and_joins_the_front(draw) -> None:
    records = make_records()
    axes = draw("trade-off", records).axes[0]
    points = axes.collections[0].get_offsets().tolist()
    assert points == [[record.filters_left, record.figures["val_error"]] for record in records]
    (front,) = axes.get_lines()
    assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == [(9, 8.0)]
    assert [text.get_text() for text in axes.texts] == ["epoch 5"]


def test_curves_show_losses_and_errors_apart(draw) -> None:
    records = make_records()
    losses, errors, term, left = draw("curves", records).axes
    assert {line.get_label(): list(line.get_ydata()) for line in losses.get_lines()} == {
        name.replace("_", " "): [record.figures[name] for record in records]
        for name in ("train_loss", "val_loss")
    }
    assert [line.get_label() for line in errors.get_lines()] == ["val error"]
    assert list(term.get_lines()[0].get_ydata()) == [record.term for record in records]
    assert list(left.get_lines()[0].get_ydata()) == [record.filters_left for record in records]


def test_values_are_relative_to_the_mean_of_what_is_left(draw) -> None:
    records = make_records()
    panels = draw("values", records).axes[:3]
    for axes, layer in zip(panels, records[0].norms, strict=True):
        shown = np.ma.filled(axes.get_images()[0].get_array().astype(float), np.nan)
        expected = []
        for record in records:
            unit = sum(values.sum() for values in record.norms.values()) / record.filters_left
            expected.append(np.sort(record.norms[layer][~record.zeroed[layer]] / unit))
        for column, values in zip(shown.T, expected, strict=True):
            assert np.sort(column[np.isfinite(column)]) == pytest.approx(values, rel=1e-5)
        # Survivors are on top, the largest first.
        survivors = shown[: len(expected[-1]), -1]
        assert np.isfinite(survivors).all()
        assert (np.diff(survivors) <= 0).all()


def test_histogram_counts_what_is_left(draw) -> None:
    records = make_records()
    axes = draw("histogram", records).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        f"epoch {record.epoch}: {record.filters_left} kernels, {record.filters - record.filters_left} zero"
        for record in (records[0], records[2], records[4])
    ]


@pytest.mark.parametrize("channels", [1, 3, 13])
def test_kernels_are_tiles_in_one_scale_and_zero_is_grey(channels: int, draw) -> None:
    records = make_records(channels=channels)
    axes = draw("kernels", records).axes[0]
    sheet = axes.get_images()[0].get_array()
    assert sheet.shape == (EPOCHS * 3 + (EPOCHS - 1) * 2, 6 * 4 - 1, 3)
    assert [text.get_text() for text in axes.get_yticklabels()] == [f"epoch {n}" for n in range(1, 6)]
    for row, record in enumerate(records):
        for column, zero in enumerate(record.zeroed["l0"]):
            tile = sheet[row * 5 : row * 5 + 3, column * 4 : column * 4 + 3]
            assert np.allclose(tile, 0.82, atol=1e-6) == zero
    # A kernel that does not change looks the same in every epoch.
    assert np.array_equal(sheet[0:3, 20:23], sheet[20:23, 20:23])


def test_the_same_history_gives_the_same_files(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    for record in make_records(2, 3):
        history.write(record)
    first = draw_history(history, tmp_path / "first")
    second = draw_history(history.folder, tmp_path / "second")
    assert {path.stem for path in first} == STEMS
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        if one.suffix == ".png":
            picture = cv2.imread(str(one))
            assert min(picture.shape[:2]) > 200
            assert picture.std() > 5
        else:
            assert ElementTree.parse(one).getroot().tag.endswith("svg")


@pytest.mark.parametrize(("layers", "epochs"), [(1, 1), (40, 2)])
def test_one_epoch_and_many_layers_fit_on_a_page(layers: int, epochs: int, draw) -> None:
    for stem in STEMS:
        width, height = draw(stem, make_records(layers, 3, epochs)).get_size_inches()
        assert 3 < width < 14
        assert 1 < height < 24


def test_a_history_without_a_verdict_has_no_trade_off(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    for record in make_records(epochs=2):
        history.write(EpochRecord(**{**record.__dict__, "figures": {}}))
    assert {path.stem for path in draw_history(history, tmp_path)} == STEMS - {"trade-off"}


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = History(tmp_path / "history")
    for record in make_records():
        history.write(record)
    assert run(["compress", "pictures", str(history.folder)]) == 0
    assert f"wrote {tmp_path / 'pictures' / 'kernels.png'} and kernels.svg" in capsys.readouterr().out
    assert run(["compress", "pictures", str(history.folder), "--figure", "accuracy"]) == 2
    assert "no epoch has the figure 'accuracy'" in capsys.readouterr().err
    assert run(["compress", "pictures", str(tmp_path / "nowhere")]) == 2
    assert "is no history of a training" in capsys.readouterr().err
    history.path(3).write_bytes(b"PK")
    assert run(["compress", "pictures", str(history.folder)]) == 3
    assert "epoch-0003.npz' is damaged" in capsys.readouterr().err

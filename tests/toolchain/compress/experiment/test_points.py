"""Which epochs are kept as trade-off points."""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from toolchain.compress.experiment.points import TradeOffPoints, filters_of, load_point, share_gone
from toolchain.compress.experiment.recipe import FIRST, Point


def network_with(zeroed: int, mark: float = 1.0) -> nn.Sequential:
    """10 filters of which `zeroed` are zero; the bias tells networks apart."""
    network = nn.Sequential(
        nn.Conv2d(1, 10, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 2)
    )
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].weight[:zeroed] = 0
        network[4].bias.fill_(mark)
    return network


def test_share_counts_filters_whose_weights_are_all_zero() -> None:
    network = network_with(3)
    with torch.no_grad():
        network[0].weight[4, 0, 0, 0] = 0
    assert filters_of(network) == {"0": 7}
    assert abs(share_gone(network) - 0.3) < 1e-12


EPOCHS = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 5)), min_size=1, max_size=6)


@given(EPOCHS, st.integers(0, 10))
@settings(max_examples=15, deadline=None)
def test_lowest_error_of_those_with_enough_gone_is_kept(epochs: list[tuple[int, int]], tenths: int) -> None:
    point = Point("point", tenths / 10)
    with TemporaryDirectory() as place:
        points = TradeOffPoints((point,), Path(place))
        for number, (zeroed, error) in enumerate(epochs):
            points.consider(network_with(zeroed, float(number)), number, float(error))
        able = [(error, -number) for number, (zeroed, error) in enumerate(epochs) if zeroed >= tenths]
        assert points.path(point).is_file() == bool(able)
        assert abs(points.most_gone - max(zeroed for zeroed, _ in epochs) / 10) < 1e-12
        if not able:
            assert points.kept == {}
            return
        error, number = min(able)
        kept = points.kept["point"]
        assert (kept["epoch"], kept["error"]) == (-number, error)
        assert load_point(network_with(0), points.path(point))[4].bias[0] == -number


@given(EPOCHS, st.integers(0, 10))
@settings(max_examples=15, deadline=None)
def test_or_the_first_of_them(epochs: list[tuple[int, int]], tenths: int) -> None:
    point = Point("point", tenths / 10, FIRST)
    with TemporaryDirectory() as place:
        points = TradeOffPoints((point,), Path(place))
        for number, (zeroed, error) in enumerate(epochs):
            points.consider(network_with(zeroed, float(number)), number, float(error))
        able = [number for number, (zeroed, _) in enumerate(epochs) if zeroed >= tenths]
        assert [kept["epoch"] for kept in points.kept.values()] == able[:1]
        if able:
            assert load_point(network_with(0), points.path(point))[4].bias[0] == able[0]


def test_a_resumed_training_goes_on_with_what_was_kept(tmp_path: Path) -> None:
    points = TradeOffPoints((Point("few", 0.2), Point("many", 0.8)), tmp_path)
    points.consider(network_with(3), 0, 2.0)
    resumed = TradeOffPoints(points.points, tmp_path)
    resumed.load_state_dict(copy.deepcopy(points.state_dict()))
    resumed.consider(network_with(3), 1, 2.5)
    assert resumed.kept == {"few": {"epoch": 0, "error": 2.0, "gone": 0.3}}
    resumed.consider(network_with(9), 2, 1.5)
    assert {name: entry["epoch"] for name, entry in resumed.kept.items()} == {"few": 2, "many": 2}


def test_figures_that_rise_are_turned_into_errors(tmp_path: Path, fit) -> None:
    kept = []
    for falling in (True, False):
        points = TradeOffPoints((Point(),), tmp_path / str(falling), "val_error", falling)
        fit(points, epochs=3)
        kept.append(points.kept["all"]["error"])
    lowest, highest = kept[0], 100 - kept[1]
    # The one keeps the epoch with the lowest figure, the other that with the highest.
    assert 0 <= lowest < highest <= 100

"""Which kernels become zero, and that no layer is emptied."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from toolchain.compress.sparsity.masks import weakest_kernels, with_strongest, zeroed_kernels

VALUES = st.dictionaries(
    st.sampled_from("abcd"),
    st.lists(st.floats(0, 10, width=32), min_size=1, max_size=12).map(torch.tensor),
    min_size=1,
)


def test_zeroed_kernels_are_those_whose_weights_all_are_zero() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 1))
    with torch.no_grad():
        network[0].weight[1] = 0
        network[0].weight[2, 0] = 0
        network[2].weight[3] = -0.0
    found = zeroed_kernels(network)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "0": [False, True, False],
        "2": [False, False, False, True],
    }


@pytest.mark.parametrize(
    ("threshold", "scope", "expected"),
    [
        # N scaled to sum 1 is 0.05, 0.15, 0.2 | 0.1, 0.5; the cumulative sums are 0.05, 0.15, 0.3, 0.5, 1.
        (0.2, "global", ([True, False, False], [True, False])),
        (0.31, "global", ([True, True, False], [True, False])),
        (0.04, "global", ([False, False, False], [False, False])),
        (0.0, "global", ([False, False, False], [False, False])),
        # 0.125, 0.375, 0.5 | 1/6, 5/6
        (0.15, "layer", ([True, False, False], [False, False])),
        (0.6, "layer", ([True, True, False], [True, False])),
    ],
)
def test_smallest_kernels_whose_sum_stays_under_the_threshold(
    threshold: float, scope: str, expected: tuple[list[bool], list[bool]]
) -> None:
    norms = {"a": torch.tensor([1.0, 3.0, 4.0]), "b": torch.tensor([2.0, 10.0])}
    chosen = weakest_kernels(norms, threshold, scope)
    assert (chosen["a"].tolist(), chosen["b"].tolist()) == expected


@settings(max_examples=100, deadline=None)
@given(norms=VALUES, threshold=st.floats(0, 0.99), scope=st.sampled_from(["global", "layer"]))
def test_chosen_kernels_are_the_most_that_fit_and_no_layer_is_emptied(
    norms: dict[str, Tensor], threshold: float, scope: str
) -> None:
    chosen = weakest_kernels(norms, threshold, scope)
    groups = [[name] for name in norms] if scope == "layer" else [list(norms)]
    for group in groups:
        values = torch.cat([norms[name] for name in group]).double()
        mask = torch.cat([chosen[name] for name in group])
        limit, taken = threshold * values.sum(), values[mask].sum()
        assert taken <= limit * (1 + 1e-12)
        if not mask.all() and values.sum() > 0:
            smallest = values[~mask].min()
            assert taken + smallest >= limit * (1 - 1e-12)
            assert not mask.any() or values[mask].max() <= smallest
    kept, spared = with_strongest(norms, chosen)
    for name, values in norms.items():
        assert not kept[name].all()
        if name in spared:
            assert values[~kept[name]].tolist() == [float(values.max())]
        else:
            assert torch.equal(kept[name], chosen[name])

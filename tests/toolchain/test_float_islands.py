"""Islands of floats are chosen by time. Here every operator has a price, so that the best choice is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from toolchain import float_islands, island_cut
from toolchain.converters.graph import clean
from toolchain.converters.quantize.calibrate import calibrate
from toolchain.converters.quantize.integer_forms import write_integer_forms
from toolchain.converters.quantize.place import place_pairs, stored_values
from toolchain.converters.tflite import convert
from toolchain.converters.torch_to_onnx import torch_to_onnx
from toolchain.export import Exported, ExportOptions, export_source
from toolchain.float_islands import Mixture, choose_islands
from toolchain.island_cut import FLOAT, Network, float_side
from toolchain.runtimes.tflite_parts import operator_name, read_parts
from toolchain.source import resolve
from toolchain.spec import TensorSpec

SHAPE = (1, 4, 6, 6)
# Milliseconds as integers and as floats; conversions cost the same in both directions.
PRICES = {"CONV_2D": (1.0, 4.0), "SOFTMAX": (9.0, 2.0), "TANH": (2.0, 2.0)}
CONVERSION = 1.0


class Softmaxes(nn.Module):
    """Convolution, softmax, tanh, softmax, convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.softmax(torch.tanh(torch.softmax(self.first(x), 1)), 1))


class WithAtan(Softmaxes):
    """The same with an operator that has no integer kernel behind it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.atan(super().forward(x))


def graphs(network: nn.Module) -> tuple[ir.Model, ir.Model]:
    """The graph of floats and the one with pairs."""
    plain = torch_to_onnx(network.eval(), [TensorSpec("x", SHAPE)], ["y"])
    clean(plain)
    pairs = plain.clone()
    write_integer_forms(pairs)
    samples = [{"x": np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)}]
    place_pairs(pairs, calibrate(pairs, samples, names=stored_values(pairs), threads=1).ranges)
    return plain, pairs


def clock(prices: dict[str, tuple[float, float]], conversion: float) -> Callable[..., list[float]]:
    """A stopwatch for .tflite files that adds up the prices of their operators."""

    def price(data: bytes) -> float:
        model = read_parts(data)
        tensors, total = model.subgraphs[0].tensors, 0.0
        for operator in model.subgraphs[0].operators:
            name = operator_name(model, operator)
            is_float = tensors[int(operator.outputs[0])].type == FLOAT
            borders = name in ("QUANTIZE", "DEQUANTIZE")
            total += conversion if borders else prices.get(name, (0.0, 0.0))[is_float]
        return total

    return lambda files, *_rounds: [price(data) for data in files]


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the stopwatch."""

    def replace_clock(conversion: float = CONVERSION, **prices: tuple[float, float]) -> None:
        for module in (float_islands, island_cut):
            monkeypatch.setattr(module, "least_milliseconds", clock({**PRICES, **prices}, conversion))

    return replace_clock


def test_neighbours_become_one_island(priced: Callable[..., None]) -> None:
    priced()
    plain, pairs = graphs(Softmaxes())
    found = choose_islands(pairs, plain)
    [island] = found.islands
    assert island.ops == ("SOFTMAX", "TANH", "SOFTMAX")
    assert island.count == 1
    assert (island.integer_ms, island.float_ms) == (20.0, 8.0)
    assert found.taken
    assert not found.all_float
    # Two convolutions, and conversions at the borders of the file.
    assert (found.fp32_ms, found.integer_ms, found.mixed_ms) == (14.0, 24.0, 12.0)
    made = convert(pairs.clone(), "int8", kept_float=found.kept_float)
    assert made.report is not None
    assert made.report.conversions == {"QUANTIZE": 2, "DEQUANTIZE": 2}
    assert {operator.op for operator in made.report.floats} == {"SOFTMAX", "TANH"}


@pytest.mark.parametrize(
    ("conversion", "prices", "islands", "counts"),
    [
        (20.0, {"CONV_2D": (1.0, 100.0)}, [], []),
        # The dear operator between them keeps its integer kernel, and equal islands are measured once.
        (1.0, {"TANH": (1.0, 30.0)}, [("SOFTMAX",)], [2]),
        (1.0, {"SOFTMAX": (1.0, 1.0)}, [], []),
    ],
    ids=["dear-conversions", "two-islands", "no-gain"],
)
def test_the_cheapest_division_is_found(
    priced: Callable[..., None],
    conversion: float,
    prices: dict[str, tuple[float, float]],
    islands: list[tuple[str, ...]],
    counts: list[int],
) -> None:
    priced(conversion, **prices)
    plain, pairs = graphs(Softmaxes())
    found = choose_islands(pairs, plain)
    assert [island.ops for island in found.islands] == islands
    assert [island.count for island in found.islands] == counts
    assert found.taken == bool(islands)
    assert len(found.kept_float) == sum(counts)


def test_a_tie_is_integer(priced: Callable[..., None]) -> None:
    # 20 as integers, 18.5 as floats: less than a tenth is gained.
    priced(1.0, SOFTMAX=(9.0, 7.25))
    plain, pairs = graphs(Softmaxes())
    found = choose_islands(pairs, plain)
    [island] = found.islands
    assert island.float_ms < island.integer_ms
    assert not island.faster
    assert not found.taken
    assert found.kept_float == ()
    assert found.mixed_ms is None
    assert found.milliseconds == found.integer_ms


def test_a_file_that_gains_little_stays_integer(
    priced: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    priced()
    monkeypatch.setattr(float_islands, "FILE_MARGIN", 0.51)
    plain, pairs = graphs(Softmaxes())
    found = choose_islands(pairs, plain)
    assert found.islands[0].faster
    assert found.mixed_ms == 12.0
    assert not found.taken
    assert found.kept_float == ()


def test_operators_without_integer_kernels_are_accepted(priced: Callable[..., None]) -> None:
    priced(1.0, SOFTMAX=(1.0, 1.0))
    plain, pairs = graphs(WithAtan())
    found = choose_islands(pairs, plain)
    assert found.accepted
    assert found.islands == ()
    assert not found.taken


def test_nodes_that_stay_float_anyway_are_no_choice(priced: Callable[..., None]) -> None:
    priced()
    plain, pairs = graphs(Softmaxes())
    names = tuple(node.name or "" for node in pairs.graph if node.op_type in ("Softmax", "Tanh"))
    found = choose_islands(pairs, plain, kept_float=names)
    assert found.islands == ()
    assert found.kept_float == names
    assert found.integer_ms == 12.0


class _Priced(Network):
    """A network whose nodes have prices."""

    def __init__(self, network: Network, prices: Sequence[float], rate: float) -> None:
        super().__init__(network.data, network.origins)
        self._prices = dict(
            zip(dict.fromkeys(name for name in network.origins if name), prices, strict=False)
        )
        self._rate = rate

    def milliseconds(self) -> dict[str, float]:
        return self._prices

    def conversion_rate(self) -> float:
        return self._rate


@pytest.fixture(scope="module")
def chain() -> Network:
    _, pairs = graphs(Softmaxes())
    names = [node.name or "" for node in pairs.graph]
    made = convert(pairs, "int8", kept_float=names)
    return Network(made.data, made.origins)


NODES = 5
MONEY = st.lists(st.integers(0, 20), min_size=NODES, max_size=NODES)


@given(as_integers=MONEY, as_floats=MONEY, conversion=st.integers(0, 8), borders=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_division_is_cheaper(
    chain: Network, as_integers: list[int], as_floats: list[int], conversion: int, borders: bool
) -> None:
    """Against all 32 divisions of a chain of five nodes, all of whose tensors have one size."""
    rate = (conversion - island_cut.PER_CALL) / np.prod(SHAPE)
    integers, floats = _Priced(chain, as_integers, float(rate)), _Priced(chain, as_floats, 0.0)
    names = list(floats.milliseconds())
    assert len(names) == NODES

    def total(side: Sequence[bool]) -> float:
        ends = [borders, *side, borders]
        changes = sum(a != b for a, b in pairwise(ends))
        nodes = zip(side, as_floats, as_integers, strict=True)
        return conversion * changes + sum(f if is_float else i for is_float, f, i in nodes)

    found = float_side(floats, integers, (), borders)
    best = min(total(side) for side in product((False, True), repeat=NODES))
    assert total([name in found for name in names]) == pytest.approx(best, abs=1e-6)


def exported(folder: Path, **named: object) -> tuple[Exported, list[str]]:
    data, notes = folder / "inputs.npy", []
    np.save(data, np.random.default_rng(0).standard_normal((8, *SHAPE[1:])).astype(np.float32))
    options = ExportOptions(
        ["tflite"], ["int8"], folder / "build", data, allow_float=["auto"], note=notes.append
    )
    source = resolve(Softmaxes().eval(), None, SHAPE)
    return export_source(source, replace(options, **named)), notes


def test_the_export_says_what_it_chose_and_why(priced: Callable[..., None], tmp_path: Path) -> None:
    priced()
    made, notes = exported(tmp_path)
    [artifact] = made.require_all()
    assert artifact.ops["DEQUANTIZE"] == artifact.ops["QUANTIZE"] == 2
    mixture = made.mixtures[artifact.path]
    assert isinstance(mixture, Mixture)
    reasons = {operator.reason for operator in made.reports[artifact.path].floats}
    assert reasons == {"its island takes 8 ms, as integers 20 ms"}
    assert not [note for note in notes if "fp32" in note]


@pytest.mark.parametrize(
    ("conversion", "prices", "words"),
    [
        (1.0, {"CONV_2D": (30.0, 4.0)}, "nothing is faster as int8"),
        (0.3, {"CONV_2D": (4.0, 4.0), "SOFTMAX": (2.0, 2.0)}, "int8 is slower than fp32 on this computer"),
    ],
)
def test_a_file_slower_than_floats_is_noted(
    priced: Callable[..., None], tmp_path: Path, conversion: float, prices: dict, words: str
) -> None:
    priced(conversion, **prices)
    _, notes = exported(tmp_path)
    assert [note for note in notes if words in note and "-p fp32" in note]


def test_nothing_is_measured_unless_it_is_asked_for(tmp_path: Path) -> None:
    made, _ = exported(tmp_path, allow_float=())
    assert made.mixtures == {}

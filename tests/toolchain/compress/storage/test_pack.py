"""Packed files: everything comes back bit by bit, and what cannot be packed is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from toolchain.compress.storage.clusters import share
from toolchain.compress.storage.pack import PackReport, load_packed, pack, parse_bits, read, unpack
from toolchain.compress.storage.tensor import DENSE, DTYPES, RAW, SHARED, SPARSE, code_shared, decode_tensor
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.zoo import zoo

FIVE = {"conv": 5, "linear": 5}


def bits_of(tensor: Tensor) -> bytes:
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def packed(folder: Path, state: dict[str, Tensor], half: bool = False, **bits: int) -> PackReport:
    save_file(state, folder / "w.safetensors")
    return pack(folder / "w.safetensors", folder / "w.packed", bits or FIVE, half)


def require_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert bits_of(found[name]) == bits_of(tensor)


@pytest.fixture
def lenet(tmp_path: Path) -> Path:
    """LeNet with a third of its filters and most of its linear weights at zero."""
    torch.manual_seed(0)
    state = zoo().get("lenet").build().state_dict()
    state["features.2.weight"][::3] = 0
    hidden = state["classifier.0.weight"]
    hidden[hidden.abs() < 0.08] = 0
    path = tmp_path / "small.safetensors"
    save_file(state, path, metadata={"reshaped": "true", "terms": "research"})
    return path


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("bits", ["1", "5", "conv=8,linear=4", "linear=3"])
def test_a_network_comes_back_as_it_was_judged(lenet: Path, tmp_path: Path, bits: str, half: bool) -> None:
    report = pack(lenet, tmp_path / "n.packed", parse_bits(bits), half)
    unpack(tmp_path / "n.packed", tmp_path / "back.safetensors")
    before, back = load_file(lenet), load_file(tmp_path / "back.safetensors")
    rows = {row.name: row for row in report.tensors}
    require_same(back, report.state)
    assert report.bytes_after == (tmp_path / "n.packed").stat().st_size
    assert report.bytes_before == lenet.stat().st_size
    for name, tensor in before.items():
        assert not back[name][tensor == 0].any()
        wanted = parse_bits(bits).get("linear" if tensor.dim() == 2 else "conv", 0) if tensor.dim() > 1 else 0
        assert rows[name].bits in (0, wanted)
        # The table alone may take more than a small layer.
        assert rows[name].bits or not wanted or rows[name].bytes_before < 2100
        if rows[name].bits:
            assert len(back[name].unique()) <= 1 << wanted
        else:
            assert torch.equal(back[name], tensor.half().float() if half else tensor)


def test_rows_say_what_became_of_each_tensor(lenet: Path, tmp_path: Path) -> None:
    report = pack(lenet, tmp_path / "n.packed", parse_bits("conv=8,linear=5"))
    rows = {row.name: row for row in report.tensors}
    hidden, bias = rows["classifier.0.weight"], rows["classifier.0.bias"]
    weights = load_file(lenet)["classifier.0.weight"]
    assert (hidden.weights, hidden.bits, hidden.coding) == (400_000, 5, SPARSE)
    assert hidden.entries == 32
    lost = report.state["classifier.0.weight"] - weights
    assert hidden.error == pytest.approx(float(lost.norm() / weights.norm()), rel=1e-5)
    assert (bias.coding, bias.bits, bias.error, bias.bytes_after) == (RAW, 0, 0.0, bias.bytes_before)
    assert sum(row.bytes_after for row in report.tensors) < report.bytes_after < report.bytes_before / 8


def test_packing_again_loses_nothing(lenet: Path, tmp_path: Path) -> None:
    first = pack(lenet, tmp_path / "a.packed", FIVE)
    unpack(tmp_path / "a.packed", tmp_path / "a.safetensors")
    second = pack(tmp_path / "a.safetensors", tmp_path / "b.packed", FIVE)
    require_same(second.state, first.state)
    assert all(row.error == 0 for row in second.tensors)


def test_metadata_and_card_go_along(lenet: Path, tmp_path: Path) -> None:
    card = {"model": "lenet", "labels": ["even", "odd"], "figures": {"test_error": 0.7}}
    lenet.with_suffix(".json").write_text(json.dumps(card), encoding="utf-8")
    pack(lenet, tmp_path / "n.packed", FIVE)
    found = unpack(tmp_path / "n.packed", tmp_path / "back.safetensors", "lenet")
    assert found.network == "lenet"
    with safe_open(tmp_path / "back.safetensors", framework="pt") as file:
        assert file.metadata() == {"reshaped": "true", "terms": "research"}
    written = json.loads((tmp_path / "back.json").read_text(encoding="utf-8"))
    assert written == {**card, "packed": {"bits": FIVE, "half": False}}


def test_packed_weights_load_into_their_network_only(lenet: Path, tmp_path: Path) -> None:
    report = pack(lenet, tmp_path / "n.packed", FIVE, network="lenet")
    network = zoo().get("lenet").build()
    load_packed(network, tmp_path / "n.packed")
    require_same(dict(network.state_dict()), report.state)
    with pytest.raises(UnsupportedError, match=r"'vgg11'"):
        unpack(tmp_path / "n.packed", tmp_path / "no.safetensors", "vgg11")
    with pytest.raises(UnsupportedError, match=r"features\.0\.0\.weight' is missing"):
        load_packed(zoo().get("vgg11").build(), tmp_path / "n.packed")
    assert not (tmp_path / "no.safetensors").exists()


def test_other_widths_fit_where_filters_were_removed_only(lenet: Path, tmp_path: Path) -> None:
    state = load_file(lenet)
    state["classifier.2.weight"], state["classifier.2.bias"] = torch.ones(3, 500), torch.zeros(3)
    for name, metadata in (("removed", {"reshaped": "true"}), ("plain", {})):
        save_file(state, tmp_path / f"{name}.safetensors", metadata=metadata or None)
        pack(tmp_path / f"{name}.safetensors", tmp_path / f"{name}.packed", FIVE)
    network = zoo().get("lenet").build()
    unpack(tmp_path / "removed.packed", tmp_path / "back.safetensors", wanted=network)
    assert network.classifier[2].out_features == 10
    load_packed(network, tmp_path / "removed.packed")
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 3)
    for refuse in (
        lambda: unpack(tmp_path / "plain.packed", tmp_path / "no", wanted=zoo().get("lenet").build()),
        lambda: load_packed(zoo().get("lenet").build(), tmp_path / "plain.packed"),
    ):
        with pytest.raises(UnsupportedError, match="instead of"):
            refuse()


SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
# One folder for all examples is enough: every file is written anew.
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
NAMES = st.sampled_from(["weight", "a.weight", "b.bias", "in_proj_weight", "ÿ.weight"])


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(SHAPES)
    dtype = draw(st.sampled_from(list(DTYPES.values())))
    raw = draw(arrays.arrays(np.int8, shape, elements=st.sampled_from([0, 0, 0, 1, -1, 3, 100])))
    tensor = torch.from_numpy(np.ascontiguousarray(raw))
    if dtype in SHARED:
        noise = draw(arrays.arrays(np.float32, shape, elements=st.floats(0.5, 1.5, width=16)))
        return (tensor * torch.from_numpy(np.ascontiguousarray(noise))).to(dtype)
    return tensor.abs().to(torch.float32).to(dtype)


@settings(max_examples=120, deadline=None, suppress_health_check=SLOW)
@given(state=st.dictionaries(NAMES, tensors(), max_size=4), half=st.booleans(), bits=st.integers(1, 8))
def test_any_tensors_come_back(tmp_path: Path, state: dict[str, Tensor], half: bool, bits: int) -> None:
    report = packed(tmp_path, state, half, conv=bits, linear=bits)
    unpack(tmp_path / "w.packed", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    require_same(back, report.state)
    for name, tensor in state.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        if tensor.dtype not in SHARED:
            assert bits_of(back[name]) == bits_of(tensor)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3000), st.floats(0, 1), st.integers(1, 8), st.integers(0, 1 << 30))
def test_both_codings_give_the_same_weights(size: int, zeros: float, bits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(max(size, 1), generator=generator)
    weights[torch.rand(len(weights), generator=generator) < zeros] = 0
    clusters = share(weights, bits)
    coding, data = code_shared(clusters)
    assert coding in (DENSE, SPARSE)
    entries = len(clusters.values)
    back = decode_tensor(
        coding, memoryview(data), tuple(weights.shape), torch.float32, torch.float32, entries
    )
    assert torch.equal(back, clusters.weights())


@pytest.mark.parametrize("gap", [0, 1, 254, 255, 256, 510, 511, 5000])
def test_long_gaps(gap: int) -> None:
    weights = torch.zeros(2 * gap + 40_000)
    weights[[gap, 2 * gap + 1]] = torch.tensor([2.5, -1.0])
    clusters = share(weights, 2)
    coding, data = code_shared(clusters)
    assert coding == SPARSE
    back = decode_tensor(
        coding, memoryview(data), tuple(weights.shape), torch.float32, torch.float32, len(clusters.values)
    )
    assert torch.equal(back, weights)


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("norm.bias", torch.tensor([1.0, float("nan")]), r"'norm\.bias' holds NaN"),
        ("conv.weight", torch.full((3, 3, 3, 3), float("nan")), r"'conv\.weight' holds NaN"),
        ("conv.weight", torch.full((3, 3, 3, 3), float("inf")), r"'conv\.weight' holds infinite"),
    ],
)
def test_numbers_that_are_none_are_refused_by_name(
    tmp_path: Path, name: str, tensor: Tensor, problem: str
) -> None:
    with pytest.raises(UnsupportedError, match=problem):
        packed(tmp_path, {name: tensor, "other": torch.ones(2)})
    assert not list(tmp_path.glob("*.packed*"))


def test_numbers_beyond_float16_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"'b' has numbers beyond float16"):
        packed(tmp_path, {"b": torch.tensor([1e6])}, half=True)


def test_infinite_buffers_pass(tmp_path: Path) -> None:
    mask = torch.tensor([0.0, float("-inf")])
    assert torch.equal(packed(tmp_path, {"mask": mask}, half=True).state["mask"], mask)


@pytest.mark.parametrize(
    ("text", "bits"),
    [("5", FIVE), ("conv=8,linear=5", {"conv": 8, "linear": 5}), ("linear=1", {"linear": 1})],
)
def test_bits(text: str, bits: dict[str, int]) -> None:
    assert parse_bits(text) == bits


@pytest.mark.parametrize(
    "text", ["", "0", "9", "99999999999", "-3", "five", "conv", "conv=", "conv=3,conv=4", "3,4"]
)
def test_bits_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="bits"):
        parse_bits(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.packed"):
        read(tmp_path / "none.packed")
    with pytest.raises(UsageError, match=r"none\.safetensors"):
        pack(tmp_path / "none.safetensors", tmp_path / "x.packed", FIVE)

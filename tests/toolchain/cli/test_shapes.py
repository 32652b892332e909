"""The --input-shape flag: what it accepts, and what it says to the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.cli.shapes import parse_shapes
from toolchain.errors import UsageError

SIZES = st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=6).map(tuple)
NAMES = st.text(min_size=1).filter(lambda name: name.strip())


@given(SIZES)
def test_one_shape_is_a_tuple(sizes: tuple[int, ...]) -> None:
    assert parse_shapes([",".join(map(str, sizes))]) == sizes


@given(st.dictionaries(NAMES, SIZES, min_size=1, max_size=4))
def test_named_shapes_are_a_dict_whatever_the_names_hold(shapes: dict[str, tuple[int, ...]]) -> None:
    texts = [f"{name}={','.join(map(str, sizes))}" for name, sizes in shapes.items()]
    assert parse_shapes(texts) == shapes


@given(st.lists(st.text(), max_size=3))
def test_any_text_is_parsed_or_refused(texts: list[str]) -> None:
    try:
        parsed = parse_shapes(texts)
    except UsageError:
        return
    shapes = [] if parsed is None else [parsed] if isinstance(parsed, tuple) else list(parsed.values())
    assert all(size > 0 for shape in shapes for size in shape)


@pytest.mark.parametrize("texts", [None, []])
def test_nothing_is_none(texts: list[str] | None) -> None:
    assert parse_shapes(texts) is None


def test_blanks_around_sizes_are_ignored() -> None:
    assert parse_shapes([" 1, 3 ,8,8 "]) == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([""], "positive integers"),
        (["1,,3"], "positive integers"),
        (["1,x"], "positive integers"),
        (["1.5,3"], "positive integers"),
        (["-1,3"], "positive integers"),
        (["0,3"], "positive integers"),
        (["1_6,3"], "positive integers"),
        (["١,3"], "positive integers"),
        (["9" * 30], "positive integers"),
        (["2147483648"], "positive integers"),
        (["image="], "positive integers"),
        (["=1,3"], "which input"),
        (["1,3", "1,3"], "which input"),
        (["image=1,3", "1,3"], "which input"),
        (["image=1,3", "image=1,4"], "twice for 'image'"),
    ],
)
def test_what_is_no_shape_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_shapes(texts)
    assert caught.value.hint

"""Names lead to what was entered under them; nothing is overwritten, and typing errors get help."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import UsageError
from toolchain.models import zoo
from toolchain.registry import MOST_LISTED, Registry


@pytest.fixture
def colors():
    registry = Registry("color", "paint list")
    for name in ("crimson", "green", "blue", "light blue"):
        registry.add(name, name.upper())
    return registry


def test_what_is_entered_is_found(colors):
    assert colors.get("green") == "GREEN"
    assert "green" in colors
    assert "GREEN" not in colors
    assert list(colors) == ["blue", "crimson", "green", "light blue"]
    assert len(colors) == 4


def test_duplicate_is_an_error_and_keeps_the_first(colors):
    with pytest.raises(ValueError, match="color 'green' is registered twice"):
        colors.add("green", "another")
    assert colors.get("green") == "GREEN"
    assert len(colors) == 4


def test_decorator_enters_under_every_name_and_returns_the_object():
    registry = Registry("operator")

    @registry.register("Relu", "Clip")
    def lower():
        return 3

    assert lower() == 3
    assert registry.get("Relu") is registry.get("Clip") is lower


def test_decorator_refuses_a_taken_name():
    registry = Registry("operator")
    registry.register("Relu")(abs)
    with pytest.raises(ValueError, match="operator 'Relu' is registered twice"):
        registry.register("Clip", "Relu")(min)
    assert registry.get("Relu") is abs


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("grean", "did you mean green?; `paint list` lists all"),
        ("lightblue", "did you mean light blue or blue?; `paint list` lists all"),
        ("xyzzy", "`paint list` lists all"),
        ("", "`paint list` lists all"),
    ],
)
def test_unknown_name_gets_near_names_and_the_listing(colors, typed, hint):
    with pytest.raises(UsageError) as caught:
        colors.get(typed)
    assert caught.value.message == f"unknown color '{typed}'"
    assert caught.value.hint == hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("count", "typed", "hint"),
    [
        (0, "green", ""),
        (2, "green", "known are color0, color1"),
        (2, "colour1", "did you mean color1 or color0?; known are color0, color1"),
        (MOST_LISTED + 1, "green", ""),
    ],
)
def test_without_a_listing_few_names_are_listed_in_the_hint(count, typed, hint):
    registry = Registry("color")
    for number in range(count):
        registry.add(f"color{number}", number)
    with pytest.raises(UsageError) as caught:
        registry.get(typed)
    assert caught.value.hint == hint


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.integers()), st.text())
def test_get_agrees_with_a_dict(entries, name):
    registry = Registry("number")
    for key, value in entries.items():
        assert registry.add(key, value) == value
    assert list(registry) == sorted(entries)
    if name in entries:
        assert registry.get(name) == entries[name]
    else:
        with pytest.raises(UsageError):
            registry.get(name)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("mobile-hourglas", "mobile-hourglass"),
        ("Unet", "unet"),
        ("seg-net", "segnet"),
        ("mobilenet-v2", "mobilenetv2"),
        ("vgg-11", "vgg11"),
    ],
)
def test_zoo_suggests_what_was_meant(typed, meant):
    with pytest.raises(UsageError) as caught:
        zoo().get(typed)
    assert caught.value.message == f"unknown model '{typed}'"
    assert meant in caught.value.hint
    assert "`toolchain models` lists all" in caught.value.hint


def test_zoo_refuses_a_second_network_of_the_same_name():
    entry = zoo().get("unet")
    with pytest.raises(ValueError, match="model 'unet' is registered twice"):
        zoo().add("unet", entry)

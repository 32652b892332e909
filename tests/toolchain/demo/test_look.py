"""Keys and colours."""

from __future__ import annotations

import pytest

from toolchain.demo.look import CHOICES, EFFECT_NAMES, NAMED_COLORS, Controls, Look, check_effect, parse_color
from toolchain.errors import UsageError


def pressed(keys, look=None):
    controls = Controls(look or Look())
    for key in keys:
        controls.press(ord(key))
    return controls


def test_the_effect_key_goes_through_all_effects_and_starts_again():
    seen = []
    controls = Controls(Look(EFFECT_NAMES[0]))
    for _ in EFFECT_NAMES:
        seen.append(controls.look.effect)
        controls.press(ord("e"))
    assert tuple(seen) == EFFECT_NAMES
    assert controls.look == Look(EFFECT_NAMES[0])


@pytest.mark.parametrize("effect", EFFECT_NAMES)
def test_the_colour_key_goes_through_the_colours_of_the_effect(effect):
    controls = Controls(Look(effect))
    seen = []
    for _ in range(len(CHOICES.get(effect, (None,)))):
        controls.press(ord("c"))
        seen.append(controls.look.color)
    assert seen[-1] is None
    assert len(set(seen)) == len(seen)


def test_a_colour_of_the_command_line_gives_way_to_the_first():
    controls = pressed("c", Look("lipstick", (1, 2, 3)))
    assert controls.look.color is None


def test_the_line_stays_on_the_picture():
    assert pressed("." * 40).look.line == 1.0
    assert pressed("," * 40).look.line == 0.0
    assert pressed("..,").look.line == pytest.approx(0.55)


def test_arrows_move_the_line_and_other_special_keys_do_nothing():
    """Home, Insert and the like end in the codes of letters: 0xFF51, left, in that of Q."""
    controls = Controls(Look())
    controls.press(0xFF51)
    assert controls.look.line == pytest.approx(0.45)
    controls.press(0x100000 + 0xFF53)
    assert controls.look.line == pytest.approx(0.5)
    before = controls.look
    for code in (0xFF50, 0xFF52, 0xFF54, 0xFF55, 0xFF56, 0xFF57, 0xFF63, 0xFFE1):
        controls.press(code)
    assert controls.look == before
    assert (controls.quit, controls.paused, controls.save) == (False,) * 3


def test_the_other_keys():
    controls = pressed("pm sh")
    look = controls.look
    assert (look.split, look.mirror) == (True, True)
    assert (controls.paused, controls.save, controls.help) == (True, True, False)
    assert not controls.quit
    assert pressed("Q").quit
    assert pressed("\x1b").quit
    nothing = Controls(Look())
    nothing.press(-1)
    nothing.press(ord("z"))
    assert nothing.look == Look()


@pytest.mark.parametrize(
    ("text", "color"), [("#b01838", (176, 24, 56)), ("00FF10", (0, 255, 16)), ("Ruby", NAMED_COLORS["ruby"])]
)
def test_colours(text, color):
    assert parse_color(text) == color


@pytest.mark.parametrize("text", ["#12345", "rubi", "", "#gg0000", "1,2,3"])
def test_what_is_no_colour(text):
    with pytest.raises(UsageError, match="is no colour") as caught:
        parse_color(text)
    assert "ruby" in caught.value.hint


def test_effects_are_checked():
    assert check_effect("none") == "none"
    with pytest.raises(UsageError, match="unknown effect"):
        check_effect("hair")
    for effect in ("none", "blur"):
        with pytest.raises(UsageError, match="colour"):
            Look(effect, (1, 2, 3))

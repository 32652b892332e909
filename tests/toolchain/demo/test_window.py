"""The real window loop on an X server without a screen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from toolchain.demo.window import load_queue_owner
from toolchain.errors import MissingDependencyError
from toolchain.face.picture import read_picture, write_picture
from toolchain.face.source import drawn_face

PLAIN = ("--effect", "none", "--json")
RED_LIPS = ("--effect", "lipstick", "--color", "#ff0000")


def reddest(picture):
    """How much redder than green and blue the reddest pixels are."""
    apart = picture[..., 0].astype(int) - picture[..., 1:].max(axis=-1)
    return np.percentile(apart, 99.95)


def test_a_clip_is_shown_like_a_camera_and_the_demo_ends_with_it(display, start, stand_ins, clip):
    demo = start(
        ["--source", clip, "--artifact", stand_ins / "stand-in-fp32.onnx", *RED_LIPS, "--json"], display.name
    )
    status, out, err = demo.result()
    assert status == 0, err
    made = json.loads(out)
    frames = made["frames"]
    assert frames["captured"] == 45
    assert frames["shown"] + frames["dropped"] == 45
    assert made["faces"] == 1
    assert made["with_face"] == 1
    assert 0 < made["glass_to_glass"]["p50"] <= made["glass_to_glass"]["p90"]
    assert set(made["stages"]) == {"detection", "crop", "inference", "unwarp", "colorization", "total"}


def purple(picture):
    """Share of pixels in the colour that `mask` gives to the skin."""
    return (picture[..., 2].astype(int) - picture[..., 1] > 40).mean()


def test_keys_change_the_effect_pause_save_and_quit(display, start, stand_ins, tmp_path):
    demo = start(
        ["--source", "synthetic", "--artifact", stand_ins / "stand-in-fp32.onnx", "--json"], display.name
    )
    demo.until(lambda: display.window() and purple(display.screen()) > 0.05)
    display.press("e")
    demo.until(lambda: purple(display.screen()) < 0.01 and display.screen()[150, 30].any())
    display.press("space")
    display.press("s")
    demo.until(lambda: list(tmp_path.glob("*.png")))
    display.press("q")
    status, out, err = demo.result()
    assert status == 0, err
    made = json.loads(out)
    assert made["effect"] == "lipstick"
    [saved] = made["pictures"]
    picture = read_picture(tmp_path / saved)
    np.testing.assert_array_equal(picture[150, 30], (88, 96, 104))
    assert 0.02 < (picture[..., 0] > 180).mean() < 0.3
    assert purple(picture) < 0.01


def test_a_window_that_is_closed_by_its_button_ends_the_demo(display, start, stand_ins):
    demo = start(["--source", "synthetic", "--artifact", stand_ins / "stand-in-fp32.onnx"], display.name)
    demo.until(lambda: display.window() and display.screen()[150, 30].any())
    display.close_window()
    status, out, err = demo.result()
    assert status == 0, err
    assert "frames of synthetic" in out


def test_a_library_that_a_window_needs_is_named_where_it_is_missing():
    with pytest.raises(MissingDependencyError, match="libX11-none") as caught:
        load_queue_owner("libX11-none.so.1")
    assert "libx11-xcb1" in str(caught.value.hint)


def test_the_other_precision_is_shown_along_a_line(display, start, stand_ins):
    demo = start(
        ["--source", "synthetic", "--artifact", stand_ins / "stand-in-fp32.onnx", *PLAIN], display.name
    )
    demo.until(lambda: display.window() and display.screen()[150, 30].any())
    display.press("p")
    # The line is white from top to bottom; figures and keys are written over its ends.
    demo.until(lambda: (display.screen()[100:220, 320] == 255).all())
    display.press("q")
    status, out, err = demo.result()
    assert status == 0, err
    made = json.loads(out)
    assert [network["precision"] for network in made["artifacts"]] == ["fp32", "int8"]
    assert 0.9 < made["agreement"]["face_pixels"] < 1


def test_a_photograph_stays_until_the_next_is_asked_for(display, start, stand_ins, tmp_path):
    write_picture(tmp_path / "face.png", drawn_face((640, 480), (320, 240), 220))
    demo = start(
        ["--source", "face.png", "--artifact", stand_ins / "stand-in-fp32.onnx", *RED_LIPS, "--json"],
        display.name,
    )
    demo.until(lambda: reddest(display.screen()) > 120)
    # The picture itself is on the screen: its ground, left of the face and below the figures.
    np.testing.assert_array_equal(display.screen()[150, 30], (88, 96, 104))
    display.press("n")
    status, out, err = demo.result()
    assert status == 0, err
    assert json.loads(out)["frames"] == {"captured": 1, "shown": 1, "dropped": 0}


@pytest.mark.parametrize("name", [None, ":4242"])
def test_without_a_display_the_ways_out_are_named(start, stand_ins, name):
    demo = start(["--source", "synthetic", "--artifact", stand_ins / "stand-in-fp32.onnx"], name)
    status, out, err = demo.result()
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert "display" in err
    assert "--no-window" in err
    assert "--web" in err

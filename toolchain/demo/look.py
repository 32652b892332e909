"""What a demo is asked to draw, and the keys that change it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from threading import Event

from toolchain.errors import UsageError
from toolchain.face.effects import EFFECTS, Color, effect

NO_EFFECT = "none"
EFFECT_NAMES = (*EFFECTS, NO_EFFECT)
NAMED_COLORS: dict[str, Color] = {
    "ruby": (176, 24, 56),
    "coral": (226, 88, 74),
    "berry": (120, 24, 80),
    "rose": (206, 92, 120),
    "nude": (186, 120, 102),
    "brick": (150, 52, 40),
    "black": (24, 20, 20),
    "brown": (74, 48, 34),
    "auburn": (110, 54, 36),
    "blonde": (150, 116, 74),
    "violet": (96, 48, 170),
    "blue": (40, 90, 200),
    "green": (50, 150, 80),
}
# What the key for the colour goes through; None is the effect's own colour, or no tint.
CHOICES: dict[str, tuple[str | None, ...]] = {
    "lipstick": (None, "coral", "berry", "rose", "nude", "brick", "black", "violet"),
    "brows": (None, "black", "auburn", "blonde", "blue"),
    "skin": (None, "nude", "rose", "blue", "green"),
    "mask": (None, "blue", "green", "rose"),
}
HEX = re.compile(r"#?([0-9a-fA-F]{6})")
LINE_STEP = 0.05
# Left and right as X11 names them, which OpenCV's windows hand through on Linux; they move the line.
ARROWS = {0xFF51: ",", 0xFF53: "."}
ESCAPE = 27
KEYS = "e effect  c colour  p precision  , . line  space pause  s save  m mirror  n next  h help  q quit"


@dataclass(frozen=True)
class Look:
    """What is drawn.

    Attributes:
        effect: a name in EFFECT_NAMES.
        color: RGB (0-255); None for the effect's own.
        split: two precisions side by side, where there are two.
        line: where they meet, 0-1 from the left.
        mirror: left and right exchanged, as in a mirror.
    """

    effect: str = "mask"
    color: Color | None = None
    split: bool = False
    line: float = 0.5
    mirror: bool = False

    def __post_init__(self) -> None:
        if self.effect != NO_EFFECT:
            found = effect(self.effect)
            if self.color is not None and not found.colored:
                raise UsageError(f"the effect '{self.effect}' has no colour", "leave --color out")
        elif self.color is not None:
            raise UsageError("without an effect there is no colour", "leave --color out")


def parse_color(text: str) -> Color:
    """RGB of "#b01838", of "b01838" or of a name.

    Raises:
        UsageError: it is neither; the hint lists the names.
    """
    if text.lower() in NAMED_COLORS:
        return NAMED_COLORS[text.lower()]
    found = HEX.fullmatch(text.strip())
    if not found:
        raise UsageError(f"'{text}' is no colour", f"give #rrggbb, or one of {', '.join(NAMED_COLORS)}")
    value = bytes.fromhex(found[1])
    return value[0], value[1], value[2]


def check_effect(name: str) -> str:
    """The name itself.

    Raises:
        UsageError: there is no such effect.
    """
    if name not in EFFECT_NAMES:
        raise UsageError(f"unknown effect '{name}'", f"effects are {', '.join(EFFECT_NAMES)}")
    return name


class Controls:
    """What the keys change. Keys are pressed in one thread; all others only read.

    Attributes:
        look: replaced as a whole when something changes.
        paused: whether frames wait.
        help: whether the line with the keys is shown.
        quit: whether the user wants to leave.
        save: set when a picture is to be saved; whoever saves it clears it.
        following: set when the next still is wanted; whoever takes it clears it.
    """

    def __init__(self, look: Look) -> None:
        self.look = look
        self.paused = self.quit = self.save = False
        self.help = True
        self.following = Event()

    def press(self, key: int) -> None:
        """Take a key code, as from OpenCV; -1 and unknown keys do nothing."""
        # GTK puts NumLock and the like above 16 bits.
        code = key & 0xFFFF
        if key < 0 or (code > 0xFF and code not in ARROWS):
            return
        name = ARROWS.get(code) or chr(code).lower()
        if name == "q" or code == ESCAPE:
            self.quit = True
        elif name == "e":
            self._next_effect()
        elif name == "c":
            self._next_color()
        elif name == "p":
            self.look = replace(self.look, split=not self.look.split)
        elif name in ",.":
            line = self.look.line + (LINE_STEP if name == "." else -LINE_STEP)
            self.look = replace(self.look, line=round(min(max(line, 0.0), 1.0), 6))
        elif name == "m":
            self.look = replace(self.look, mirror=not self.look.mirror)
        elif name == " ":
            self.paused = not self.paused
        elif name == "s":
            self.save = True
        elif name == "h":
            self.help = not self.help
        elif name == "n":
            self.following.set()

    def _next_effect(self) -> None:
        following = EFFECT_NAMES[(EFFECT_NAMES.index(self.look.effect) + 1) % len(EFFECT_NAMES)]
        self.look = replace(self.look, effect=following, color=None)

    def _next_color(self) -> None:
        choices = CHOICES.get(self.look.effect, (None,))
        colors = [None if name is None else NAMED_COLORS[name] for name in choices]
        # A colour of the command line may be none of them.
        place = colors.index(self.look.color) if self.look.color in colors else -1
        self.look = replace(self.look, color=colors[(place + 1) % len(colors)])

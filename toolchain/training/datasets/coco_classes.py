"""Categories of COCO's panoptic task: the 80 things and 53 kinds of stuff by their ids (arXiv:1801.00868)."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from toolchain.errors import UsageError

UNLABELLED = 0

_THINGS = (
    "1 person, 2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat, 10 traffic light,"
    " 11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench, 16 bird, 17 cat, 18 dog, 19 horse, 20 sheep,"
    " 21 cow, 22 elephant, 23 bear, 24 zebra, 25 giraffe, 27 backpack, 28 umbrella, 31 handbag, 32 tie,"
    " 33 suitcase, 34 frisbee, 35 skis, 36 snowboard, 37 sports ball, 38 kite, 39 baseball bat,"
    " 40 baseball glove, 41 skateboard, 42 surfboard, 43 tennis racket, 44 bottle, 46 wine glass, 47 cup,"
    " 48 fork, 49 knife, 50 spoon, 51 bowl, 52 banana, 53 apple, 54 sandwich, 55 orange, 56 broccoli,"
    " 57 carrot, 58 hot dog, 59 pizza, 60 donut, 61 cake, 62 chair, 63 couch, 64 potted plant, 65 bed,"
    " 67 dining table, 70 toilet, 72 tv, 73 laptop, 74 mouse, 75 remote, 76 keyboard, 77 cell phone,"
    " 78 microwave, 79 oven, 80 toaster, 81 sink, 82 refrigerator, 84 book, 85 clock, 86 vase, 87 scissors,"
    " 88 teddy bear, 89 hair drier, 90 toothbrush"
)
_STUFF = (
    "92 banner, 93 blanket, 95 bridge, 100 cardboard, 107 counter, 109 curtain, 112 door-stuff,"
    " 118 floor-wood, 119 flower, 122 fruit, 125 gravel, 128 house, 130 light, 133 mirror-stuff, 138 net,"
    " 141 pillow, 144 platform, 145 playingfield, 147 railroad, 148 river, 149 road, 151 roof, 154 sand,"
    " 155 sea, 156 shelf, 159 snow, 161 stairs, 166 tent, 168 towel, 171 wall-brick, 175 wall-stone,"
    " 176 wall-tile, 177 wall-wood, 178 water-other, 180 window-blind, 181 window-other, 184 tree-merged,"
    " 185 fence-merged, 186 ceiling-merged, 187 sky-other-merged, 188 cabinet-merged, 189 table-merged,"
    " 190 floor-other-merged, 191 pavement-merged, 192 mountain-merged, 193 grass-merged, 194 dirt-merged,"
    " 195 paper-merged, 196 food-other-merged, 197 building-other-merged, 198 rock-merged,"
    " 199 wall-other-merged, 200 rug-merged"
)
# What Pascal VOC calls differently.
VOC_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


def _table(text: str) -> dict[int, str]:
    rows = (row.strip().partition(" ") for row in text.split(","))
    return {int(number): name for number, _, name in rows}


THINGS, STUFF = _table(_THINGS), _table(_STUFF)
CATEGORIES = {**THINGS, **STUFF}


def category_id(name: str | int) -> int:
    """The id of a category given by its name, Pascal VOC's name, or its id.

    Raises:
        UsageError: there is none.
    """
    if isinstance(name, int) or name.isdecimal():
        if int(name) in CATEGORIES:
            return int(name)
        raise UsageError(
            f"no COCO category has the id {name}", "ids are 1 to 90 for things, 92 to 200 for stuff"
        )
    names = {text: number for number, text in CATEGORIES.items()}
    wanted = VOC_NAMES.get(name, name)
    if wanted in names:
        return names[wanted]
    near = difflib.get_close_matches(name, [*names, *VOC_NAMES], n=3, cutoff=0.5)
    raise UsageError(
        f"no COCO category is called '{name}'",
        f"did you mean {' or '.join(near)}?" if near else "for example person, cat, car, sky-other-merged",
    )


def category_label(name: str | int) -> str:
    """What a category given by its name or id is called: as it was named, Pascal VOC's names included."""
    return CATEGORIES[int(name)] if isinstance(name, int) or name.isdecimal() else name


def category_ids(names: Sequence[str | int]) -> list[int]:
    """Ids of several categories, each once.

    Raises:
        UsageError: one does not exist or is named twice, or there is none.
    """
    ids = [category_id(name) for name in names]
    if not ids:
        raise UsageError("no classes", "name at least one COCO category")
    for number in ids:
        if ids.count(number) > 1:
            raise UsageError(f"COCO category '{CATEGORIES[number]}' is named twice")
    return ids

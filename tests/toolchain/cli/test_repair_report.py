"""How the outcome of `--max-drop` is shown."""

from __future__ import annotations

import json
from dataclasses import replace

from toolchain.cli.repair_report import repair_json, show_repair
from toolchain.repair import AGREEMENT, Repair, RepairRow

FOUND = Repair(
    kept=["conv_2", "relu_2"],
    metric=AGREEMENT,
    best=100.0,
    points_before=71.25,
    points_after=99.5,
    sqnr_before=4.0,
    sqnr_after=31.25,
    milliseconds_before=2.0,
    milliseconds_after=2.5,
    rows=[RepairRow("conv_2", "Conv", 3.5, 28.25, 27.25, 0.5)],
    candidates=6,
    samples=8,
    inputs="data.npz",
)


def test_text(capsys) -> None:
    show_repair(FOUND)
    shown = capsys.readouterr().out
    assert ["conv_2", "Conv", "+28.25", "+27.2", "+0.50"] in [line.split() for line in shown.splitlines()]
    line = "1 of 6 layers stay float: label agreement with the float network 71.25 -> 99.50 %, 4.0 -> 31.2 dB"
    assert f"{line}, on 8 data.npz samples" in shown
    assert "LiteRT, 1 thread, this computer: 2.00 -> 2.50 ms" in shown


def test_nothing_kept_and_nothing_timed(capsys) -> None:
    show_repair(replace(FOUND, kept=[], rows=[], milliseconds_before=None, milliseconds_after=None))
    line = (
        "nothing has to stay float: label agreement with the float network 71.25 %, on 8 data.npz samples\n"
    )
    assert capsys.readouterr().out == line
    rows = [replace(FOUND.rows[0], milliseconds=None)]
    show_repair(replace(FOUND, rows=rows, milliseconds_before=None, milliseconds_after=None))
    shown = capsys.readouterr().out
    assert ["conv_2", "Conv", "+28.25", "+27.2", "-"] in [line.split() for line in shown.splitlines()]
    assert "ms" not in shown.splitlines()[-1]


def test_the_metric_is_named_with_what_the_float_network_has(capsys) -> None:
    show_repair(replace(FOUND, metric="overall F1", best=91.5, kept=[], rows=[]))
    shown = capsys.readouterr().out
    assert shown == "nothing has to stay float: overall F1 71.25 % (float: 91.50), on 8 data.npz samples\n"


def test_json() -> None:
    found = json.loads(json.dumps(repair_json(FOUND)))
    assert found["kept"] == ["conv_2", "relu_2"]
    assert found["rows"][0]["milliseconds"] == 0.5

"""`toolchain models`: the zoo with figures that are stated elsewhere too."""

from __future__ import annotations

import json

from toolchain.cli import run
from toolchain.models.zoo import zoo

# Figures of the design, and of the papers.
PARAMETERS = {"unet": 13_395_914, "segnet": 29_448_778, "lenet": 431_080}


def test_json_has_every_network_with_its_contract(capsys) -> None:
    assert run(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(zoo())
    assert {name: rows[name]["parameters"] for name in PARAMETERS} == PARAMETERS
    for name, row in rows.items():
        entry = zoo().get(name)
        assert row["task"] == entry.spec.task
        assert row["inputs"] == {tensor.name: list(tensor.shape) for tensor in entry.spec.inputs}
        assert row["weights"] == (entry.weights is not None)
        assert (row["figures"] is not None) == (entry.card is not None)
        assert row["source"]


def test_table_has_one_line_for_each_network(capsys) -> None:
    assert run(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(zoo())
    [unet] = [line.split() for line in lines if line.startswith("unet")]
    assert unet[1:4] == ["13,395,914", "1x3x256x256", "-"]

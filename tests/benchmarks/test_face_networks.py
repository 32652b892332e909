"""The table of face parsers: trainings on drawn faces, used again, gone on with, refused, and tabulated."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toolchain.benchmarks import face_networks, face_networks_files, face_networks_runs
from toolchain.benchmarks.face_networks import NETWORKS, PUBLISHED, main, parse_networks, shown_command
from toolchain.benchmarks.face_networks_files import write_float_file
from toolchain.benchmarks.face_networks_runs import (
    FINISHED,
    STARTED,
    Budget,
    Run,
    read_card,
    run_toolchain,
    terms_of,
    train,
)
from toolchain.benchmarks.latency_processes import CLOCKS
from toolchain.cli import run
from toolchain.errors import ToolchainError, UsageError
from toolchain.models.zoo import zoo
from toolchain.training.checkpoints import Checkpoints

LIGHT, SMALL, OTHER = (
    "mobile-hourglass-light",
    "mobile-hourglass-still-f16-t3",
    "mobile-hourglass-still-f16-t6",
)
BUDGET = Budget("drawn:9", size=32, epochs=2, batch_size=4, workers=0)
FLAGS = ["--data=drawn:9", "--size=32", "--epochs=2", "--batch-size=4", "--workers=0"]
QUICK = ["--processes=1", "--rounds=1", "--warmup=0.01", f"--reference={SMALL}"]


def train_here(arguments: Sequence[str]) -> int:
    """The command line in this process, which has loaded everything."""
    with contextlib.redirect_stdout(io.StringIO()):
        return run(list(arguments))


def not_called(*_: Any) -> int:
    raise AssertionError("nothing is to be trained")


@pytest.fixture(scope="module", autouse=True)
def _fast() -> Iterator[None]:
    """Exporting to measure ranges takes longer than these trainings; each network is converted once."""
    files: dict[str, tuple[bytes, dict[str, int]]] = {}

    def kept(name: str, weights: Path | None, path: Path) -> dict[str, int]:
        if name not in files:
            found = write_float_file(name, weights, path)
            files[name] = (path.read_bytes(), found)
        content, found = files[name]
        path.write_bytes(content)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolchain.training.fit.calibration", lambda *_: {})
        patch.setattr(face_networks_runs, "run_toolchain", train_here)
        patch.setattr(face_networks_files, "write_float_file", kept)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trainings in `runs`, and what the command wrote about them."""
    place = tmp_path_factory.mktemp("face_networks")
    written = [f"--output={place / 'new' / 'a.json'}", f"--markdown={place / 'new' / 'a.md'}"]
    names = ["--networks", LIGHT, SMALL]
    assert main([*FLAGS, *QUICK, f"--folder={place / 'runs'}", *written, *names]) == 0
    return place


@pytest.fixture(scope="module")
def report(place: Path) -> dict[str, Any]:
    return json.loads((place / "new" / "a.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def light(place: Path) -> Run:
    return Run(LIGHT, 0, place / "runs" / f"{LIGHT}-seed0")


@pytest.fixture
def copied(light: Run, tmp_path: Path) -> Run:
    """The training in a folder that may be changed."""
    shutil.copytree(light.folder, tmp_path / light.folder.name)
    return Run(LIGHT, 0, tmp_path / light.folder.name)


def tabulate(folder: Path, *more: str) -> int:
    return main([*FLAGS, *QUICK, f"--folder={folder}", "--no-train", *more])


def timed(paths: Sequence[Path], *_: Any) -> dict[str, Any]:
    """What `measure_processes` returns for files of which each takes twice as long as the one before."""
    assert all(path.is_file() for path in paths)
    times = [2.0**index for index in range(len(paths))]
    clocks = [{clock: {"median": time} for clock in CLOCKS} for time in times]
    ratios = [{"mean": 1 / time, "low": 0.5 / time, "high": 4 / time, "each": [1 / time]} for time in times]
    return {
        "files": [{**clock, "steady": True} for clock in clocks],
        "ratios": [dict.fromkeys(CLOCKS, ratio) for ratio in ratios[1:]],
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| \n").split("|")]


def test_the_report_holds_what_the_cards_say(report: dict[str, Any], light: Run) -> None:
    card = json.loads(light.card.read_text(encoding="utf-8"))
    entry = report["networks"][LIGHT]
    found, figures = entry["seeds"]["0"], card["figures"]
    assert {key: found[key] for key in figures} == figures
    lowest = min(figures["per_class_f1"].values())
    assert (found["lowest_class_f1"], found["hours"]) == (lowest, card["training"]["hours"])
    assert figures["per_class_f1"][found["lowest_class"]] == lowest
    assert entry["figures"]["overall_f1"]["mean"] == figures["overall_f1"]
    assert entry["parameters"] == card["parameters"] == 58_650
    assert report["settings"]["recipe"] == card["recipe"]
    assert report["settings"]["training_pictures"] == 9
    assert report["settings"]["validation_pictures"] == 8
    assert report["environment"]["versions"]["torch"] == torch.__version__


def test_latency_is_relative_to_the_reference(report: dict[str, Any]) -> None:
    light, small = (report["networks"][name]["latency"] for name in (LIGHT, SMALL))
    assert small["ratio"] == {"wall": None, "cpu": None}
    ratio = light["cpu"]["median"] / small["cpu"]["median"]
    assert light["ratio"]["cpu"]["mean"] == pytest.approx(ratio, rel=1e-6)


def test_the_table_has_a_row_for_each_network(place: Path, report: dict[str, Any]) -> None:
    sentence, _, *lines = (place / "new" / "a.md").read_text(encoding="utf-8").splitlines()
    rows = {found[0]: found for found in map(cells, lines[:-2])}
    assert set(rows) == {"network", "---", LIGHT, SMALL}
    entry = report["networks"][SMALL]
    figures = entry["figures"]
    assert rows[SMALL][1:4] == [
        f"{figures[key]['mean']:.2f}" for key in ("overall_f1", "strict_f1", "lowest_class_f1")
    ]
    assert rows[SMALL][4:6] == ["86,634", f"{entry['multiply_adds'] / 1e6:,.0f}"]
    assert rows[SMALL][7] == "1.000"
    assert rows[SMALL][9:] == ["93.00", "0.09", "-"]
    assert rows[LIGHT][9:] == ["-", "-", "-"]
    for part in ("`best`", "2 epochs at 32 px", "9 training pictures", "8 validation", "256 px"):
        assert part in sentence
    assert report["environment"]["cpu"] in sentence
    assert "Helen" in lines[-1]


def conv(side: int, inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> int:
    return side * side * outputs * kernel * kernel * inputs // groups


def block(side: int, width: int, expansion: int) -> int:
    hidden = width * expansion
    return (
        conv(side, width, hidden) + conv(side, hidden, hidden, 3, groups=hidden) + conv(side, hidden, width)
    )


def test_multiply_adds_of_the_published_network(report: dict[str, Any]) -> None:
    """f16 t3: a stem of 7x7, 3x3, 3x3; four levels of three blocks, one below, one after them; a head."""
    stem = conv(256, 3, 64, 7) + conv(256, 64, 64, 3) + conv(256, 64, 16, 3)
    levels = sum(block(side, 16, 3) + 2 * block(side // 2, 16, 3) for side in (256, 128, 64, 32))
    tail = block(256, 16, 3) + conv(256, 16, 10)
    assert report["networks"][SMALL]["multiply_adds"] == stem + levels + block(16, 16, 3) + tail


def test_multiply_adds_are_those_of_the_modules(report: dict[str, Any]) -> None:
    found = 0

    def count(module: nn.Conv2d, _inputs: Any, output: Tensor) -> None:
        nonlocal found
        found += output.numel() * module.weight[0].numel()

    entry = zoo().get(LIGHT)
    network = entry.build().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(*(torch.zeros(tensor.shape) for tensor in entry.spec.inputs))
    assert report["networks"][LIGHT]["multiply_adds"] == found


def test_what_is_there_is_used_and_what_is_missing_is_said(
    copied: Run,
    report: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is trained or written; the same figures come again beside the missing ones."""
    monkeypatch.setattr(face_networks_runs, "run_toolchain", not_called)
    monkeypatch.setattr(face_networks_files, "measure_processes", timed)
    runs, output = copied.folder.parent, tmp_path / "new" / "b.json"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert tabulate(runs, f"--output={output}", "--networks", f"{LIGHT}:3", SMALL) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert set(runs.rglob("*")) - set(before) == {output, output.parent}
    found = json.loads(output.read_text(encoding="utf-8"))["networks"]
    assert found[LIGHT]["seeds"] == report["networks"][LIGHT]["seeds"]
    assert found[LIGHT]["remarks"] == ["seeds 1, 2 not trained"]
    assert found[LIGHT]["latency"]["ratio"]["cpu"] == {"mean": 2, "low": 0.5, "high": 4, "each": [2]}
    assert (found[SMALL]["figures"], found[SMALL]["weights_of_file"]) == ({}, "random")
    rows = {found[0]: found for found in map(cells, capsys.readouterr().out.splitlines())}
    assert rows[SMALL][1:5] == ["-", "-", "-", "86,634"]
    assert rows[SMALL][6:] == ["1.0", "1.000", "-", "93.00", "0.09", "seed 0 not trained"]


def test_seeds_are_put_together_as_mean_and_extremes(
    copied: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(face_networks_files, "measure_processes", timed)
    for seed, (overall, nose) in enumerate([(80.0, 60.0), (81.0, 50.0), (85.0, 70.0)]):
        folder = copied.folder.parent / f"{LIGHT}-seed{seed}"
        if seed:
            shutil.copytree(copied.folder, folder)
        card = json.loads((folder / f"{LIGHT}.json").read_text(encoding="utf-8"))
        classes = {name: nose if name == "nose" else 90.0 for name in card["figures"]["per_class_f1"]}
        card["figures"] |= {"overall_f1": overall, "per_class_f1": classes}
        (folder / f"{LIGHT}.json").write_text(json.dumps(card | {"seed": seed}), encoding="utf-8")
    assert tabulate(copied.folder.parent, "--networks", f"{LIGHT}:3") == 0
    [row] = [found for found in map(cells, capsys.readouterr().out.splitlines()) if found[0] == LIGHT]
    assert (row[1], row[3]) == ("82.00 (80.00..85.00)", "60.00 (50.00..70.00)")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size=64"], "size was 32, not 64"),
        (["--epochs=3"], "epochs was 2, not 3"),
        (["--batch-size=8"], "batch_size was 4, not 8"),
        (["--learning-rate=1e-3"], "optimizer.learning_rate was 0.002, not 0.001"),
        (["--recipe=quick"], "augment.affine was 0.9, not 0.5"),
        (["--data=drawn:40"], "steps were 4, not 20 (40 training pairs)"),
        (["--data=drawn:200"], "protocol was '8 validation pairs, 32 px, float32, no previous mask'"),
    ],
)
def test_a_card_of_other_settings_is_refused(
    flags: list[str], message: str, place: Path, light: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also before anything is trained."""
    for may in (["--no-train"], []):
        folder = f"--folder={place / 'runs'}"
        assert main([*FLAGS, *QUICK, folder, *flags, *may, "--networks", f"{LIGHT}:2"]) == 2
        error = capsys.readouterr().err
        assert str(light.card) in error
        assert message in error
    assert not (place / "runs" / f"{LIGHT}-seed1").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed was 1, not 0"),
        ({"teacher": "unet"}, "teacher was 'unet', not None"),
        ({"started_from": "a.safetensors"}, "started_from was 'a.safetensors', not None"),
        ({"data": "drawn faces, folder"}, "data was 'drawn faces, folder', not 'drawn faces, drawn'"),
        ({"command": "toolchain train --data drawn:99 -o a"}, "data was 'drawn:99', not 'drawn:9'"),
        ({"recipe": {"wings": 2}}, "unknown key 'wings'"),
        ({"recipe": None}, "no recipe is recorded"),
        ({"model": "unet"}, "no card of 'mobile-hourglass-light'"),
        ({"figures": None, "training": None}, "protocol was None"),
    ],
)
def test_a_changed_card_is_refused(changes: dict[str, Any], message: str, copied: Run) -> None:
    card = json.loads(copied.card.read_text(encoding="utf-8"))
    copied.card.write_text(json.dumps(card | changes), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_card(copied, terms_of(BUDGET))
    assert message in caught.value.message
    assert str(copied.card) in caught.value.message


def test_a_key_that_a_recipe_did_not_have_yet_keeps_its_default(copied: Run) -> None:
    card = json.loads(copied.card.read_text(encoding="utf-8"))
    del card["recipe"]["schedule"]["every"]
    card["command"] = "toolchain train face-parsing --data drawn:9 -o a"
    copied.card.write_text(json.dumps(card), encoding="utf-8")
    assert read_card(copied, terms_of(BUDGET))["recipe"]["schedule"]["name"] == "cosine"


def test_an_interrupted_training_is_gone_on_with(
    light: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends where the uninterrupted one ended."""
    epoch_end, given = Checkpoints.on_train_epoch_end, []

    def stop(self: Checkpoints, *arguments: Any) -> None:
        epoch_end(self, *arguments)
        raise KeyboardInterrupt

    def noted(arguments: Sequence[str]) -> int:
        given.append(arguments[-1])
        return train_here(arguments)

    monkeypatch.setattr(face_networks_runs, "run_toolchain", noted)
    monkeypatch.setattr(Checkpoints, "on_train_epoch_end", stop)
    again = Run(LIGHT, 0, tmp_path / f"{LIGHT}-seed0")
    with pytest.raises(ToolchainError, match="seed 0 ended with status 130"):
        train(again, BUDGET)
    assert again.state == STARTED
    monkeypatch.setattr(Checkpoints, "on_train_epoch_end", epoch_end)
    train(again, BUDGET)
    assert again.state == FINISHED
    assert given == ["0", "--resume"]
    first, second = (read_card(run, terms_of(BUDGET)) for run in (light, again))
    assert second["figures"] == first["figures"]
    assert second["training"]["steps"] == first["training"]["steps"] == 4
    assert again.weights.read_bytes() == light.weights.read_bytes()


def test_a_training_of_other_settings_is_not_gone_on_with(
    copied: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not with other epochs either: the learning rate would have followed two schedules."""
    monkeypatch.setattr(face_networks_runs, "run_toolchain", not_called)
    copied.card.unlink()
    flags = [*FLAGS, *QUICK, f"--folder={copied.folder.parent}", "--networks", SMALL, LIGHT]
    assert main([*flags, "--epochs=3"]) == 2
    error = capsys.readouterr().err
    assert str(copied.folder / "last.ckpt") in error
    assert "epochs was 2, not 3" in error
    (copied.folder / "last.ckpt").write_bytes(b"damaged")
    assert main(flags) == 3
    assert "is no checkpoint of this version" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--networks", "lenet"], "'lenet' is no face parser"),
        (["--networks", LIGHT, f"{LIGHT}:2"], "named twice"),
        (["--networks", f"{LIGHT}:0"], "does not say how many seeds"),
        (["--networks", "hourglass"], "hourglass"),
        (["--reference=lenet"], "'lenet' is no face parser"),
        (["--data=celebamask:missing.zip"], "no data at 'missing.zip'"),
        (["--size=40"], "not a multiple of 32"),
        (["--no-train"], "no folder '"),
    ],
)
def test_what_cannot_work_is_refused(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FLAGS, *QUICK, f"--folder={tmp_path / 'none'}", *flags]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_its_own_gives_its_status_and_its_message(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_toolchain(["inspect", "none.tflite"]) == 2
    out, err = capfd.readouterr()
    assert (out, "no file 'none.tflite'" in err) == ("", True)


def test_the_default_networks_are_the_published_ones_and_the_product() -> None:
    assert set(NETWORKS) - set(PUBLISHED) == {face_networks.PRODUCT}
    for name, (_, millions) in PUBLISHED.items():
        with torch.device("meta"):
            network = zoo().get(name).build()
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count / 1e6 == pytest.approx(millions, abs=0.006)


def test_networks_with_and_without_seeds() -> None:
    assert parse_networks(["unet:3", "segnet"]) == {"unet": 3, "segnet": 1}


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("celebamask:/data/faces/a.zip", "celebamask:a.zip"),
        ("--data=celebamask:/data/a.zip", "--data=celebamask:a.zip"),
        ("runs/table/", "table"),
        ("--output=results/a.json", "--output=a.json"),
        ("drawn:9", "drawn:9"),
        ("2e-3", "2e-3"),
    ],
)
def test_the_command_shows_names_instead_of_paths(argument: str, shown: str) -> None:
    assert shown_command([argument]) == f"python -P -m toolchain.benchmarks.face_networks {shown}"

"""`toolchain benchmark`: the table, the results file, the gate, and which word means what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toolchain.benchmarks.harness.results import load_results
from toolchain.cli import run
from toolchain.cli.benchmark import SUBCOMMANDS

BRIEF = ("--runs", "5", "--seconds", "0", "--warmup", "0.05")


def measured(cnn: Path, output: Path, *more: str) -> dict:
    assert run(["benchmark", str(cnn), *BRIEF, "-o", str(output), *more]) == 0
    return json.loads(output.read_text(encoding="utf-8"))


def scaled(path: Path, factor: float) -> Path:
    """A copy of a results file whose times are longer by a factor."""
    body = json.loads(path.read_text(encoding="utf-8"))
    for entry in body["entries"]:
        for stage, values in entry["samples"].items():
            entry["samples"][stage] = [value * factor for value in values]
    made = path.with_stem(f"{path.stem}-{factor}")
    made.write_text(json.dumps(body), encoding="utf-8")
    return made


def test_files_and_networks_share_a_table(cnn, tmp_path, capsys):
    output = tmp_path / "new" / "results.json"
    assert run(["benchmark", str(cnn), "lenet", *BRIEF, "--threads", "2", "-o", str(output)]) == 0
    shown = capsys.readouterr().out
    results = load_results(output)
    assert [entry.name for entry in results.entries] == ["cnn.onnx", "lenet"]
    assert [entry.threads for entry in results.entries] == [2, 2]
    assert results.entries[0].file.bytes == cnn.stat().st_size
    assert "ONNX Runtime" in shown
    assert "that of cnn.onnx in the same round" in shown
    assert "timed: InferenceSession.run_with_iobinding" in shown
    assert f"wrote {output}" in shown


def test_json_is_the_results_file(cnn, tmp_path, capsys):
    saved = measured(cnn, tmp_path / "a.json", "--json", "--seed", "3")
    printed = json.loads(capsys.readouterr().out)
    assert printed == saved
    [entry], [summary] = printed["entries"], printed["summary"]
    assert len(entry["samples"]["total"]) == 5
    assert summary["stages"]["total"]["p50"] == pytest.approx(float(np.median(entry["samples"]["total"])))
    assert printed["settings"]["seed"] == 3
    assert printed["lane"]["where"] == "host"
    assert printed["machine"]["versions"]["onnxruntime"]


def test_options_may_come_before_the_files(cnn, capsys):
    assert run(["benchmark", *BRIEF, "--json", str(cnn)]) == 0
    assert len(json.loads(capsys.readouterr().out)["entries"]) == 1


def test_a_file_named_like_a_command_is_reached_by_its_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("pipeline").write_bytes(b"")
    assert run(["benchmark", "./pipeline"]) == 2
    assert "'pipeline' has no suffix of a known model file" in capsys.readouterr().err


def test_the_profile_is_shown_and_kept(cnn, tmp_path, capsys):
    body = measured(cnn, tmp_path / "a.json", "--profile")
    shown = capsys.readouterr().out
    operators = body["entries"][0]["operators"]
    assert "Conv" in {row["op"] for row in operators}
    assert "cnn.onnx: slowest operators" in shown
    assert body["profile_note"] in " ".join(shown.split())


def test_what_has_no_profile_is_said(capsys):
    assert run(["benchmark", "lenet", *BRIEF, "--profile"]) == 0
    assert "lenet: no profile" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("factor", "limits", "status"),
    [
        (1.3, ["p50:+10%"], 5),
        (1.05, ["p50:+10%"], 0),
        (1.3, ["p50:+50%", "inference.p90:+10%"], 5),
        (1.3, [], 0),
        (0.5, ["p50:+10%"], 0),
    ],
)
def test_compare_is_a_gate(factor, limits, status, cnn, tmp_path, capsys):
    before = tmp_path / "a.json"
    measured(cnn, before)
    capsys.readouterr()
    gates = [word for limit in limits for word in ("--fail-if", limit)]
    assert run(["benchmark", "compare", str(before), str(scaled(before, factor)), *gates]) == status
    shown = capsys.readouterr()
    assert f"{factor - 1:+.1%}" in shown.out
    assert ("failed" in shown.out) == (status == 5)
    if status == 5:
        assert f"'cnn.onnx' {'total.p50' if len(limits) == 1 else 'inference.p90'} +30.0%" in shown.err


def test_compare_prints_json(cnn, tmp_path, capsys):
    before = tmp_path / "a.json"
    measured(cnn, before)
    capsys.readouterr()
    assert run(["benchmark", "compare", str(before), str(scaled(before, 2.0)), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    [change] = found["changes"]
    assert (change["change"], change["figure"], found["unmatched"]) == (pytest.approx(1), "p50", [])


def test_compare_refuses_another_kind_and_says_what_to_do(cnn, tmp_path, capsys):
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    after.write_text(json.dumps({**measured(cnn, before), "kind": "pipeline"}), encoding="utf-8")
    assert run(["benchmark", "compare", str(before), str(after)]) == 2
    shown = capsys.readouterr().err
    assert "one file is of a model, the other of a pipeline" in shown
    assert "hint: compare two files of" in shown


def test_compare_refuses_another_machine_unless_told(cnn, tmp_path, capsys):
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    body = measured(cnn, before)
    body["machine"]["cpu"] = "another one"
    after.write_text(json.dumps(body), encoding="utf-8")
    assert run(["benchmark", "compare", str(before), str(after)]) == 2
    assert "another one" in capsys.readouterr().err
    assert run(["benchmark", "compare", str(before), str(after), "--different-machines"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"format": "other"}, "no results file"),
        ({"entries": [{}]}, "damaged"),
    ],
)
def test_results_of_another_version_and_damaged_ones_are_refused(change, message, cnn, tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**measured(cnn, path), **change}), encoding="utf-8")
    assert run(["benchmark", "compare", str(path), str(path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "Missing argument"),
        (["gone.tflite"], 2, "no model file at 'gone.tflite'"),
        (["nonsense"], 2, "neither a file nor a network of the zoo"),
        (["lenet", "--threads", "0"], 2, "--threads"),
        (["lenet", "-o", "table.csv"], 2, "no name for a results file"),
        (["lenet", "--seconds", "9", "--max-seconds", "3"], 2, "cannot hold"),
        (["lenet", "--input-shape", "1,3"], 2, "--input-shape"),
        (["compare"], 2, "Missing argument"),
        (["compare", "a.json", "b.json", "--fail-if", "p50"], 2, "is no limit"),
        (["compare", "gone.json", "gone.json"], 2, "'gone.json' cannot be read"),
    ],
)
def test_bad_input_gets_one_clear_error(arguments, status, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["benchmark", *arguments]) == status
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_help_lists_the_commands_and_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom toolchain.cli import run\nrun(['benchmark', '--help'])\n"
        "print('loaded', *(n for n in ('torch', 'numpy', 'onnxruntime') if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[-1] == "loaded"
    for name, text in SUBCOMMANDS.items():
        assert any(line.startswith(f"  {name}  ") for line in lines), name
        assert text.split()[0] in done.stdout


def test_help_of_a_command_names_it(capsys):
    assert run(["benchmark", "compare", "--help"]) == 0
    assert "Usage: toolchain benchmark compare" in capsys.readouterr().out

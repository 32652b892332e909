"""The side-by-side table: what is compared, how it is summed up, and the whole command with stand-ins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.benchmarks import peer_table
from toolchain.benchmarks.peer_table_figures import extremes, rows
from toolchain.benchmarks.peer_table_samples import ANSWER, write_given
from toolchain.benchmarks.peer_table_scores import by_shape, channel_first, parity
from toolchain.benchmarks.peer_table_text import markdown
from toolchain.benchmarks.peer_table_tools import TFLITE, TOOLS, Tool, Workshop, run_job
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo
from toolchain.spec import TensorSpec

# Stand-ins for the scripts of benchmarks/peers: copy FILE to the output when the format fits, else fail.
SCRIPT = """
import json, pathlib, shutil, sys
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
output = pathlib.Path(job["output"])
fits = output.suffix in ("{suffix}", ".onnx")
if fits:
    shutil.copy("{file}", output)
result = {{
    "ok": fits, "error": None if fits else "RuntimeError: | no Apple here", "offered": True,
    "seconds": {{"import": 1.0, "export": 2.0, "convert": {convert}}},
    "cpu_seconds": {{"import": 1.0, "export": 2.0, "convert": {convert}}},
    "baseline_megabytes": 10.0, "peak_megabytes": 20.0, "versions": {{"tool": "1"}},
}}
pathlib.Path(sys.argv[2]).write_text(json.dumps(result))
"""


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, samples, and our file of LeNet."""
    from toolchain.export import export

    folder = tmp_path_factory.mktemp("lenet")
    given = write_given("lenet", folder, None, 2, 3)
    export("lenet", formats=["tflite"], precisions=["fp32"], weights=given.weights, output=folder)
    return folder


def scripts(folder: Path, file: Path) -> Path:
    folder.mkdir()
    for index, name in enumerate(dict.fromkeys(tool.script for tool in TOOLS)):
        text = SCRIPT.format(suffix=TFLITE, file=file, convert=0.5 * (index or 1))
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_samples_are_reproducible_and_the_answers_those_of_the_network(lenet: Path, tmp_path: Path) -> None:
    import torch

    again = write_given("lenet", tmp_path, None, 2, 3)
    first, second = (np.load(folder / "measured.npz") for folder in (lenet, tmp_path))
    assert np.array_equal(first["image"], second["image"])
    assert first["image"].shape == (3, 1, 28, 28)
    calibration = np.load(tmp_path / "calibration.npz")["image"]
    assert calibration.shape == (2, 1, 28, 28)
    assert not np.array_equal(calibration[0], first["image"][0])
    network = zoo().get("lenet").build().eval()
    load_weights(network, again.weights)
    with torch.no_grad():
        wanted = network(torch.from_numpy(first["image"]))
    np.testing.assert_allclose(first[ANSWER], wanted, rtol=1e-4, atol=1e-5)
    assert again.digest() == write_given("lenet", tmp_path, None, 2, 3).digest()


def test_a_float_file_agrees_with_the_network(lenet: Path) -> None:
    found = parity(lenet / "lenet-fp32.tflite", lenet / "measured.npz")
    assert found["samples"] == 3
    assert found["sqnr_db"] > 100
    assert found["agreement"] == 1


def test_a_file_of_other_weights_does_not(lenet: Path, tmp_path: Path) -> None:
    with np.load(lenet / "measured.npz") as arrays:
        np.savez(tmp_path / "other.npz", image=arrays["image"], answer=2 * arrays[ANSWER])
    found = parity(lenet / "lenet-fp32.tflite", tmp_path / "other.npz")
    # Half of the answer is missing: 10 log10(1 / 0.25).
    assert found["sqnr_db"] == pytest.approx(6.02, abs=0.01)


class Inputs:
    def __init__(self, *shapes: tuple[int, ...]) -> None:
        self.inputs = tuple(TensorSpec(f"x{index}", shape) for index, shape in enumerate(shapes))


def test_our_core_ml_file_of_a_network_for_pictures_is_compared(tmp_path: Path) -> None:
    """It takes a tensor, as the files of the other converters do."""
    given = write_given("mobile-hourglass", tmp_path, None, 1, 1)
    output = tmp_path / "mobile-hourglass-fp32.mlpackage"
    job = {"name": "mobile-hourglass", "precision": "fp32", "onnx": "none.onnx", "output": str(output)}
    job |= {"weights": str(given.weights), "calibration": str(given.calibration)}
    (tmp_path / "job.json").write_text(json.dumps(job), encoding="utf-8")
    script = Path(peer_table.__file__).parent / "peers" / "peer_toolchain.py"
    words = [sys.executable, str(script), str(tmp_path / "job.json"), str(tmp_path / "result.json")]
    subprocess.run(words, check=True, timeout=300)
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["error"] is None
    assert parity(output, given.measured)["sqnr_db"] > 100


def test_inputs_are_matched_by_shape_in_either_layout() -> None:
    picture, mask = np.random.rand(1, 3, 4, 5), np.random.rand(1, 10, 4, 5)
    found = by_shape({"image": picture, "previous": mask}, Inputs((1, 10, 4, 5), (1, 4, 5, 3)))
    assert np.array_equal(found["x0"], mask)
    assert np.array_equal(found["x1"], picture.transpose(0, 2, 3, 1))
    with pytest.raises(UnsupportedError, match="fits 0 of the network's inputs"):
        by_shape({"image": picture}, Inputs((1, 5, 4, 3)))
    with pytest.raises(UnsupportedError, match="fits 2 of the network's inputs"):
        by_shape({"one": picture, "two": picture}, Inputs((1, 3, 4, 5)))


def test_outputs_are_channel_first() -> None:
    made = np.random.rand(1, 4, 5, 10)
    assert np.array_equal(channel_first(made, (1, 10, 4, 5)), made.transpose(0, 3, 1, 2))
    with pytest.raises(UnsupportedError, match="the output is"):
        channel_first(np.zeros((1, 7)), (1, 10))


def run(convert: float, export: float = 2.0, ok: bool = True) -> dict[str, Any]:
    stages = {"export": export, "convert": convert, "quantize": convert, "import": 9.0}
    return {
        "ok": ok,
        "error": None if ok else "ValueError: x",
        "offered": True,
        "seconds": stages,
        "cpu_seconds": stages,
        "process_seconds": 20.0,
        "process_cpu_seconds": 20.0,
        "peak_megabytes": 100.0 * convert,
        "versions": {"a": "1"},
    }


def entry(tool: str, format_: str, starts_from: str, *runs: dict[str, Any]) -> dict[str, Any]:
    return {
        "tool": tool,
        "format": format_,
        "starts_from": starts_from,
        "ours": tool == "toolchain",
        "runs": list(runs),
        "file": {"bytes": 10**6, "transposes": 2, "parity": {"sqnr_db": None, "agreement": 1}, "error": None},
    }


@pytest.fixture
def report() -> dict[str, Any]:
    ratio = {"mean": 1.25, "low": 1.1, "high": 1.4}
    latency = {
        "load_average": [3.0, 2.0, 1.0],
        "files": {"peer": {"wall": {"median": 4.0}}, "toolchain": {"wall": {"median": 5.0}}},
        "ours_to": {"peer": {"wall": ratio, "cpu": ratio}},
    }
    files = [
        entry("torch.onnx", "onnx", "module", run(0, export=3.0)),
        entry("toolchain", "tflite", "module", run(0.5), run(0.1), run(0.3)),
        entry("peer", "tflite", "onnx", run(1.2)),
        entry("other", "tflite", "module", run(1.0, ok=False)),
    ]
    settings = {"calibration": 100, "repeats": 3}
    found = {"settings": settings, "precisions": {"int8": {"files": files, "latency": latency}}}
    machine = {"cpu": "CPU", "instruction_sets": ["avx2", "fma"], "usable_cores": 2, "system": "Linux"}
    return {"networks": {"net": found}, "environment": machine}


def test_conversion_and_whole_call_are_medians_of_their_stages(report: dict[str, Any]) -> None:
    by_tool = {row.tool: row for row in rows(report)}
    assert set(by_tool) == {"toolchain", "peer", "other"}
    ours, peer = by_tool["toolchain"], by_tool["peer"]
    assert ours.conversion("seconds") == pytest.approx(0.6)
    assert ours.whole("seconds") == pytest.approx(2.6)
    assert peer.conversion("seconds") == pytest.approx(2.4)
    assert peer.whole("seconds") == pytest.approx(5.4)
    assert peer.slower("conversion", "cpu_seconds") == pytest.approx(4)
    assert peer.slower("whole", "cpu_seconds") == pytest.approx(5.4 / 2.6)
    assert extremes([ours, peer], "conversion", "seconds")[:2] == (pytest.approx(1), pytest.approx(2.5))
    assert ours.peak() == pytest.approx(50)
    assert by_tool["other"].failure == "ValueError: x"
    assert by_tool["other"].conversion("seconds") is None


def test_the_table_tells_what_falls_short(report: dict[str, Any]) -> None:
    text = markdown(report)
    assert "CPU (avx2, fma), 2 cores, Linux." in text
    assert "- int8 from 100 calibration samples, conversions measured 3 x: net" in text
    assert "| net | int8 | peer | 2.40 (2.40) | 4.0 (4.0) | 5.40 (5.40) | 2.1 (2.1) |" in text
    assert "| 1.000 | 2 | exact | 100.00 | 4.000 | 1.250 (1.250) |" in text
    factors = "4.0 (4.0), net int8 | 2.1 (2.1), net int8"
    assert f"| peer | 1 | {factors} | 1 of 1 | 1.250, net int8 | 1 of 1 (1) |" in text
    assert "- other, tflite int8 of net: ValueError: x" in text
    lines = [line for line in text.splitlines() if line.startswith(("| net ", "| network"))]
    assert len({line.count(" |") for line in lines}) == 1


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("print('so far'); raise SystemExit(7)", "the process ended with 7: so far"),
        ("import time; time.sleep(60)", "stopped after 0.5 s"),
    ],
)
def test_a_process_that_dies_or_hangs_is_a_result(tmp_path: Path, script: str, error: str) -> None:
    (tmp_path / "broken.py").write_text(script)
    timeout = 0.5 if "sleep" in script else 60
    workshop = Workshop({"x": Path(sys.executable)}, tmp_path, tmp_path, timeout)
    result = run_job(workshop, Tool("x", "broken.py", TFLITE, "onnx", "x"), {}, tmp_path / "job")
    assert (result["ok"], result["error"]) == (False, error)
    assert result["process_seconds"] > 0


def test_the_package_alone_is_on_the_path_of_other_interpreters(tmp_path: Path) -> None:
    code = "import sys, toolchain.models.zoo; print(sys.modules['toolchain.models.zoo'].__file__)"
    (tmp_path / "where.py").write_text(code)
    workshop = Workshop({"x": Path(sys.executable)}, tmp_path, tmp_path / "folder", 60)
    run_job(workshop, Tool("x", "where.py", TFLITE, "onnx", "x"), {}, tmp_path / "job")
    assert str(tmp_path / "folder" / "site" / "toolchain" / "models" / "zoo.py") in (
        tmp_path / "job" / "log.txt"
    ).read_text(encoding="utf-8")


def test_the_whole_command_goes_on_where_it_stopped(
    lenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [
        *("lenet", "--peer", f"onnx2tf-2={sys.executable}", "--precision=fp32", "--repeats=2"),
        *("--calibration=2", "--count=2", "--processes=1", "--rounds=1", "--warmup=0.02"),
        *(f"--scripts={scripts(tmp_path / 'scripts', lenet / 'lenet-fp32.tflite')}",),
        *(f"--folder={tmp_path / 'folder'}", f"--output={tmp_path / 'peers.json'}"),
    ]
    assert peer_table.main(flags) == 0
    text = capsys.readouterr().out
    report = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
    assert (tmp_path / "peers.md").read_text(encoding="utf-8") == text == markdown(report)
    found = {(row.tool, row.entry["format"]): row for row in rows(report)}
    assert set(found) == {("toolchain", "tflite"), ("onnx2tf 2", "tflite"), ("toolchain", "mlpackage")}
    peer = found["onnx2tf 2", "tflite"]
    assert [run["ok"] for run in peer.entry["runs"]] == [True, True]
    assert peer.entry["file"]["parity"]["sqnr_db"] > 100
    assert peer.entry["file"]["transposes"] == 0
    assert peer.entry["file"]["bytes"] == (lenet / "lenet-fp32.tflite").stat().st_size
    assert peer.whole("seconds") == pytest.approx(2 + peer.conversion("seconds"))
    assert 0.2 < peer.latency_ratio("cpu")["mean"] < 5
    assert "no file: RuntimeError: / no Apple here" in text
    assert len(found["toolchain", "mlpackage"].entry["runs"]) == 1

    def never(*_arguments: Any) -> Any:
        raise AssertionError("measured again")

    for name in ("run_job", "measure_processes", "parity", "contents"):
        monkeypatch.setattr(peer_table, name, never)
    assert peer_table.main(flags) == 0
    again = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
    assert again["networks"] == report["networks"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--peer=onnx2tf-2"], "names no interpreter"),
        (["--peer=tvm=python"], "no converter runs in 'tvm'"),
        (["--peer=onnx2tf-2=nowhere/python"], "no interpreter at 'nowhere/python'"),
        (["--again=everything"], "nothing here is called 'everything'"),
        (["--repeats=0"], "--repeats must be at least 1"),
        (["--scripts=nowhere"], "no file 'nowhere"),
        (["no-such-network"], "no-such-network"),
    ],
)
def test_bad_flags_are_refused_before_any_work(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts(tmp_path / "scripts", tmp_path)
    given = [f"--scripts={tmp_path / 'scripts'}", f"--folder={tmp_path}", f"--output={tmp_path / 'a.json'}"]
    assert peer_table.main([*given, *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()


def test_missing_data_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_given("mobile-hourglass", tmp_path / "out", tmp_path, 1, 1)

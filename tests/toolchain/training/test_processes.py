"""Two processes train one network: the same steps, statistics and figures as one would make."""

from __future__ import annotations

import copy
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from safetensors.torch import load_file

from toolchain.cli import run
from toolchain.errors import ToolchainError, UsageError
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo
from toolchain.training import loading, processes
from toolchain.training.checkpoints import RUN, check_processes
from toolchain.training.datasets import open_pairs
from toolchain.training.face_parsing import FaceParsing
from toolchain.training.loading import make_loader
from toolchain.training.processes import check_strategy, end_together, running_statistics
from toolchain.training.recipe import read_recipe
from toolchain.training.schedule import make_optimizer, rate_factor

MODEL, SIZE, BATCH, SEED, STEPS = "mobile-hourglass", 128, 2, 7, 2
# Keeps what each process validates; Lightning runs the file again for the second process.
SCRIPT = """
import os, sys
from pathlib import Path
from unittest.mock import patch
import torch
from toolchain.cli import main
from toolchain.training.face_parsing import FaceParsing

def keep(self):
    torch.save(self.network.state_dict(), Path(__file__).with_name(f"rank{self.global_rank}.pt"))

FaceParsing.on_validation_epoch_start = keep
with patch("toolchain.training.fit.calibration", lambda *_: {}):
    main()
"""
RECIPE = """
precision = "32"
weight_average = 0.0
[optimizer]
learning_rate = 1e-4
"""


def arguments(faces: Path, output: Path) -> list[str]:
    values = {
        "--data": f"celebamask:{faces}",
        "--model": MODEL,
        "--weights": zoo().get(MODEL).weights,
        "--recipe": output.parent / "plain.toml",
        "--size": SIZE,
        "--epochs": 1,
        "--batch-size": BATCH,
        "--seed": SEED,
        "--workers": 0,
        "--accelerator": "cpu",
        "-o": output,
    }
    return ["train", "face-parsing", *(str(part) for pair in values.items() for part in pair)]


def execute(folder: Path, more: list[str]) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    (folder / "plain.toml").write_text(RECIPE)
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, str(script), *more]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def two(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training of one epoch of two steps in two processes."""
    folder = tmp_path_factory.mktemp("two")
    two_processes = ["--devices", "2", "--strategy", "ddp", "--json"]
    done = execute(folder, [*arguments(faces, folder / "out"), *two_processes])
    assert done.returncode == 0, done.stderr
    # One card on standard output, and each line once.
    assert json.loads(done.stdout) == json.loads((folder / "out" / f"{MODEL}.json").read_text())
    assert done.stderr.count("epoch 1/1") == 1
    assert len(done.stderr.splitlines()) == 2
    return folder


@pytest.mark.slow
def test_both_processes_have_the_network_that_is_written(two: Path) -> None:
    first, second = (torch.load(two / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    written = load_file(two / "out" / f"{MODEL}.safetensors")
    assert first.keys() == second.keys() == written.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
        assert torch.equal(tensor, written[name]), name


@pytest.mark.slow
def test_validation_counts_the_pictures_of_all_processes(two: Path) -> None:
    """The card is made by one process on all pictures."""
    card = json.loads((two / "out" / f"{MODEL}.json").read_text())
    (row,) = csv.DictReader((two / "out" / "log.csv").open())
    assert card["figures"]["micro_f1_with_skin"] > 5
    for name in ("overall_f1", "strict_f1", "micro_f1_with_skin"):
        assert float(row[name]) == pytest.approx(card["figures"][name], abs=0.0051)
    assert card["training"]["steps"] == STEPS


@pytest.mark.slow
def test_a_step_is_that_of_the_mean_gradient(two: Path, faces: Path, monkeypatch) -> None:
    """The same steps made by hand in this process: gradients and running statistics are averaged."""
    card = json.loads((two / "out" / f"{MODEL}.json").read_text())
    recipe = read_recipe(two / "plain.toml").with_values(size=SIZE, epochs=1, batch_size=BATCH)
    assert card["recipe"] == recipe.as_json()
    entry = zoo().get(MODEL)
    network = entry.build()
    load_weights(network, entry.weights)
    modules = [FaceParsing(n, entry.spec, recipe, SEED) for n in (network, copy.deepcopy(network))]
    optimizer = make_optimizer(network, recipe.optimizer)
    factor = rate_factor(recipe.schedule, STEPS, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    pairs = open_pairs(f"celebamask:{faces}", "train", SIZE)
    losses = []
    for step in range(STEPS):
        for rank, module in enumerate(modules):
            monkeypatch.setattr(loading, "_place", lambda rank=rank: (rank, 2))
            batch = list(make_loader(pairs, BATCH, 0, SEED))[step]
            module.zero_grad()
            loss = module.train().training_step(batch, step)["loss"]
            loss.backward()
            losses.append(loss.item())
        follow(modules, optimizer, recipe.optimizer.clip)
        schedule.step()
    written = load_file(two / "out" / f"{MODEL}.safetensors")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(written[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    (row,) = csv.DictReader((two / "out" / "log.csv").open())
    assert float(row["train_loss"]) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def follow(modules: list[FaceParsing], optimizer: torch.optim.Optimizer, clip: float) -> None:
    """One step of the first network along the mean gradient; the second one becomes its copy."""
    first, second = (module.network for module in modules)
    with torch.no_grad():
        for own, other in zip(first.parameters(), second.parameters(), strict=True):
            own.grad.add_(other.grad).div_(2)
        torch.nn.utils.clip_grad_norm_(first.parameters(), clip or float("inf"))
        optimizer.step()
        for own, other in zip(running_statistics(first), running_statistics(second), strict=True):
            own.add_(other).div_(2)
    second.load_state_dict(first.state_dict())


@pytest.mark.slow
def test_another_number_of_processes_is_refused_once(two: Path, faces: Path, capsys) -> None:
    assert run([*arguments(faces, two / "out"), "--resume"]) == 2
    assert capsys.readouterr().err.count("started with 2 process(es), not 1") == 1


def test_number_of_processes_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    torch.save({RUN: {"processes": 4}}, tmp_path / "last.ckpt")
    check_processes(tmp_path, 4)
    with pytest.raises(UsageError, match=r"with 4 process\(es\), not 2"):
        check_processes(tmp_path, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "ddp_spawn", "--devices", "2"], "forks or spawns cannot train"),
        (["--strategy", "fsdp", "--devices", "2"], ""),
        (["--strategy", "dpp"], "Lightning refuses"),
        (["--accelerator", "quantum"], "Lightning refuses"),
        (["--devices", "two"], "Lightning refuses"),
        (["--strategy", "ddp", "--devices", "5"], "5 processes cannot share 8 training and 4 validation"),
    ],
)
def test_what_cannot_be_done_is_one_error_before_anything_starts(
    options: list[str], message: str, faces: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    # Workers of pytest-xdist have no file there.
    monkeypatch.setattr(sys, "argv", [__file__])
    (tmp_path / "plain.toml").write_text(RECIPE)
    assert run([*arguments(faces, tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "hint: " in error
    assert not (tmp_path / "out").exists()


def test_a_command_that_cannot_be_run_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = DDPStrategy(parallel_devices=[torch.device("cpu")] * 2)
    strategy._launcher = processes._SubprocessScriptLauncher(None, 2, 1)
    trainer: Any = SimpleNamespace(strategy=strategy, world_size=2)
    monkeypatch.setattr(sys, "argv", [__file__])
    check_strategy(trainer, 8, 4)
    monkeypatch.setattr(sys, "argv", ["-c"])
    with pytest.raises(UsageError, match="'-c' is no file"):
        check_strategy(trainer, 8, 4)


def child(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", code])


def first_process(*children: subprocess.Popen[bytes]) -> Any:
    launcher = SimpleNamespace(procs=list(children))
    return SimpleNamespace(local_rank=0, strategy=SimpleNamespace(launcher=launcher))


def test_an_error_of_the_first_process_ends_the_others_and_is_the_one_that_counts() -> None:
    other = child("import time; time.sleep(60)")
    with pytest.raises(ToolchainError, match="mine"), end_together(first_process(other)):
        raise ToolchainError("mine")
    assert other.wait() < 0


@pytest.mark.parametrize(
    ("code", "status"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_an_error_of_another_process_gives_its_exit_code(code: str, status: int) -> None:
    """The exchange fails here because the other one has ended; who ended has told why."""
    failing, other = child(code), child("import time; time.sleep(60)")
    with pytest.raises(SystemExit) as caught, end_together(first_process(failing, other)):
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")
    assert caught.value.code == status
    assert other.wait() < 0


def test_an_unknown_error_of_the_first_process_is_not_hidden() -> None:
    other = child("import time; time.sleep(60)")
    with pytest.raises(RuntimeError, match="a mistake"), end_together(first_process(other)):
        raise RuntimeError("a mistake")
    assert other.wait() < 0


ORPHAN = """
import os, subprocess, sys, time
from types import SimpleNamespace
code = '''
import time
from types import SimpleNamespace
from toolchain.training.processes import end_together
with end_together(SimpleNamespace(local_rank=1)):
    print("started", flush=True)
    time.sleep(600)
'''
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_a_process_whose_parent_was_killed_ends() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    end = time.monotonic() + 60
    while time.monotonic() < end and Path(f"/proc/{pid}/cmdline").exists():
        time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

"""Train the classifier of the int8 comparison: random weights say nothing about int8.

    python -P -m toolchain.benchmarks.int8_training --data DATA --output FOLDER

DATA holds `mnist/*.gz`. Writes FOLDER/lenet.safetensors and FOLDER/lenet-training.json with the accuracy on
the test pictures, and does nothing when both are there. The recipe takes about a minute of one core: AdamW
with a one-cycle rate (arXiv:1708.07120).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.int8_pictures import TEST, TRAIN, Pictures, mnist
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.models.zoo import zoo
from toolchain.training.allocator import keep_freed_memory

LENET = "lenet"
TEST_BATCH = 250


@dataclass(frozen=True)
class Recipe:
    """How the classifier is trained.

    Attributes:
        epochs: passes over the training pictures.
        peak_rate: highest learning rate.
        batch: pictures a step.
        decay: weight decay.
        seed: of every random generator.
    """

    epochs: int = 2
    peak_rate: float = 2e-3
    batch: int = 128
    decay: float = 0.05
    seed: int = 0


def digits(data: Path, split: str) -> Pictures:
    """MNIST in a folder of data sets.

    Raises:
        UsageError: it is not there.
        UnsupportedError: it is damaged.
    """
    return mnist(data / "mnist", split)


def network_input(pixels: np.ndarray) -> Tensor:
    """(N, 1, H, W) uint8 -> float32 in 0 to 1, which is the network's own range."""
    return torch.from_numpy(pixels.astype(np.float32)) / 255


def train(
    pictures: Pictures, recipe: Recipe = Recipe(), report: Callable[[str], None] = lambda _line: None
) -> nn.Module:
    """Train the classifier and return it in evaluation mode.

    Args:
        pictures: what it learns from.
        recipe: how.
        report: gets one line per epoch.
    """
    torch.manual_seed(recipe.seed)
    network = zoo().get(LENET).build().train()
    steps = len(pictures) // recipe.batch
    optimizer = torch.optim.AdamW(network.parameters(), recipe.peak_rate, weight_decay=recipe.decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.peak_rate,
        total_steps=steps * recipe.epochs + 1,
        pct_start=0.2,
        cycle_momentum=False,
    )
    for epoch in range(recipe.epochs):
        start, total = time.perf_counter(), 0.0
        for chosen in torch.randperm(len(pictures))[: steps * recipe.batch].split(recipe.batch):
            index = chosen.numpy()
            answer = network(network_input(pictures.pixels[index]))
            loss = functional.cross_entropy(answer, torch.from_numpy(pictures.labels[index]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        report(f"epoch {epoch + 1}/{recipe.epochs} loss {total / steps:.4f} {seconds:.0f} s")
    return network.eval()


def top1(network: nn.Module, pictures: Pictures) -> float:
    """Share of pictures whose most probable class is the labelled one."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(pictures), TEST_BATCH):
            part = slice(start, start + TEST_BATCH)
            found = network(network_input(pictures.pixels[part])).argmax(1).numpy()
            right += int((found == pictures.labels[part]).sum())
    return right / len(pictures)


def trained_weights(
    data: Path,
    folder: Path,
    report: Callable[[str], None] = lambda _line: None,
    recipe: Recipe = Recipe(),
) -> tuple[Path, dict[str, Any]]:
    """Weights of the classifier and the record of their training, made when they are not in `folder`.

    Returns:
        Path of the .safetensors file; `recipe`, `top1`, `seconds`, `data`, `environment`.

    Raises:
        UsageError: no data.
        UnsupportedError: damaged data.
    """
    from safetensors.torch import save_file

    weights, record = folder / f"{LENET}.safetensors", folder / f"{LENET}-training.json"
    if weights.is_file() and record.is_file():
        return weights, json.loads(record.read_text(encoding="utf-8"))
    keep_freed_memory()
    start, used = time.perf_counter(), time.process_time()
    network = train(digits(data, TRAIN), recipe, report)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - used
    found = {
        "name": LENET,
        "data": "MNIST",
        "recipe": asdict(recipe),
        "top1": round(top1(network, digits(data, TEST)), 4),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "environment": environment(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    partial = weights.with_name(f".{weights.name}.{os.getpid()}")
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, partial)
    partial.replace(weights)
    save_json(found, record)
    return weights, found


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.int8_training",
        description="Train the classifier of the int8 comparison; prints the record as JSON.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with mnist/")
    parser.add_argument("--output", type=Path, required=True, help="folder of the weights")
    options = parser.parse_args(arguments)
    return as_text(trained_weights(options.data, options.output, _report)[1])


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train from the command line and return the exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())

"""Train the small classifiers of the int8 comparison.

    python -P -m toolchain.benchmarks.int8_training lenet --data DATA --output FOLDER
    python -P -m toolchain.benchmarks.int8_training mobilenetv2-cifar --data DATA --output FOLDER

DATA holds `mnist/*.gz` and `cifar10_jpg.zip`. Writes FOLDER/NAME.safetensors and FOLDER/NAME-training.json
with the accuracy on the test pictures, and does nothing when both are there. The recipe is a short one: AdamW
with a one-cycle rate (arXiv:1708.07120), residual branches that start at zero (arXiv:1706.02677), shifts and
mirror images, small pictures first (arXiv:2104.00298). It computes in float32: these small layers are slower
in bfloat16 on a CPU without matrix units for it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.int8_classifiers import LENET, MOBILENETV2, classifier
from toolchain.benchmarks.int8_pictures import TEST, TRAIN, Pictures, cifar10_jpeg, mnist
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.errors import UsageError
from toolchain.models.layers import InvertedResidual
from toolchain.spec import ModelSpec
from toolchain.training.allocator import keep_freed_memory

TEST_BATCH = 250


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Attributes:
        stages: (side in pixels, epochs), one after the other within one cycle of the rate.
        peak_rate: highest learning rate.
        batch: pictures a step.
        decay: weight decay.
        mirrored: show mirror images too.
        seed: of every random generator.
    """

    stages: tuple[tuple[int, int], ...]
    peak_rate: float
    batch: int = 128
    decay: float = 0.05
    mirrored: bool = True
    seed: int = 0

    @property
    def epochs(self) -> int:
        return sum(epochs for _side, epochs in self.stages)


RECIPES = {
    LENET: Recipe(((28, 2),), 2e-3, mirrored=False),
    MOBILENETV2: Recipe(((32, 4), (48, 2), (64, 2)), 3e-3),
}


def pictures_of(name: str, data: Path, split: str) -> Pictures:
    """The data set that a classifier is trained on.

    Args:
        name: of `RECIPES`.
        data: folder with `mnist/` and `cifar10_jpg.zip`.
        split: "train" or "test".

    Raises:
        UsageError: it is not there.
        UnsupportedError: it is damaged.
    """
    return mnist(data / "mnist", split) if name == LENET else cifar10_jpeg(data / "cifar10_jpg.zip", split)


def network_input(pixels: Tensor, spec: ModelSpec, side: int) -> Tensor:
    """(N, C, H, W) uint8 -> float32 at `side` pixels in the range of the contract.

    Without a contract of preprocessing, as for grey pictures, the range is 0 to 1.
    """
    found = pixels.float()
    if pixels.shape[-1] != side:
        found = functional.interpolate(found, (side, side), mode="bilinear", align_corners=False)
    if spec.preprocess is None:
        return found / 255
    mean, std = (
        torch.tensor(values).reshape(-1, 1, 1) for values in (spec.preprocess.mean, spec.preprocess.std)
    )
    return (found - mean) / std


def train(
    name: str, pictures: Pictures, recipe: Recipe, report: Callable[[str], None] = lambda _line: None
) -> nn.Module:
    """Train a classifier and return it in evaluation mode.

    Args:
        name: of `RECIPES`.
        pictures: what it learns from.
        recipe: how.
        report: gets one line per epoch.
    """
    torch.manual_seed(recipe.seed)
    entry = classifier(name)
    network = _calm(entry.build()).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    steps = len(pictures) // recipe.batch
    optimizer = torch.optim.AdamW(network.parameters(), recipe.peak_rate, weight_decay=recipe.decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.peak_rate,
        total_steps=steps * recipe.epochs + 1,
        pct_start=0.2,
        cycle_momentum=False,
    )
    sides = [side for side, epochs in recipe.stages for _ in range(epochs)]
    for epoch, side in enumerate(sides):
        start, total = time.perf_counter(), 0.0
        for pixels, labels in _batches(pictures, recipe):
            planes = network_input(pixels, entry.spec, side).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(network(planes), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        report(f"epoch {epoch + 1}/{recipe.epochs} {side} px loss {total / steps:.4f} {seconds:.0f} s")
    return network.eval()


def _calm(network: nn.Module) -> nn.Module:
    """Start residual blocks as the identity: from random ones a few epochs at a high rate do not learn."""
    for block in network.modules():
        norm = block.body[-1] if isinstance(block, InvertedResidual) and block.residual else None
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.zeros_(norm.weight)
    return network


def _batches(pictures: Pictures, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order, each picture shifted and perhaps mirrored; the remainder is left out."""
    order = torch.randperm(len(pictures))
    for index in order[: len(order) // recipe.batch * recipe.batch].split(recipe.batch):
        pixels = torch.from_numpy(pictures.pixels[index.numpy()])
        yield _varied(pixels, recipe.mirrored), torch.from_numpy(pictures.labels[index.numpy()])


def _varied(pixels: Tensor, mirrored: bool) -> Tensor:
    """Each picture shifted by up to an eighth of its side in both directions, mirrored half of the time."""
    count, _channels, height, width = pixels.shape
    margin = height // 8 if mirrored else 0
    padded = functional.pad(pixels, (margin,) * 4)
    tops, lefts = (torch.randint(0, 2 * margin + 1, (count, 1, 1)) for _ in range(2))
    rows, columns = tops + torch.arange(height)[None, :, None], lefts + torch.arange(width)[None, None]
    if mirrored:
        flips = torch.rand(count, 1, 1) < 0.5
        columns = torch.where(flips, columns.flip(-1), columns)
    found = padded[torch.arange(count)[:, None, None], :, rows, columns]
    return found.permute(0, 3, 1, 2)


def top1(network: nn.Module, pictures: Pictures, spec: ModelSpec) -> float:
    """Share of pictures whose most probable class is the labelled one."""
    right, side = 0, spec.inputs[0].shape[-1]
    with torch.no_grad():
        for start in range(0, len(pictures), TEST_BATCH):
            pixels = torch.from_numpy(pictures.pixels[start : start + TEST_BATCH].copy())
            found = network(network_input(pixels, spec, side)).argmax(1).numpy()
            right += int((found == pictures.labels[start : start + TEST_BATCH]).sum())
    return right / len(pictures)


def trained_weights(
    name: str,
    data: Path,
    folder: Path,
    report: Callable[[str], None] = lambda _line: None,
    recipe: Recipe | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Weights of a classifier and the record of their training, made when they are not in `folder`.

    Returns:
        Path of the .safetensors file; `recipe`, `top1`, `seconds`, `data`, `environment`.

    Raises:
        UsageError: an unknown name, or no data.
        UnsupportedError: damaged data.
    """
    from safetensors.torch import save_file

    if name not in RECIPES:
        raise UsageError(f"unknown classifier '{name}'", f"one of {', '.join(RECIPES)}")
    recipe = recipe or RECIPES[name]
    weights, record = folder / f"{name}.safetensors", folder / f"{name}-training.json"
    if weights.is_file() and record.is_file():
        return weights, json.loads(record.read_text(encoding="utf-8"))
    keep_freed_memory()
    start, used = time.perf_counter(), time.process_time()
    network = train(name, pictures_of(name, data, TRAIN), recipe, report)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - used
    accuracy = top1(network, pictures_of(name, data, TEST), classifier(name).spec)
    found = {
        "name": name,
        "data": "MNIST" if name == LENET else "CIFAR-10 as JPEG, not comparable with published figures",
        "recipe": asdict(recipe),
        "top1": round(accuracy, 4),
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
        description="Train a small classifier for the int8 comparison; prints the record as JSON.",
    )
    parser.add_argument("name", choices=RECIPES, help="what to train")
    parser.add_argument("--data", type=Path, required=True, help="folder with mnist/ and cifar10_jpg.zip")
    parser.add_argument("--output", type=Path, required=True, help="folder of the weights")
    options = parser.parse_args(arguments)
    return as_text(trained_weights(options.name, options.data, options.output, _report)[1])


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train from the command line and return the exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())

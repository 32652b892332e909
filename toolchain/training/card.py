"""The card of trained weights: what they are, how good they are, and how to make them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from toolchain.models.reshape import is_reshaped
from toolchain.models.weights_file import RESHAPED
from toolchain.models.zoo import zoo
from toolchain.spec import ModelSpec
from toolchain.training.checkpoints import write_atomically
from toolchain.training.datasets import open_pairs
from toolchain.training.datasets.pairs import FacePairs, Skipped
from toolchain.training.metrics import FaceF1
from toolchain.training.progress import Totals
from toolchain.training.ranges import METHOD, measure_ranges
from toolchain.training.teacher import NormalizedParser

CALIBRATION_PICTURES = 64


@torch.no_grad()
def figures(network: nn.Module, spec: ModelSpec, pairs: FacePairs, batch_size: int) -> dict[str, Any]:
    """F1 figures in percent, in float32 with an empty previous mask.

    Args:
        network: the trained network, on the CPU.
        spec: its contract.
        pairs: validation pairs.
        batch_size: pictures that are run at once.
    """
    parser = NormalizedParser(network, spec).eval()
    metric = FaceF1(len(spec.labels))
    for start in range(0, len(pairs), batch_size):
        batch = [pairs[index] for index in range(start, min(start + batch_size, len(pairs)))]
        image, label = (torch.stack(tensors) for tensors in zip(*batch, strict=True))
        empty = torch.zeros(len(image), len(spec.labels), *image.shape[2:])
        metric.update(parser(image.float(), empty).argmax(1), label.long())
    scores = metric.scores()
    return {
        "protocol": f"{len(pairs)} validation pairs, {pairs.size} px, float32, no previous mask",
        "overall_f1": round(scores.overall, 2),
        "strict_f1": round(scores.strict, 2),
        "micro_f1_with_skin": round(scores.micro_with_skin, 2),
        "per_class_f1": dict(zip(spec.labels, (round(f, 2) for f in scores.per_class), strict=True)),
    }


def training_figures(total: Totals, best_epoch: int, precision: str) -> dict[str, Any]:
    """How long the training took and how fast it was, over all its parts where it was interrupted.

    Args:
        total: of all parts.
        best_epoch: the epoch whose weights were kept, from 0 on.
        precision: Lightning's name of the arithmetic of the last part.
    """
    return {
        "steps": total.steps,
        "hours": round(total.seconds / 3600, 3),
        "images_per_second": round(total.images_per_second, 1),
        "data_wait_share": round(total.data_wait, 3),
        "best_epoch": best_epoch + 1,
        "precision": precision,
    }


def calibration(
    data: str, network: nn.Module, spec: ModelSpec, skipped: Iterable[Skipped] = ()
) -> dict[str, Any]:
    """Ranges on training pictures but the skipped ones, at the size of the contract."""
    pictures = open_pairs(data, "train", spec.inputs[0].shape[-1]).without(skipped)
    return calibration_on([picture for picture, _ in spread(pictures)], network, spec)


def spread(items: FacePairs | Tensor) -> Iterator[Any]:
    """`CALIBRATION_PICTURES` items at equal distances, or all where there are fewer."""
    count = min(CALIBRATION_PICTURES, len(items))
    return (items[index] for index in range(0, len(items), max(1, len(items) // count))[:count])


def calibration_on(pictures: Sequence[Tensor], network: nn.Module, spec: ModelSpec) -> dict[str, Any]:
    """Ranges on these training pictures, as `measure_ranges` takes them."""
    ranges = measure_ranges(network.float().eval(), spec, pictures)
    return {
        "method": METHOD,
        "pictures": len(pictures),
        "split": "train",
        "ranges": {name: [round(low, 6), round(high, 6)] for name, (low, high) in ranges.items()},
    }


def write_weights(folder: Path, name: str, network: nn.Module, card: dict[str, Any]) -> None:
    """Write `NAME.safetensors`, and then its card `NAME.json`.

    The file says so where the layers have other widths than those of the zoo's network `card["model"]`.
    """
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    metadata = {"terms": card["terms"]}
    if _is_reshaped(network, card["model"]):
        metadata[RESHAPED] = "true"
    content = save(state, metadata=metadata)
    write_atomically(folder / f"{name}.safetensors", lambda file: file.write(content))
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / f"{name}.json", lambda file: file.write(text.encode()))


def _is_reshaped(network: nn.Module, model: str) -> bool:
    if model not in zoo():
        return False
    with torch.device("meta"):
        return is_reshaped(network, zoo().get(model).build())

"""The recipe behind `toolchain train face-parsing`."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader

from toolchain.errors import UsageError
from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import zoo
from toolchain.spec import SEGMENTATION, ModelSpec
from toolchain.training.allocator import keep_freed_memory
from toolchain.training.datasets import open_pairs
from toolchain.training.datasets.pairs import FacePairs
from toolchain.training.face_parsing import FaceParsing
from toolchain.training.ranges import measure_ranges

CALIBRATION_PICTURES = 64


@dataclass(frozen=True)
class TrainOptions:
    """What one training run is made of.

    Attributes:
        data: "celebamask:PATH".
        model: zoo name of a face parser.
        output: folder for checkpoints, log, weights and card.
        size: side of the training pictures in pixels.
        epochs: passes over the training split.
        batch_size: pictures a step.
        learning_rate: peak learning rate.
        seed: seed of every random generator.
        weights: state dict to start from, None for random weights.
        resume: go on from the last checkpoint in `output`.
        workers: processes that decode pictures.
        limit: use only so many training batches an epoch, None for all.
        trainer: further keyword arguments of Lightning's Trainer (accelerator, devices, strategy, ...).
        progress: show a progress bar.
        command: the command line, for the card.
    """

    data: str
    model: str
    output: Path
    size: int = 256
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 4e-3
    seed: int = 0
    weights: Path | None = None
    resume: bool = False
    workers: int = 1
    limit: int | None = None
    trainer: dict[str, Any] | None = None
    progress: bool = False
    command: str = ""


def train_face_parsing(options: TrainOptions) -> dict[str, Any]:
    """Train, and write `MODEL.safetensors` with its card `MODEL.json` into the output folder.

    Returns:
        The card. Its figures belong to the weights with the best overall F1.
    """
    entry = zoo().get(options.model)
    if entry.spec.task != SEGMENTATION:
        raise UsageError(f"'{options.model}' is no face parser", "`toolchain models` lists them")
    if options.size % 32:
        raise UsageError(f"size {options.size} is not a multiple of 32", "use 128 or 256")
    train = open_pairs(options.data, "train", options.size)
    validation = open_pairs(options.data, "val", options.size)
    last = options.output / "last.ckpt"
    if options.resume and not last.is_file():
        raise UsageError(f"nothing to resume: '{last}' is missing", "leave --resume out")
    keep_freed_memory()
    lightning.seed_everything(options.seed, workers=True, verbose=False)
    network = entry.build()
    if options.weights is not None:
        load_weights(network, options.weights)
    module = FaceParsing(network, entry.spec, options.learning_rate)
    best = ModelCheckpoint(
        options.output,
        filename="best",
        monitor="overall_f1",
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    with _quiet():
        trainer = _trainer(options, best)
        trainer.fit(
            module,
            _loader(train, options, shuffle=True),
            _loader(validation, options, shuffle=False),
            ckpt_path=str(last) if options.resume else None,
            weights_only=True,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict(
        {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    )
    card = _card(options, entry.spec, network, module, validation)
    card["calibration"] = _calibration(options, entry.spec, network)
    _write(options, network, card)
    return card


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and advice away; its errors come through."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _trainer(options: TrainOptions, checkpoint: ModelCheckpoint) -> lightning.Trainer:
    callbacks: list[lightning.Callback] = [checkpoint]
    if options.progress:
        callbacks.append(RichProgressBar())
    defaults: dict[str, Any] = {
        "max_epochs": options.epochs,
        "precision": "bf16-mixed",
        "gradient_clip_val": 1.0,
        # Each run, a resumed one too, gets a folder of its own: the logger empties the one it is given.
        "logger": CSVLogger(options.output, name="log"),
        "callbacks": callbacks,
        "enable_progress_bar": options.progress,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 20,
        "default_root_dir": options.output,
    }
    if options.limit is not None:
        defaults["limit_train_batches"] = options.limit
    return lightning.Trainer(**{**defaults, **(options.trainer or {})})


def _loader(data: FacePairs, options: TrainOptions, shuffle: bool) -> DataLoader[Any]:
    return DataLoader(
        data,
        options.batch_size,
        shuffle=shuffle,
        drop_last=shuffle and len(data) > options.batch_size,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )


@torch.no_grad()
def _card(
    options: TrainOptions, spec: ModelSpec, network: nn.Module, module: FaceParsing, validation: FacePairs
) -> dict[str, Any]:
    """Figures in float32 with an empty previous mask, and everything needed to make the weights again."""
    module.eval()
    module.validation_f1.reset()
    for batch in _loader(validation, options, shuffle=False):
        module.validation_step(batch, 0)
    scores = module.validation_f1.scores()
    return {
        "model": options.model,
        "data": f"{validation.description}, {options.data.partition(':')[0]}",
        "terms": validation.terms,
        "command": options.command,
        "seed": options.seed,
        "epochs": options.epochs,
        "size": options.size,
        "started_from": options.weights.name if options.weights else None,
        "parameters": sum(p.numel() for p in network.parameters()),
        "figures": {
            "protocol": f"{len(validation)} validation pairs, {options.size} px, float32, no previous mask",
            "overall_f1": round(scores.overall, 2),
            "strict_f1": round(scores.strict, 2),
            "micro_f1_with_skin": round(scores.micro_with_skin, 2),
            "per_class_f1": dict(zip(spec.labels, (round(f, 2) for f in scores.per_class), strict=True)),
        },
    }


def _calibration(options: TrainOptions, spec: ModelSpec, network: nn.Module) -> dict[str, Any]:
    """Ranges on training pictures at the size of the contract, whatever size was trained on."""
    pictures = open_pairs(options.data, "train", spec.inputs[0].shape[-1])
    count = min(CALIBRATION_PICTURES, len(pictures))
    indices = range(0, len(pictures), max(1, len(pictures) // count))[:count]
    ranges = measure_ranges(network.float().eval(), spec, (pictures[index][0] for index in indices))
    return {
        "method": "minmax",
        "pictures": count,
        "split": "train",
        "ranges": {name: [round(low, 6), round(high, 6)] for name, (low, high) in ranges.items()},
    }


def _write(options: TrainOptions, network: nn.Module, card: dict[str, Any]) -> None:
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, options.output / f"{options.model}.safetensors", metadata={"terms": card["terms"]})
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (options.output / f"{options.model}.json").write_text(text, encoding="utf-8")

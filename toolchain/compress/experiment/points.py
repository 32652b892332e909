"""Trade-off points: of the epochs of a training, those that are kept, chosen on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import lightning
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from toolchain.compress.experiment.recipe import FIRST, Point
from toolchain.compress.sparsity.kernels import sparse_layers
from toolchain.compress.sparsity.masks import zeroed_kernels
from toolchain.training.checkpoints import write_atomically


class TradeOffPoints(lightning.Callback):
    """Keeps, for every point, the network of the epoch that its rule chooses so far.

    An epoch counts with the filters that are zero while it is validated. `POINT.safetensors` is replaced
    whole; what was kept so far is part of Lightning's checkpoint, so that a resumed training goes on with it.

    Args:
        points: the rules.
        folder: of the files.
        figure: logged validation figure in percent.
        falling: whether a lower figure is better; otherwise a higher one is.
        exempt: layers whose filters do not count.
    """

    def __init__(
        self,
        points: Sequence[Point],
        folder: Path,
        figure: str = "val_error",
        falling: bool = True,
        exempt: Sequence[str] = (),
    ) -> None:
        self.points, self.folder, self.figure, self.falling = tuple(points), folder, figure, falling
        self.exempt = tuple(exempt)
        self.kept: dict[str, dict[str, float]] = {}
        self.most_gone = 0.0

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"kept": {name: dict(found) for name, found in self.kept.items()}, "most_gone": self.most_gone}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.kept = {name: dict(found) for name, found in state_dict["kept"].items()}
        self.most_gone = state_dict["most_gone"]

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the network for every point that this epoch serves better than those before."""
        if trainer.sanity_checking:
            return
        network = getattr(pl_module, "network", pl_module)
        figure = float(trainer.callback_metrics[self.figure])
        self.consider(network, trainer.current_epoch, figure if self.falling else 100.0 - figure)

    def consider(self, network: nn.Module, epoch: int, error: float) -> None:
        """Judge one epoch.

        Args:
            network: with zeroed filters.
            epoch: its number, from 0.
            error: on the validation split, in percent.
        """
        gone = share_gone(network, self.exempt)
        self.most_gone = max(self.most_gone, gone)
        for point in self.points:
            before = self.kept.get(point.name)
            if gone < point.gone:
                continue
            if before is not None and (point.choose == FIRST or error > before["error"]):
                continue
            content = save({name: _plain(tensor) for name, tensor in network.state_dict().items()})
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path(point), partial(_write, content))
            self.kept[point.name] = {"epoch": epoch, "error": error, "gone": gone}

    def path(self, point: Point) -> Path:
        """State dict of a point's network, at full size with zeroed filters."""
        return self.folder / f"{point.name}.safetensors"


def load_point(network: nn.Module, path: Path) -> nn.Module:
    """The network with the state that `TradeOffPoints` kept."""
    network.load_state_dict(load_file(path))
    return network.eval()


def filters_of(network: nn.Module, exempt: Sequence[str] = ()) -> dict[str, int]:
    """Filters that are not zero, by layer."""
    zeroed = zeroed_kernels(network)
    return {
        name: conv.out_channels - int(zeroed[name].sum() if name in zeroed else 0)
        for name, conv in sparse_layers(network, exempt).items()
    }


def share_gone(network: nn.Module, exempt: Sequence[str] = ()) -> float:
    """Share (0-1) of the filters that are zero."""
    total = sum(conv.out_channels for conv in sparse_layers(network, exempt).values())
    return (total - sum(filters_of(network, exempt).values())) / total


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", memory_format=torch.contiguous_format, copy=True).contiguous()


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)

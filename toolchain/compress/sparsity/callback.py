"""Training with kernel sparsity: a Lightning callback for any network and task.

Method (thesis, chapter 3): the loss gets a term that makes kernels compete, and after each epoch the weakest
kernels, whose values together stay under a threshold, are set to zero and stay zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn

from toolchain.compress.sparsity.history import EpochRecord, History, pareto_front
from toolchain.compress.sparsity.kernels import kernel_norms, sparse_layers
from toolchain.compress.sparsity.masks import (
    Held,
    is_zero,
    rows_to_hold,
    weakest_kernels,
    with_strongest,
    zero_gradients,
    zero_rows,
    zero_states,
)
from toolchain.compress.sparsity.settings import SparsitySettings
from toolchain.compress.sparsity.term import sparsity_term
from toolchain.compress.sparsity.wiring import read_wiring
from toolchain.errors import ToolchainError, UsageError
from toolchain.training.weight_average import WeightAverage

__all__ = ["KernelSparsity", "SparsitySettings"]

KEEP = ("front", "all", "none")


class KernelSparsity(lightning.Callback):
    """Adds the sparsity term to any training, sets weak kernels to zero, and keeps the history.

    The term's gradient is added to that of the loss right before each step of the optimizer, and clipped
    together with it, so that it works for every module, task, precision, number of devices and accumulation
    of gradients. Kernels are set to zero after the last batch of an epoch and before the validation, whose
    figures are those of the network as it is kept. Zeroed kernels have no gradient, the optimizer's memory of
    them is emptied, and after every step they are set to zero again: no optimizer, momentum or weight decay
    moves them. The averages of `WeightAverage` are zeroed as well. Kernels that are zero when the training
    begins (a training that goes on from pruned weights) stay zero.

    The network is `pl_module.network`, or the module itself when it has none.

    Args:
        settings: of the method.
        history: folder for the history, None for no history. See `History`.
        figure: the logged figure by which epochs are judged; None for the first of `history.VERDICTS`.
        keep: weights that are kept in the history: "front": of the epochs that no other beats in both filters
            left and figure, and of the newest; "all"; "none". Without a figure, "front" keeps all.
        report: takes lines about the progress.
    """

    def __init__(
        self,
        settings: SparsitySettings,
        history: Path | None = None,
        *,
        figure: str | None = None,
        keep: str = "front",
        report: Callable[[str], None] | None = None,
    ) -> None:
        if keep not in KEEP:
            raise UsageError(f"keep is '{keep}'", f"it is one of {', '.join(KEEP)}")
        self.settings = settings
        self.history = History(history) if history is not None else None
        self.figure, self.keep, self.report = figure, keep, report
        self.layers: dict[str, nn.Conv2d] = {}
        self.zeroed: dict[str, Tensor] = {}
        self._norms: dict[str, list[nn.BatchNorm2d]] | None = None
        self._held: Held = []
        self._spared: tuple[str, ...] = ()
        self._validated = False
        self._resumed = False
        self._zeroed_epoch = -1
        self._loss = {"sum": 0.0, "steps": 0.0}
        self._hooks: list[Any] = []

    @property
    def filters_left(self) -> int:
        """Kernels that are not zero, of the layers that the method works on."""
        return sum(int((~mask).sum()) for mask in self.zeroed.values())

    @property
    def filters(self) -> int:
        """Kernels of the layers that the method works on."""
        return sum(len(mask) for mask in self.zeroed.values())

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Find the kernels.

        Raises:
            UsageError: an exempt layer does not exist, another callback or the strategy would bring zeroed
                kernels back, or the folder has the history of another training.
        """
        self._check(trainer)
        network = network_of(pl_module)
        wiring = read_wiring(network)
        self.layers = sparse_layers(network, self.settings.exempt, wiring)
        if wiring is None:
            self._say(
                "the network's graph cannot be traced: exempt layers whose filters are outputs by name;"
                " BatchNorms behind zeroed kernels are left as they are"
            )
        elif wiring.outputs:
            self._say(f"no kernel is taken from {', '.join(sorted(wiring.outputs))}: its filters are outputs")
        if self.settings.biases:
            modules, norms = dict(network.named_modules()), wiring.norms if wiring else {}
            self._norms = {name: [modules[norm] for norm in norms.get(name, ())] for name in self.layers}
        if not self._resumed:
            self.zeroed = _zero_from_the_start(self.layers)
        self.zeroed = {name: mask.to(self.layers[name].weight.device) for name, mask in self.zeroed.items()}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Watch every step of every optimizer."""
        self._hold(trainer)
        for optimizer in trainer.optimizers:
            hook = optimizer.register_step_post_hook(lambda stepped, *_: self._hold_after(stepped))
            self._hooks.append(hook)

    def teardown(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the optimizers."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def on_before_backward(self, trainer: lightning.Trainer, pl_module: Any, loss: Tensor) -> None:
        """Stop before a loss that is no number reaches the weights.

        Raises:
            ToolchainError: it is not finite.
        """
        # A loss scaled for float16 may become infinite; then the scaler leaves the step out.
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if torch.isnan(loss).any() if scaled else not torch.isfinite(loss).all():
            raise self._no_number(trainer, f"the loss is no finite number ({float(loss.detach().max()):g})")

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer
    ) -> None:
        """Add the gradient of the term, and take that of zeroed kernels away.

        Raises:
            ToolchainError: the term or its gradient is not finite.
        """
        strength = self._strength(trainer)
        if strength > 0:
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            weights: list[nn.Parameter] = [cast(nn.Parameter, layer.weight) for layer in self.layers.values()]
            self._add_gradient(trainer, strength, [w for w in weights if id(w) in own and w.requires_grad])
        zero_gradients(self._held)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the loss; at the end of an epoch, set the weakest kernels to zero."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            value = float(loss.detach())
            if not math.isfinite(value):
                raise self._no_number(trainer, f"the loss is no finite number ({value:g})")
            self._loss["sum"] += value
            self._loss["steps"] += 1
        if trainer.is_last_batch:
            self._set_to_zero(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The logged figures are of this epoch."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write the record of the epoch, and the weights if they are to be kept."""
        self._set_to_zero(trainer)
        record = self._record(trainer)
        self._validated = False
        self._loss = {"sum": 0.0, "steps": 0.0}
        if not trainer.is_global_zero:
            return
        for layer in record.spared:
            self._say(
                f"all {len(record.norms[layer])} kernels of '{layer}' fell under the threshold:"
                f" the strongest, filter {int(record.norms[layer].argmax())}, stays"
            )
        if self.history is not None:
            self.history.write(record)
            self._keep_weights(trainer, network_of(pl_module), record)
        self._say(
            f"epoch {record.epoch}/{trainer.max_epochs}: {record.filters_left} of {record.filters}"
            f" filters left, term {record.term:.4f}"
        )

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """A module's own error about a loss that is no number does not know of the term."""
        lower = f"lower the strength of the sparsity term ({self.settings.strength:g})"
        if not isinstance(exception, ToolchainError) or "no finite number" not in exception.message:
            return
        if lower not in exception.hint:
            exception.hint = f"{lower}, or {exception.hint}" if exception.hint else lower

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {
            "settings": self.settings.as_json(),
            "zeroed": {name: mask.cpu() for name, mask in self.zeroed.items()},
            "zeroed_epoch": self._zeroed_epoch,
            "spared": list(self._spared),
            "loss": dict(self._loss),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint.

        Raises:
            UsageError: it was made with other settings.
        """
        before, now = state_dict["settings"], self.settings.as_json()
        changed = [
            f"{key} was {before.get(key)!r}, not {now[key]!r}" for key in now if before.get(key) != now[key]
        ]
        if changed:
            raise UsageError(
                f"the training has other settings of kernel sparsity: {'; '.join(changed)}",
                "resume with those that it was started with, or start anew in another folder",
            )
        self.zeroed, self._zeroed_epoch = dict(state_dict["zeroed"]), state_dict["zeroed_epoch"]
        self._spared, self._loss = tuple(state_dict["spared"]), dict(state_dict["loss"])
        self._resumed = True

    def _check(self, trainer: lightning.Trainer) -> None:
        if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
            raise UsageError(
                f"{type(trainer.strategy).__name__} splits the network: its kernels cannot be measured",
                "use the strategy auto or ddp",
            )
        for callback in callbacks_of(trainer):
            if isinstance(callback, StochasticWeightAveraging | WeightAveraging):
                raise UsageError(
                    f"the averages of {type(callback).__name__} would bring zeroed kernels back",
                    "use toolchain.training.weight_average.WeightAverage",
                )
        if self.settings.schedule != "constant" and (trainer.max_epochs or 0) < 1:
            raise UsageError(
                f"the schedule '{self.settings.schedule}' needs the number of epochs", "set max_epochs"
            )
        self.settings.check_beginning(trainer.max_epochs or 0)
        if self.history is not None and not self._resumed and self.history.numbers():
            raise UsageError(
                f"'{self.history.folder}' holds the history of a training already",
                "resume that training, or give another folder",
            )

    def _strength(self, trainer: lightning.Trainer) -> float:
        return self.settings.strength_of(trainer.current_epoch, trainer.max_epochs or 0)

    def _term(self) -> Tensor:
        return sparsity_term(self.layers, self.settings.kind, self.settings.scope, self.settings.normalised)

    def _add_gradient(self, trainer: lightning.Trainer, strength: float, weights: list[nn.Parameter]) -> None:
        if not weights:
            return
        with torch.enable_grad(), torch.autocast(weights[0].device.type, enabled=False):
            value = strength * self._term()
            if not torch.isfinite(value):
                raise self._no_number(trainer, f"the sparsity term is no finite number ({float(value):g})")
            gradients = torch.autograd.grad(value, weights)
        # Its square must be a number, too: clipping by an infinite norm would silently stop the training.
        if not torch.isfinite(torch.stack([torch.linalg.vector_norm(g) for g in gradients]).norm()):
            raise self._no_number(trainer, "the gradient of the sparsity term is no finite number")
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)

    def _hold_after(self, optimizer: torch.optim.Optimizer) -> None:
        zero_rows(self._held)
        zero_states(optimizer, self._held)

    def _hold(self, trainer: lightning.Trainer) -> None:
        """Everything that belongs to zeroed kernels becomes zero, averages and the optimizers' memory too."""
        self._held = held = rows_to_hold(self.layers, self.zeroed, self._norms)
        zero_rows(held)
        for optimizer in trainer.optimizers:
            zero_states(optimizer, held)
        averages = [
            callback.average for callback in callbacks_of(trainer) if isinstance(callback, WeightAverage)
        ]
        rows = {id(parameter): mask for parameter, mask in held}
        for average in averages:
            for name, parameter in self._named(trainer):
                if id(parameter) in rows and name in average:
                    zero_rows([(average[name], rows[id(parameter)].to(average[name].device))])

    @staticmethod
    def _named(trainer: lightning.Trainer) -> list[tuple[str, nn.Parameter]]:
        return list(network_of(trainer.lightning_module).named_parameters(remove_duplicate=False))

    def _set_to_zero(self, trainer: lightning.Trainer) -> None:
        if self._zeroed_epoch == trainer.current_epoch:
            return
        self._zeroed_epoch = trainer.current_epoch
        self._spared = ()
        norms = self._kernel_norms(trainer)
        if not self.settings.in_force(trainer.current_epoch):
            return
        chosen = weakest_kernels(norms, self.settings.threshold, self.settings.scope)
        chosen = {name: mask | self.zeroed[name] for name, mask in chosen.items()}
        self.zeroed, self._spared = with_strongest(norms, chosen)
        self._hold(trainer)

    @torch.no_grad()
    def _kernel_norms(self, trainer: lightning.Trainer) -> dict[str, Tensor]:
        norms = {name: kernel_norms(layer) for name, layer in self.layers.items()}
        for name, values in norms.items():
            if not torch.isfinite(values).all():
                raise self._no_number(trainer, f"the weights of '{name}' are no finite numbers")
        return norms

    @torch.no_grad()
    def _record(self, trainer: lightning.Trainer) -> EpochRecord:
        # Lightning goes on to show the figures of the last validation, however long ago that was.
        figures = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if self._validated or not trainer.enable_validation or name.startswith("train")
        }
        if self._loss["steps"]:
            figures.setdefault("train_loss", self._loss["sum"] / self._loss["steps"])
        first = next(iter(self.layers.values()))
        return EpochRecord(
            epoch=trainer.current_epoch + 1,
            norms={name: values.cpu().numpy() for name, values in self._kernel_norms(trainer).items()},
            zeroed={name: mask.cpu().numpy() for name, mask in self.zeroed.items()},
            term=float(self._term()),
            strength=self._strength(trainer),
            figures=figures,
            kernels=first.weight.detach().float().cpu().numpy(),
            spared=self._spared,
            settings=self.settings.as_json(),
        )

    def _keep_weights(self, trainer: lightning.Trainer, network: nn.Module, record: EpochRecord) -> None:
        assert self.history is not None
        if self.keep == "none":
            return
        state = dict(network.state_dict())
        for callback in callbacks_of(trainer):
            if isinstance(callback, WeightAverage):
                state |= callback.average
        self.history.write_weights(record.epoch, state)
        if self.keep == "all":
            return
        # A resumed training may meet epochs that it has not reached yet.
        records = [self.history.read(number) for number in self.history.numbers() if number <= record.epoch]
        try:
            front = pareto_front(records, self.figure)
        except UsageError:
            return
        self.history.keep([record.epoch, *(kept.epoch for kept in front)])

    def _no_number(self, trainer: lightning.Trainer, what: str) -> ToolchainError:
        kept = "the last checkpoint is kept"
        if self.history is not None and self.keep != "none" and self.history.numbers():
            kept = f"the last good weights are '{self.history.weights(self.history.numbers()[-1])}'"
        return ToolchainError(
            f"{what} in epoch {trainer.current_epoch + 1}",
            f"lower the strength of the sparsity term ({self.settings.strength:g}) or the learning rate;"
            f" {kept}",
        )

    def _say(self, line: str) -> None:
        if self.report is not None:
            self.report(line)


def callbacks_of(trainer: lightning.Trainer) -> list[lightning.Callback]:
    """The callbacks of a trainer, which its type does not name."""
    return list(getattr(trainer, "callbacks", []))


def network_of(module: Any) -> nn.Module:
    """What a Lightning module trains: its `network`, or itself."""
    network = getattr(module, "network", None)
    return network if isinstance(network, nn.Module) else module


def _zero_from_the_start(layers: dict[str, nn.Conv2d]) -> dict[str, Tensor]:
    """Kernels that are zero before the first step; a layer that is all zero was only initialised so."""
    masks = {name: is_zero(layer) for name, layer in layers.items()}
    return {name: torch.zeros_like(mask) if bool(mask.all()) else mask for name, mask in masks.items()}

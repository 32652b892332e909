"""Fine-tuning of shared weights: the centroids move, the assignment stays.

Source: Deep Compression (arXiv:1510.00149), section 3.3: the gradient of a centroid is the sum of the
gradients of its weights. Here it is divided by their number: a step is then the one of plain gradient
descent, projected onto weights that are shared, and is stable with every learning rate with which that one
is. Smaller rates than that of the training before leave the centroids nearly where they are, because the
gradients of single weights cancel out in the mean; larger ones may be worth a trial.
"""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from toolchain.compress.storage.clusters import share
from toolchain.compress.storage.pack import Bits, layer_bits
from toolchain.errors import UnsupportedError, UsageError


class SharedWeights(lightning.Callback):
    """Shares the weights when a training starts, and keeps them shared through every step of any optimizer.

    Before a step each gradient becomes the mean over its cluster, and that of a pruned weight 0; after it
    the weights of a cluster become their mean, which takes away what rounding, or an optimizer that looks at
    single weights, has done to them. Zeros stay zero. `pack` with the same bits then loses nothing.

    The network is the attribute `network` of the Lightning module if there is one, else the module itself.
    Weights that are zeroed while this runs do not stay zero: prune first, then share.

    Args:
        bits: of shared weights by kind of layer, see `toolchain.compress.storage.pack.parse_bits`.

    Raises:
        UsageError: no tensor of the network is to be shared, or a checkpoint is of another network.
        UnsupportedError: weights are not finite when the training starts.
    """

    def __init__(self, bits: Bits) -> None:
        self.bits = dict(bits)
        self._codes: dict[str, Tensor] = {}
        self._zeros: dict[str, int] = {}
        self._sizes: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: which weights belong together."""
        codes = {name: codes.cpu() for name, codes in self._codes.items()}
        return {"codes": codes, "zeros": dict(self._zeros)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self._codes, self._zeros = dict(state_dict["codes"]), dict(state_dict["zeros"])

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Find the clusters, or take up those of a resumed training."""
        layers = self._layers(pl_module)
        if not layers:
            raise UsageError("the network has no weights to share", "give --bits for the layers that it has")
        if not self._codes:
            for name, weight in layers.items():
                self._share(name, weight)
        if {name: codes.numel() for name, codes in self._codes.items()} != {
            name: weight.numel() for name, weight in layers.items()
        }:
            raise UsageError("the shared weights of the checkpoint are of another network", "start anew")
        for name, weight in layers.items():
            self._codes[name] = self._codes[name].to(weight.device)
            self._sizes[name] = torch.bincount(self._codes[name]).clamp(min=1)
        self._tie(pl_module)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Any
    ) -> None:
        """The gradient of each weight becomes that of its centroid."""
        for name, weight in self._layers(pl_module).items():
            if weight.grad is not None:
                weight.grad.copy_(self._averaged(name, weight.grad))

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """The weights of a cluster are one number again."""
        self._tie(pl_module)

    def _share(self, name: str, weight: nn.Parameter) -> None:
        if not bool(torch.isfinite(weight).all()):
            raise UnsupportedError(f"'{name}' is no finite number", "train again")
        bits = layer_bits(name, weight, self.bits)
        clusters = share(weight.detach(), bits)
        self._codes[name] = clusters.codes.reshape(-1)
        zero = (clusters.values == 0).nonzero().reshape(-1)
        self._zeros[name] = int(zero[0]) if len(zero) else -1
        with torch.no_grad():
            weight.copy_(clusters.weights())

    def _tie(self, module: lightning.LightningModule) -> None:
        with torch.no_grad():
            for name, weight in self._layers(module).items():
                weight.copy_(self._averaged(name, weight))

    def _layers(self, module: lightning.LightningModule) -> dict[str, nn.Parameter]:
        network = getattr(module, "network", module)
        return {
            name: parameter
            for name, parameter in network.named_parameters()
            if layer_bits(name, parameter, self.bits)
        }

    def _averaged(self, name: str, numbers: Tensor) -> Tensor:
        """Each number replaced by the mean of its cluster, 0 for the cluster of zeros."""
        codes, sizes = self._codes[name], self._sizes[name]
        # Not every device has float64; where it has, the order of the sum cannot be seen in the result.
        wide = torch.float32 if numbers.device.type == "mps" else torch.float64
        flat = numbers.detach().reshape(-1).to(wide)
        means = torch.zeros(len(sizes), dtype=wide, device=flat.device).index_add_(0, codes, flat) / sizes
        if self._zeros[name] >= 0:
            means[self._zeros[name]] = 0
        return means.to(numbers.dtype)[codes].reshape(numbers.shape)

"""Centroids that move together while a network is trained."""

from __future__ import annotations

import copy
from pathlib import Path

import lightning
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from toolchain.compress.storage.clusters import share
from toolchain.compress.storage.pack import layer_bits, pack
from toolchain.compress.storage.training import SharedWeights
from toolchain.errors import UnsupportedError, UsageError

BITS = {"conv": 3, "linear": 2}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05),
    "momentum": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
}


def pruned_network() -> nn.Sequential:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3)
    )
    with torch.no_grad():
        network[0].weight[2] = 0
        network[4].weight[network[4].weight.abs() < 0.02] = 0
    return network


class Training(lightning.LightningModule):
    """Three classes of noise; the batches are functions of epoch and step alone."""

    def __init__(self, optimizer: str, network: nn.Module) -> None:
        super().__init__()
        self.network, self.kind = network, optimizer

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(number)
        label = torch.randint(0, 3, (16,), generator=random)
        image = torch.randn(16, 1, 8, 8, generator=random)
        image[torch.arange(16), 0, label] += 2
        return image, label

    def loss(self, number: int) -> Tensor:
        image, label = self.batch(number)
        return functional.cross_entropy(self.network(image), label)

    def training_step(self, _batch: Tensor, index: int) -> Tensor:
        return self.loss(10 * self.current_epoch + index)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return OPTIMIZERS[self.kind](self.network.parameters())


class OneStep(Training):
    """Its second step and all after it have no gradient."""

    def training_step(self, _batch: Tensor, index: int) -> Tensor:
        return self.loss(0) * (index == 0)


def fit(
    folder: Path, module: Training, callback: SharedWeights, epochs: int, checkpoint: Path | None = None
) -> lightning.Trainer:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[callback],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.zeros(4, 1), batch_size=1), ckpt_path=checkpoint)
    return trainer


def shared(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in network.named_parameters() if layer_bits(name, value, BITS)}


@torch.no_grad()
def held_out(module: Training) -> float:
    """Mean loss of batches that no training here sees."""
    module.network.eval()
    loss = sum(module.loss(number).item() for number in range(5000, 5020)) / 20
    module.network.train()
    return loss


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_stay_shared_and_zeros_stay_zero(tmp_path: Path, optimizer: str) -> None:
    network = pruned_network()
    before = {
        name: share(weight, BITS["conv" if weight.dim() == 4 else "linear"])
        for name, weight in shared(network).items()
    }
    zeros = {name: weight == 0 for name, weight in shared(network).items()}
    module = Training(optimizer, network)
    start = module.loss(500).item()
    fit(tmp_path, module, SharedWeights(BITS), 5)
    assert module.loss(500).item() < start
    for name, weight in shared(network).items():
        clusters = before[name]
        assert torch.equal(weight == 0, zeros[name])
        for entry in range(len(clusters.values)):
            members = weight.detach()[clusters.codes == entry]
            assert len(members.unique()) == 1
        moved = torch.stack(
            [weight.detach()[clusters.codes == entry][0] for entry in range(len(clusters.values))]
        )
        assert not torch.equal(moved, clusters.values)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    report = pack(tmp_path / "w.safetensors", tmp_path / "w.packed", BITS)
    assert all(row.error == 0 for row in report.tensors)


def test_a_step_of_sgd_moves_a_centroid_by_the_mean_gradient(tmp_path: Path) -> None:
    network = pruned_network()
    weight = network[4].weight
    clusters = share(weight, BITS["linear"])
    other = pruned_network()
    with torch.no_grad():
        for value in shared(other).values():
            value.copy_(share(value, BITS["conv" if value.dim() == 4 else "linear"]).weights())
    Training("sgd", other).loss(0).backward()
    module = OneStep("sgd", network)
    fit(tmp_path, module, SharedWeights(BITS), 1)
    gradient = other[4].weight.grad
    for entry, value in enumerate(clusters.values):
        members = clusters.codes == entry
        wanted = value if value == 0 else value - 0.05 * gradient[members].double().mean()
        assert float(weight.detach()[members][0]) == pytest.approx(float(wanted), rel=1e-5, abs=1e-7)


def test_tuned_centroids_win_back_what_sharing_lost(tmp_path: Path) -> None:
    """Nothing but the centroids is trained, with the learning rate of the training before."""
    wanted = {"conv": 2, "linear": 2}
    network = pruned_network()
    module = Training("sgd", network)
    optimizer = module.configure_optimizers()
    for number in range(1000, 1150):
        optimizer.zero_grad()
        module.loss(number).backward()
        optimizer.step()
    whole = held_out(module)
    plain = copy.deepcopy(module)
    for name, weight in network.named_parameters():
        weight.requires_grad_(layer_bits(name, weight, wanted) > 0)
    with torch.no_grad():
        for name, weight in plain.network.named_parameters():
            if layer_bits(name, weight, wanted):
                weight.copy_(share(weight, 2).weights())
    fit(tmp_path, module, SharedWeights(wanted), 15)
    lost, left = held_out(plain) - whole, held_out(module) - whole
    assert lost > 0.005
    assert left < 0.7 * lost


def test_a_resumed_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = Training("momentum", pruned_network())
    fit(tmp_path, whole, SharedWeights(BITS), 4)
    half = Training("momentum", pruned_network())
    trainer = fit(tmp_path, half, SharedWeights(BITS), 2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    rest = Training("momentum", pruned_network())
    fit(tmp_path, rest, SharedWeights(BITS), 4, tmp_path / "half.ckpt")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[name]), name


def test_what_cannot_be_shared_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no weights to share"):
        fit(
            tmp_path,
            Training("sgd", nn.Sequential(nn.Flatten(), nn.Linear(64, 3))),
            SharedWeights({"conv": 5}),
            1,
        )
    broken = pruned_network()
    with torch.no_grad():
        broken[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(UnsupportedError, match=r"'0\.weight' is no finite number"):
        fit(tmp_path, Training("sgd", broken), SharedWeights(BITS), 1)

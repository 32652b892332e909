"""Training with the callback: zeroed kernels stay exactly zero, whoever steps."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from toolchain.compress.sparsity.callback import KernelSparsity, SparsitySettings
from toolchain.compress.sparsity.history import History
from toolchain.compress.sparsity.kernels import sparse_layers
from toolchain.compress.sparsity.masks import zeroed_kernels
from toolchain.compress.sparsity.term import sparsity_term
from toolchain.errors import ToolchainError, UsageError
from toolchain.training.weight_average import WeightAverage

LAYERS = ("0", "3", "6")
NORMS = {"0": "1", "3": "4"}

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, 0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, weight_decay=0.1),
    "centered rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.05, weight_decay=0.1),
    "adafactor": lambda p: torch.optim.Adafactor(p, 0.05),
    "rprop": lambda p: torch.optim.Rprop(p, 0.01),
}


def settings(**more: Any) -> SparsitySettings:
    return SparsitySettings(**{"strength": 0.05, "threshold": 0.1, **more})


class Watch(lightning.Callback):
    """After every step and in every validation: what belongs to zeroed kernels is exactly zero."""

    def __init__(self, sparsity: KernelSparsity, average: WeightAverage | None = None) -> None:
        self.sparsity, self.average, self.checked = sparsity, average, 0

    def check(self, network: nn.Module) -> None:
        for layer in LAYERS:
            mask = self.sparsity.zeroed[layer]
            owners = [network.get_submodule(layer)]
            owners += [network.get_submodule(NORMS[layer])] if layer in NORMS else []
            rows = [p[mask] for owner in owners for p in owner.parameters(recurse=False)]
            assert all(bool((row == 0).all()) for row in rows)
            self.checked += int(mask.sum())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.check(pl_module.network)
        for layer in LAYERS:
            mask = self.sparsity.zeroed[layer]
            weight = pl_module.network.get_submodule(layer).weight
            states = [s for s in trainer.optimizers[0].state[weight].values() if s.ndim]
            assert all(bool((s[mask] == 0).all()) for s in states if len(s) == len(mask))
            if self.average:
                assert bool((self.average.average[f"{layer}.weight"][mask] == 0).all())

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.check(pl_module.network)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_moves_a_zeroed_kernel(name: str, fit) -> None:
    sparsity = KernelSparsity(settings())
    watch = Watch(sparsity)
    module = fit(sparsity, watch, epochs=4, optimizer=OPTIMIZERS[name])
    assert watch.checked > 0
    zeroed = zeroed_kernels(module.network)
    assert all(torch.equal(zeroed[layer], sparsity.zeroed[layer]) for layer in LAYERS)
    assert 0 < sparsity.filters_left < sparsity.filters == 19


@pytest.mark.parametrize("first", ["average", "sparsity"])
@pytest.mark.parametrize("trainer", [{}, {"precision": "bf16-mixed", "gradient_clip_val": 0.1}])
def test_averaged_weights_of_a_zeroed_kernel_are_zero(first: str, trainer: dict[str, Any], fit) -> None:
    average, sparsity = WeightAverage(0.9), KernelSparsity(settings())
    watch = Watch(sparsity, average)
    order = [average, sparsity] if first == "average" else [sparsity, average]
    fit(*order, watch, epochs=4, optimizer=OPTIMIZERS["adamw"], **trainer)
    assert watch.checked > 0
    moved = average.average["0.weight"][~sparsity.zeroed["0"]]
    assert bool((moved != 0).all())


def test_the_channel_of_a_zeroed_kernel_is_gone(fit) -> None:
    sparsity = KernelSparsity(settings(threshold=0.3))
    module = fit(sparsity, epochs=3)
    network = module.network.eval()
    image = torch.randn(2, 1, 8, 8)
    for end, layer in ((2, "0"), (5, "3"), (7, "6")):
        channels = network[:end](image)
        assert bool((channels[:, sparsity.zeroed[layer]] == 0).all())
    assert sparsity.filters_left < 19


def test_biases_are_left_alone_on_demand(fit) -> None:
    sparsity = KernelSparsity(settings(threshold=0.3, biases=False))
    module = fit(sparsity, epochs=3)
    mask = sparsity.zeroed["3"]
    assert bool(mask.any())
    assert bool((module.network[3].weight[mask] == 0).all())
    assert bool((module.network[3].bias[mask] != 0).all())
    assert bool((module.network[4].weight[mask] != 0).all())


@pytest.mark.parametrize("kind", ["l1/l2", "l1", "l2"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_follows_the_gradient_of_loss_and_term(kind: str, accumulate: int, fit) -> None:
    """Once per step of the optimizer, however many batches it is made of."""
    strength, rate = 0.7, 0.1
    more = {"limit_train_batches": accumulate, "accumulate_grad_batches": accumulate}
    sparsity = KernelSparsity(settings(strength=strength, kind=kind, threshold=0.0))
    after = fit(sparsity, epochs=1, optimizer=lambda p: torch.optim.SGD(p, rate), **more)
    before = fit(epochs=1, optimizer=lambda p: torch.optim.SGD(p, 0.0), **more)
    network = before.network
    with torch.no_grad():
        for layer in (network[1], network[4]):
            layer.reset_running_stats()
    loss = sum(
        functional.cross_entropy(network(image), label) / accumulate
        for image, label in (before.batch(0, index) for index in range(accumulate))
    )
    (loss + strength * sparsity_term(sparse_layers(network), kind)).backward()
    for name, parameter in network.named_parameters():
        expected = parameter.detach() - rate * parameter.grad
        torch.testing.assert_close(after.network.get_parameter(name).detach(), expected, rtol=1e-5, atol=1e-6)


def test_each_of_several_optimizers_adds_the_term_to_its_own_weights(fit) -> None:
    module = fit(epochs=1, optimizer=lambda p: torch.optim.SGD(p, 0.0))
    network = module.network
    parts = [[network[0].weight], [network[3].weight, network[6].weight, network[3].bias]]
    sparsity = KernelSparsity(settings(strength=0.5))
    sparsity.layers = sparse_layers(network)
    trainer: Any = SimpleNamespace(current_epoch=0, max_epochs=1)
    module.zero_grad()
    for part in parts:
        sparsity.on_before_optimizer_step(trainer, module, torch.optim.SGD(part, 0.1))
    given = {layer: network.get_submodule(layer).weight.grad.clone() for layer in LAYERS}
    module.zero_grad()
    (0.5 * sparsity_term(sparsity.layers)).backward()
    for layer in LAYERS:
        torch.testing.assert_close(given[layer], network.get_submodule(layer).weight.grad)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, [1, 1, 1, 1]),
        ({"start_epoch": 2}, [0, 0, 1, 1]),
        ({"end_epoch": 2}, [1, 1, 0, 0]),
        ({"schedule": "linear"}, [0.25, 0.5, 0.75, 1]),
        ({"schedule": "linear", "start_epoch": 2}, [0, 0, 0.5, 1]),
        ({"schedule": "linear", "start_epoch": 1, "end_epoch": 3}, [0, 0.5, 1, 0]),
        ({"schedule": "cosine", "end_epoch": 2}, [0.5, 1, 0, 0]),
    ],
)
def test_strength_over_the_epochs(more: dict[str, Any], expected: list[float], fit, tmp_path) -> None:
    sparsity = KernelSparsity(settings(strength=0.2, **more), tmp_path / "history")
    fit(sparsity, epochs=4)
    records = History(tmp_path / "history").epochs()
    assert [record.strength for record in records] == pytest.approx([0.2 * share for share in expected])
    left = [19, *(record.filters_left for record in records)]
    changed = [before != after for before, after in pairwise(left)]
    assert all(share > 0 for change, share in zip(changed, expected, strict=True) if change)
    assert left[-1] < 19


def test_the_validated_network_is_the_one_of_the_record(fit, tmp_path) -> None:
    """Kernels go after the last batch and before the validation, however the epoch is cut."""
    seen: list[int] = []

    class Count(lightning.Callback):
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            zeroed = zeroed_kernels(pl_module.network)
            seen.append(sum(int((~mask).sum()) for mask in zeroed.values()))

    more = {"limit_train_batches": 2, "check_val_every_n_epoch": 2}
    fit(Count(), KernelSparsity(settings(), tmp_path / "history"), epochs=4, **more)
    records = History(tmp_path / "history").epochs()
    assert seen == [records[1].filters_left, records[3].filters_left]
    assert seen[1] < seen[0] < 19
    # An epoch without a validation has no figures of one.
    assert [set(record.figures) for record in records] == [
        {"train_loss"},
        {"train_loss", "val_error", "val_loss"},
    ] * 2


def test_no_layer_is_emptied_and_the_log_says_so(fit, tmp_path) -> None:
    lines: list[str] = []
    sparsity = KernelSparsity(
        settings(threshold=0.999, start_epoch=1), tmp_path / "history", report=lines.append
    )
    module = fit(sparsity, epochs=2)
    strongest = {layer: module.network.get_submodule(layer).weight.abs().sum((1, 2, 3)) for layer in LAYERS}
    assert sparsity.filters_left <= 4
    spared = History(tmp_path / "history").epochs()[-1].spared
    assert len(spared) >= 2
    for layer in spared:
        (index,) = (~sparsity.zeroed[layer]).nonzero().flatten().tolist()
        assert index == int(strongest[layer].argmax())
        assert any(
            line.startswith(f"all {len(strongest[layer])} kernels of '{layer}' fell under the threshold")
            and f"filter {index}, stays" in line
            for line in lines
        )
    assert lines[-1].startswith(f"epoch 2/2: {sparsity.filters_left} of 19 filters left, term ")


def test_exempt_layers_keep_all_kernels(fit) -> None:
    sparsity = KernelSparsity(settings(threshold=0.9, exempt=("0", "6")))
    fit(sparsity, epochs=2)
    assert list(sparsity.zeroed) == ["3"]
    assert 1 <= sparsity.filters_left < 8


def test_kernels_that_are_zero_at_the_start_stay_zero(fit) -> None:
    first = KernelSparsity(settings(threshold=0.3))
    network = fit(first, epochs=2).network
    again = KernelSparsity(settings(strength=0.0, threshold=0.0))
    after = fit(again, epochs=2, network=network).network
    zeroed = zeroed_kernels(after)
    assert first.filters_left < 19
    assert all(torch.equal(zeroed[layer], first.zeroed[layer]) for layer in LAYERS)


@pytest.mark.parametrize(
    ("strength", "precision", "what"),
    [
        (1e17, "32-true", "loss"),
        (1e17, "bf16-mixed", "loss"),
        (1e30, "32-true", "gradient of the sparsity term"),
    ],
)
def test_strength_that_drives_the_loss_to_nan_stops_the_training(
    strength: float, precision: str, what: str, fit, tmp_path
) -> None:
    history = tmp_path / "history"
    sparsity = KernelSparsity(settings(strength=strength, kind="l1", start_epoch=2), history)
    with pytest.raises(ToolchainError, match=rf"the {what} is no finite number.*in epoch 3") as caught:
        fit(sparsity, epochs=20, precision=precision)
    assert f"lower the strength of the sparsity term ({strength:g})" in caught.value.hint
    assert "epoch-0002.safetensors" in caught.value.hint
    assert History(history).numbers() == [1, 2]
    kept = load_file(History(history).weights(2))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in kept.values())


def test_weights_that_are_no_numbers_are_not_kept(fit, tmp_path) -> None:
    class Poison(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.current_epoch == 1 and trainer.is_last_batch:
                pl_module.network[3].weight.data[0, 0, 0, 0] = float("nan")

    with pytest.raises(ToolchainError, match="the weights of '3' are no finite numbers in epoch 2"):
        fit(Poison(), KernelSparsity(settings(), tmp_path / "history"))
    assert History(tmp_path / "history").numbers() == [1]


def test_the_hint_of_a_module_that_refuses_nan_itself_names_the_strength(fit) -> None:
    class Refuses(lightning.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            raise ToolchainError("the loss is no finite number (nan)", "lower --learning-rate")

    with pytest.raises(ToolchainError) as caught:
        fit(KernelSparsity(settings()), Refuses())
    assert caught.value.hint == "lower the strength of the sparsity term (0.05), or lower --learning-rate"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"strength": -1.0}, "sparsity.strength is -1.0"),
        ({"strength": float("nan")}, "sparsity.strength is nan"),
        ({"threshold": 1.0}, "sparsity.threshold is 1"),
        ({"threshold": -0.1}, "sparsity.threshold is -0.1"),
        ({"kind": "l3"}, "sparsity.kind is 'l3'"),
        ({"scope": "local"}, "sparsity.scope is 'local'"),
        ({"schedule": "sine"}, "sparsity.schedule is 'sine'"),
        ({"start_epoch": 3, "end_epoch": 3}, "start_epoch is 3"),
        ({"start_epoch": -1}, "start_epoch is -1"),
    ],
)
def test_settings_that_are_not_allowed(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings(**more)


def test_averages_that_would_bring_kernels_back_are_refused(fit) -> None:
    with pytest.raises(UsageError, match="StochasticWeightAveraging would bring zeroed kernels back"):
        fit(KernelSparsity(settings()), StochasticWeightAveraging(0.01))


def test_an_unknown_exempt_layer_is_told_before_the_first_step(fit) -> None:
    with pytest.raises(UsageError, match="no convolution is called 'stem"):
        fit(KernelSparsity(settings(exempt=("stem*",))))


def test_a_history_is_not_written_over(fit, tmp_path) -> None:
    fit(KernelSparsity(settings(), tmp_path / "history"), epochs=1)
    with pytest.raises(UsageError, match="holds the history of a training already"):
        fit(KernelSparsity(settings(), tmp_path / "history"), epochs=1)

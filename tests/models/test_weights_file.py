"""Weights load with equal numbers from every format, and from nothing else."""

import os
import pickle
import warnings

import lightning
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.models import zoo
from toolchain.models.weights_file import load_weights, read_state

NETWORK = "mobile-hourglass"


def build(seed=1):
    """The network with weights and running statistics that no other seed gives."""
    torch.manual_seed(seed)
    network = zoo().get(NETWORK).build()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) - 0.3)
            else:
                tensor.fill_(seed)
    return network


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


class Recipe(lightning.LightningModule):
    """A module that also has parameters which are not the network's."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.loss_weight = nn.Parameter(torch.ones(3))


def save_lightning(network, path):
    module = Recipe(network)
    trainer = lightning.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)


SAVERS = {
    "weights.safetensors": lambda network, path: save_file(network.state_dict(), path),
    "weights.pt": lambda network, path: torch.save(network.state_dict(), path),
    "weights.pth": lambda network, path: torch.save(
        dict(network.named_parameters()) | dict(network.named_buffers()), path
    ),
    "legacy.pt": lambda network, path: torch.save(
        network.state_dict(), path, _use_new_zipfile_serialization=False
    ),
    "plain.ckpt": lambda network, path: torch.save({"epoch": 3, "state_dict": network.state_dict()}, path),
    "lightning.ckpt": save_lightning,
}


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.filterwarnings("ignore")
def test_every_format_gives_equal_numbers(tmp_path, name):
    source, target = build(1), build(2)
    SAVERS[name](source, tmp_path / name)
    load_weights(target, tmp_path / name)
    wanted, got = source.state_dict(), target.state_dict()
    assert list(wanted) == list(got)
    assert all(torch.equal(wanted[key], got[key]) for key in wanted)


def test_other_widths_of_floating_point_are_converted(tmp_path):
    source, target = small_network(), nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    save_file(
        {
            key: value.double() if value.is_floating_point() else value
            for key, value in source.state_dict().items()
        },
        tmp_path / "w.safetensors",
    )
    load_weights(target, tmp_path / "w.safetensors")
    assert target[0].weight.dtype == torch.float32
    assert torch.equal(target[0].weight, source[0].weight)


def test_counters_of_batch_normalization_may_be_missing(tmp_path):
    source, target = build(1), build(2)
    state = {key: value for key, value in source.state_dict().items() if "num_batches" not in key}
    save_file(state, tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert all(torch.equal(target.state_dict()[key], state[key]) for key in state)


@pytest.mark.parametrize("name", ["none.pt", "none.safetensors", "no/such/folder.pt"])
def test_missing_file_is_a_usage_error(tmp_path, name):
    with pytest.raises(UsageError, match="cannot be read: No such file") as caught:
        load_weights(small_network(), tmp_path / name)
    assert os.fspath(tmp_path / name) in caught.value.message
    assert caught.value.exit_code == 2
    assert caught.value.hint


@pytest.mark.parametrize("name", ["folder.pt", "folder.safetensors"])
def test_folder_is_a_usage_error(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        read_state(tmp_path / name)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "legacy.pt"])
def test_truncated_file_is_refused(tmp_path, name, kept):
    SAVERS[name](build(), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UnsupportedError, match="damaged") as caught:
        read_state(tmp_path / name)
    assert os.fspath(tmp_path / name) in caught.value.message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["text.pt", "text.safetensors", "text.ckpt"])
def test_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_text("these are not weights at all", encoding="utf-8")
    with pytest.raises(UnsupportedError, match="damaged or no"):
        read_state(tmp_path / name)


def _damage(path, name, data):
    SAVERS[name](small_network(), path)
    damaged = bytearray(path.read_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)


ANYWHERE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@ANYWHERE
@given(data=st.data())
def test_one_wrong_byte_is_refused_or_changes_nothing(tmp_path, data):
    """torch.load looks at no checksum of its archives and would return wrong numbers."""
    path = tmp_path / "weights.pt"
    _damage(path, "weights.pt", data)
    wanted = small_network().state_dict()
    try:
        got = read_state(path)
    except UnsupportedError:
        return
    assert list(got) == list(wanted)
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)


@ANYWHERE
@given(data=st.data(), name=st.sampled_from(["legacy.pt", "weights.safetensors"]))
def test_one_wrong_byte_raises_nothing_but_known_errors(tmp_path, data, name):
    path = tmp_path / name
    _damage(path, name, data)
    message = ""
    try:
        load_weights(small_network(), path)
    except ToolchainError as error:
        message = error.message
    assert not message or os.fspath(path) in message
    assert "\n" not in message


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (os.fspath(self.marker),)


def _pickle(protocol):
    def save(value, path):
        with path.open("wb") as file:
            pickle.dump(value, file, protocol=protocol)

    return save


PICKLERS = {
    "torch": torch.save,
    "torch, legacy": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
    "pickle 2": _pickle(2),
    "pickle 5": _pickle(5),
}


@pytest.mark.parametrize("pickler", PICKLERS)
@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".bin"])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, pickler, suffix):
    marker, path = tmp_path / "ran", tmp_path / f"evil{suffix}"
    PICKLERS[pickler]({"weight": torch.zeros(1), "payload": Payload(marker)}, path)
    with pytest.raises(UnsupportedError) as caught:
        load_weights(small_network(), path)
    assert not marker.exists()
    assert os.fspath(path) in caught.value.message
    assert "save_file(model.state_dict()" in caught.value.hint


def test_the_payload_of_these_tests_would_run(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    torch.save({"payload": Payload(marker)}, path)
    torch.load(path, weights_only=False)
    assert marker.is_dir()


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_module_is_refused_and_its_class_named(tmp_path, legacy):
    torch.save(small_network(), tmp_path / "module.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(
        UnsupportedError, match=r"unpickling of code \(torch\.nn\.modules\.container\.Sequential\)"
    ):
        read_state(tmp_path / "module.pt")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_program_is_refused_by_name(tmp_path):
    torch.jit.script(small_network()).save(tmp_path / "program.pt")
    with pytest.raises(UnsupportedError, match="TorchScript"):
        read_state(tmp_path / "program.pt")


@pytest.mark.parametrize(
    "value",
    [
        [torch.zeros(1)],
        torch.zeros(1),
        {"weight": 1.0},
        {1: torch.zeros(1)},
        {"state_dict": {"weight": "text"}},
        {"weight": torch.eye(2).to_sparse()},
        {"weight": torch.zeros(2, device="meta")},
    ],
    ids=["list", "tensor", "number", "key", "nested", "sparse", "meta"],
)
@pytest.mark.filterwarnings("ignore")
def test_anything_but_plain_tensors_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "value.pt")
    with pytest.raises(UnsupportedError, match="holds no state dict of plain tensors"):
        read_state(tmp_path / "value.pt")


def _without(key):
    return lambda state: state.pop(key)


def _with(key, value):
    return lambda state: state.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("0.weight"), "missing: 0.weight"),
        (_with("2.weight", torch.zeros(1)), "unexpected: 2.weight"),
        (_with("0.bias", torch.zeros(3)), "of another shape: 0.bias (3,) instead of (2,)"),
        (_with("0.bias", torch.zeros(2, 1)), "of another shape: 0.bias (2, 1) instead of (2,)"),
        (
            _with("0.bias", torch.zeros(2, dtype=torch.int8)),
            "of another kind: 0.bias integer instead of floating-point",
        ),
        (_with("0.bias", torch.zeros(2, dtype=torch.complex64)), "0.bias complex instead of floating-point"),
    ],
    ids=["missing", "unexpected", "length", "rank", "integers", "complex"],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_does_not_fit_is_named_and_nothing_is_loaded(tmp_path, change, message, suffix):
    path = tmp_path / f"w{suffix}"
    state = {key: value + 1 for key, value in small_network().state_dict().items()}
    change(state)
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    network = small_network()
    with pytest.raises(UsageError) as caught:
        load_weights(network, path)
    assert message in caught.value.message
    assert os.fspath(path) in caught.value.message
    assert caught.value.exit_code == 2
    untouched = small_network().state_dict()
    assert all(torch.equal(value, untouched[key]) for key, value in network.state_dict().items())


def test_weights_of_another_network_are_summed_up(tmp_path):
    save_file(zoo().get("lenet").build().state_dict(), tmp_path / "lenet.safetensors")
    with pytest.raises(UsageError) as caught:
        load_weights(build(), tmp_path / "lenet.safetensors")
    assert " more; unexpected: classifier.0.bias" in caught.value.message
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("protocol", [2, 5])
def test_nothing_is_warned_about_a_refused_file(tmp_path, protocol):
    _pickle(protocol)({"weight": [1, 2]}, tmp_path / "w.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnsupportedError):
            read_state(tmp_path / "w.pt")

"""Every network of the zoo keeps its contract, and answers sanely without weights."""

import inspect
from pathlib import Path

import pytest
import torch

from toolchain.errors import UnsupportedError
from toolchain.models import zoo
from toolchain.spec import CLASSIFICATION, SEGMENTATION

NAMES = list(zoo())
SMALL = 32
# Of the one network whose linear layers take no smaller pictures.
FIXED_SIZE = 128


@pytest.fixture(params=NAMES)
def entry(request):
    return zoo().get(request.param)


@torch.no_grad()
def test_output_shapes_are_those_of_the_spec_for_any_batch(entry):
    batch = 3
    with torch.device("meta"):
        network = entry.build().eval()
        inputs = [torch.empty(batch, *tensor.shape[1:]) for tensor in entry.spec.inputs]
    outputs = network(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert [tuple(output.shape) for output in outputs] == [
        (batch, *tensor.shape[1:]) for tensor in entry.spec.outputs
    ]


def test_inputs_are_named_and_ordered_like_the_arguments_of_forward(entry):
    with torch.device("meta"):
        arguments = inspect.signature(entry.build().forward).parameters
    assert [tensor.name for tensor in entry.spec.inputs] == list(arguments)


def test_spec_is_consistent(entry):
    spec = entry.spec
    (output,) = spec.outputs
    assert spec.inputs[0].name == "image"
    assert output.name == "logits"
    assert all(len(tensor.layout) == len(tensor.shape) for tensor in (*spec.inputs, output))
    assert all(tensor.dtype == "float32" for tensor in (*spec.inputs, output))
    assert spec.description
    assert spec.source
    if spec.labels:
        assert len(spec.labels) == len(set(spec.labels)) == output.shape[1]
    if spec.task == SEGMENTATION:
        assert len(spec.palette) == len(set(spec.palette)) == len(spec.labels) > 0
        assert output.layout == "NCHW"
        assert output.shape[2:] == spec.inputs[0].shape[2:]
    else:
        assert spec.task == CLASSIFICATION
        assert not spec.palette
        assert output.layout == "NC"


def test_preprocessing_has_one_figure_per_colour_channel(entry):
    preprocess = entry.spec.preprocess
    channels = entry.spec.inputs[0].shape[1]
    if preprocess is None:
        assert channels == 1, "only a grey picture is given as an array"
    else:
        assert len(preprocess.mean) == len(preprocess.std) == channels == 3
        assert all(std > 0 for std in preprocess.std)
        assert preprocess.color == "RGB"


def test_names_are_those_of_the_entries():
    assert [zoo().get(name).spec.name for name in NAMES] == NAMES


@torch.no_grad()
def test_untrained_network_answers_at_a_sane_scale_and_sees_its_input(entry):
    """Parity of an untrained network means something only when its output is neither flat nor exploding."""
    torch.manual_seed(0)
    network = entry.build().eval()
    least = FIXED_SIZE if entry.spec.name == "alexnet" else SMALL
    shapes = [
        (2, tensor.shape[1], *(min(size, least) for size in tensor.shape[2:])) for tensor in entry.spec.inputs
    ]
    first, second = network(*(torch.randn(shape) for shape in shapes))
    assert 1e-3 < first.std() < 1e3
    assert (first - second).std() > 0.05 * first.std()


def test_building_twice_gives_independent_networks():
    one, other = (zoo().get("lenet").build() for _ in range(2))
    before = [parameter.clone() for parameter in other.parameters()]
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


def test_the_card_beside_the_users_own_weights_is_read(tmp_path: Path) -> None:
    entry = zoo().get("lenet")
    (tmp_path / "mine.json").write_text('{"model": "lenet", "terms": "free"}')
    assert entry.card_of(tmp_path / "mine.safetensors") == {"model": "lenet", "terms": "free"}


@pytest.mark.parametrize("text", ['{"model": "unet"}', '{"training": 1}', "[1, 2]"])
def test_a_file_about_something_else_is_no_card(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(text)
    assert zoo().get("lenet").card_of(tmp_path / "mine.safetensors") is None


def test_a_damaged_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"model": ')
    with pytest.raises(UnsupportedError, match=r"mine\.json"):
        zoo().get("lenet").card_of(tmp_path / "mine.safetensors")

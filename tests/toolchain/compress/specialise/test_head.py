from dataclasses import replace

import pytest
import torch
from torch import nn

from toolchain.compress.specialise.head import find_head, select_rows, shrink_head
from toolchain.errors import UnsupportedError
from toolchain.models.zoo import zoo
from toolchain.spec import CLASSIFICATION, SEGMENTATION, ModelSpec, TensorSpec

FACES = {
    "mobile-hourglass": "head",
    "mobile-hourglass-light": "head",
    "mobile-hourglass-video-f16-t3": "tail.head",
    "mobile-hourglass-still-f16-t3": "head",
    "segnet": "head",
}


def small(spec, side=64):
    def resized(tensor):
        return replace(tensor, shape=(*tensor.shape[:2], side, side))

    return replace(spec, inputs=tuple(map(resized, spec.inputs)), outputs=tuple(map(resized, spec.outputs)))


def random_network(entry):
    torch.manual_seed(3)
    network = entry.build().eval()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("name", FACES)
@pytest.mark.parametrize(("classes", "kept"), [(["lips"], [0, 7, 9]), (["brows", "skin"], [0, 1, 2, 3])])
def test_kept_logits_of_a_face_parser_stay_and_the_mask_shrinks(name, classes, kept):
    spec, network = small(zoo().get(name).spec), random_network(zoo().get(name))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    made, smaller = shrink_head(network, spec, classes)

    assert smaller.labels == tuple(spec.labels[index] for index in kept)
    assert smaller.palette == tuple(spec.palette[index] for index in kept)
    assert smaller.outputs[0].shape == (1, len(kept), 64, 64)
    assert [tensor.shape[1] for tensor in smaller.inputs[1:]] == [len(kept)] * len(spec.inputs[1:])
    image = torch.rand(2, 3, 64, 64)
    given = [image, torch.rand(2, len(kept), 64, 64)][: len(spec.inputs)]
    whole = (
        [image, torch.zeros(2, 10, 64, 64).index_copy_(1, torch.tensor(kept), given[-1])]
        if given[1:]
        else given
    )
    with torch.no_grad():
        expected, found = network(*whole)[:, kept], made(*given)
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    # The network that was given is as it was.
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(("name", "head"), FACES.items())
def test_the_head_is_found_by_running(name, head):
    assert find_head(zoo().get(name).build(), small(zoo().get(name).spec)) == head


@pytest.mark.parametrize(
    ("name", "classes", "kept"), [("lenet", ["7", "1"], [1, 7]), ("vgg11", ["dog", "cat"], [3, 5])]
)
def test_kept_logits_of_a_classifier_stay(name, classes, kept):
    entry = zoo().get(name)
    network = entry.build().eval()
    made, smaller = shrink_head(network, entry.spec, classes)
    image = torch.rand(4, *entry.spec.inputs[0].shape[1:])
    torch.testing.assert_close(made(image), network(image)[:, kept])
    assert smaller.outputs[0].shape == (1, 2)
    assert smaller.labels == tuple(entry.spec.labels[index] for index in kept)


def test_new_rows_stand_beside_old_ones():
    entry = zoo().get("lenet")
    network = entry.build().eval()
    made, smaller = select_rows(network, entry.spec, [None, 4, None], ["cat", "4", "dog"])
    image = torch.rand(4, 1, 28, 28)
    assert made(image).shape == (4, 3)
    torch.testing.assert_close(made(image)[:, 1], network(image)[:, 4])
    assert not torch.allclose(made(image)[:, 0], made(image)[:, 2])
    assert smaller.labels == ("cat", "4", "dog")


class Ends(nn.Module):
    """Three classes of a segmenter, with an end of choice."""

    def __init__(self, end):
        super().__init__()
        self.end, self.grouped = end, end == "grouped"
        self.body = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 3, 1, groups=3 if self.grouped else 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.head(self.body(x))
        if self.end == "softmax":
            return y.softmax(1)
        if self.end == "norm":
            return self.norm(y)
        return y


def three_classes(classes=3):
    return ModelSpec(
        "own",
        SEGMENTATION,
        (TensorSpec("image", (1, 3, 8, 8)),),
        (TensorSpec("logits", (1, classes, 8, 8)),),
        labels=("background", "a", "b", "c", "d", "e")[:classes],
    )


@pytest.mark.parametrize(
    ("end", "classes", "said"),
    [
        ("softmax", 3, "not a plain choice of rows"),
        ("norm", 3, "more than the head"),
        ("grouped", 3, "grouped convolution"),
        ("plain", 5, "no convolution and no linear layer"),
    ],
)
def test_what_cannot_be_shrunk_exactly_is_refused(end, classes, said):
    with pytest.raises(UnsupportedError, match=said):
        shrink_head(Ends(end), three_classes(classes), ["b"])


class OddMask(nn.Module):
    """A mask that a convolution reads only after it was squared, or in two places."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.body, self.mask = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1, bias=False)
        self.late, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x, previous):
        read = self.mask(previous**2 if self.way == "squared" else previous)
        if self.way == "twice":
            read = read + self.late(previous)
        return self.head(self.body(x) + read)


def test_a_mask_that_is_read_twice_shrinks_in_both_places():
    spec = replace(three_classes(), inputs=(*three_classes().inputs, TensorSpec("previous", (1, 3, 8, 8))))
    made, _ = shrink_head(OddMask("twice"), spec, ["b"])
    assert (made.mask.in_channels, made.late.in_channels, made.head.out_channels) == (2, 2, 2)
    with pytest.raises(UnsupportedError, match="reads the previous mask"):
        shrink_head(OddMask("squared"), spec, ["b"])


def test_a_transposed_convolution_can_be_the_head():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 3, 2, stride=2))
    made, _ = shrink_head(
        network, replace(three_classes(), outputs=(TensorSpec("y", (1, 3, 16, 16)),)), ["b"]
    )
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(made(image), network(image)[:, [0, 2]])


def test_classification_spec_is_not_needed_to_have_a_palette():
    spec = ModelSpec(
        "own", CLASSIFICATION, (TensorSpec("x", (1, 5)),), (TensorSpec("y", (1, 3)),), labels=("a", "b", "c")
    )
    made, smaller = shrink_head(nn.Sequential(nn.Linear(5, 3, bias=False)), spec, ["c", "a"])
    assert smaller.palette == ()
    assert made(torch.zeros(1, 5)).shape == (1, 2)

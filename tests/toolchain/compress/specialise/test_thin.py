import pytest
import torch
from torch import nn

from toolchain.compress.specialise.thin import channel_groups, parse_shares, thin, weakest
from toolchain.errors import UsageError
from toolchain.models.strided_hourglass import StridedHourglass

EXAMPLE = (torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))


def parser():
    torch.manual_seed(1)
    network = StridedHourglass(8, 2, 8, 3).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.running_var.uniform_(0.5, 1.5)
    return network


def test_groups_are_called_like_their_first_layer():
    groups = channel_groups(parser(), EXAMPLE)
    assert [name for name in groups if not name.startswith("body")] == ["stem.0", "lift", "refine.0"]
    assert len(groups["stem.0"]) == 8
    assert len(groups["body.skip.body.0.0"]) == 16


def test_shares_say_how_many_channels_stay():
    removal = thin(parser(), EXAMPLE, {"stem.0": 0.75, "body.skip*": 0.25, "body*": 0.5, "lift": 0.5})
    widths = {name: len(kept) for name, kept in removal.kept.items()}
    assert (widths["stem.0"], widths["previous"], widths["body.up.body.2"]) == (6, 6, 6)
    assert (widths["body.skip.body.0.0"], widths["body.up.body.0.0"]) == (4, 8)
    assert (widths["lift"], widths["full.0"], widths["refine.0"], widths["head"]) == (4, 4, 8, 3)
    assert removal.network(*EXAMPLE).shape == (1, 3, 64, 64)
    assert removal.left == ()


def test_what_goes_is_what_says_least():
    network = parser()
    with torch.no_grad():
        network.refine[1].weight[[1, 4, 6]] = 1e-4
        network.head.weight[:, 5] = 1e-6
    removal = thin(network, EXAMPLE, {"refine.0": 0.5})
    assert removal.kept["refine.0"] == [0, 2, 3, 7]
    # Their shifts are dropped with them, so the answer moves by no more than these gave.
    with torch.no_grad():
        network.refine[1].bias[[1, 4, 6, 5]] = 0
        network.refine[1].weight[[1, 4, 6, 5]] = 0
        torch.testing.assert_close(removal.network(*EXAMPLE), network(*EXAMPLE), rtol=1e-4, atol=1e-4)


def test_without_normalization_the_filters_themselves_count():
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1)).eval()
    with torch.no_grad():
        network[0].weight[2] *= 1e-3
        network[2].weight[:, 4] *= 1e-3
    image = (torch.rand(1, 3, 4, 4),)
    gone = weakest(network, channel_groups(network, image)["0"], 2)
    assert {slot.index for unit in gone for slot in unit.slots if slot.side == "out"} == {2, 4}
    # One channel stays, whatever the share.
    assert thin(network, image, {"*": 0.001}).kept["0"] != []


@pytest.mark.parametrize("texts", [["0"], ["1.1"], ["body"], ["body=x"], ["0.5", "*=0.4"], ["nan"]])
def test_wrong_shares_are_refused(texts):
    with pytest.raises(UsageError):
        parse_shares(texts)


def test_shares_are_read():
    assert parse_shares(["0.5", "body.*=0.25"]) == {"*": 0.5, "body.*": 0.25}


def test_an_unknown_layer_is_named():
    with pytest.raises(UsageError, match=r"called 'tail\*'") as caught:
        thin(parser(), EXAMPLE, {"tail*": 0.5})
    assert "stem.0" in caught.value.hint

"""Every network of the zoo has the number of parameters that is stated here, and no network is left out."""

import pytest
import torch

from toolchain.models import zoo

COUNTS = {
    "alexnet": 28_700_482,
    "fcn-resnet50": 32_957_013,
    "lenet": 431_080,
    "lenet-cifar": 657_080,
    "mobile-hourglass": 248_066,
    "mobile-hourglass-light": 58_650,
    "mobile-hourglass-still-f16-t3": 86_634,
    "mobile-hourglass-still-f16-t6": 116_874,
    "mobile-hourglass-still-f32-t3": 169_738,
    "mobile-hourglass-still-f32-t6": 273_226,
    "mobile-hourglass-video-f16-t3": 87_418,
    "mobile-hourglass-video-f16-t6": 115_498,
    "mobile-hourglass-video-f32-t3": 169_994,
    "mobile-hourglass-video-f32-t6": 266_090,
    "mobilenetv2": 3_504_872,
    "mobilenetv2-0.35-96": 1_677_128,
    "mobilenetv2-0.5-160": 1_968_680,
    "mobilenetv2-0.75-192": 2_636_424,
    "mobilenetv2-1.4-224": 6_108_776,
    "segnet": 29_448_778,
    "unet": 13_395_914,
    "vgg11": 9_231_114,
}


def test_every_network_has_a_stated_count():
    assert sorted(COUNTS) == list(zoo())


@pytest.mark.parametrize(("name", "count"), COUNTS.items(), ids=COUNTS)
def test_parameter_count(name, count):
    with torch.device("meta"):
        network = zoo().get(name).build()
    assert sum(parameter.numel() for parameter in network.parameters()) == count

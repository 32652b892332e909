"""The product network: an hourglass at half resolution, and a branch at full resolution for the edges.

Sources: as in hourglass.py; a shallow full-resolution branch that is added to the coarse answer late, as in
two-branch segmentation (BiSeNet, arXiv:1808.00897; Fast-SCNN, arXiv:1902.04502).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from toolchain.models.faces import LABELS, face_spec
from toolchain.models.hourglass import DEPTH, SOURCE, Hourglass
from toolchain.models.layers import conv_bn_relu6
from toolchain.models.zoo import register_model

# By how much the logit of a class is raised where the previous mask is sure of it. On the test clips 2, 2.5
# and 3 leave 0.64, 0.61 and 0.59 of the flicker (models/README.md).
HOLD = 3.0


class StridedHourglass(nn.Module):
    """Picture and previous class probabilities in, logits out, both at full resolution.

    ::

        image ----> 3x3 / 2 --+--> hourglass --> 1x1 --> upsample 2 --+--> 3x3 --> 1x1 --> logits
        previous -> pool 2 -> 1x1                                     |
        image ----> 3x3 ----------------------------------------------+
        previous -> times HOLD -------------------------------------> + (not while training)

    Nine tenths of the published network's multiply-adds are spent at full resolution, where faces have
    nothing but edges to show. Here only two narrow convolutions are.

    The previous mask is also a prior of the answer: a pixel changes its class only where the picture says
    so by more than HOLD. This is left out while training, where masks are faked with far larger errors
    than those of the frame before, and the network would learn to overrule them.

    Args:
        width: channels of the hourglass.
        expansion: expansion factor of its blocks.
        detail: channels at full resolution.
        classes: output classes, background included.
    """

    def __init__(
        self, width: int = 40, expansion: int = 5, detail: int = 16, classes: int = len(LABELS)
    ) -> None:
        super().__init__()
        self.stem = conv_bn_relu6(3, width, 3, stride=2)
        self.previous = nn.Conv2d(classes, width, 1)
        self.body = Hourglass(width, expansion, DEPTH)
        self.lift = nn.Conv2d(width, detail, 1)
        self.full = conv_bn_relu6(3, detail, 3)
        self.refine = conv_bn_relu6(detail, detail, 3)
        self.head = nn.Conv2d(detail, classes, 1)

    def forward(self, image: Tensor, previous: Tensor) -> Tensor:
        """(N, 3, H, W) and (N, classes, H, W) -> logits (N, classes, H, W); H, W multiples of 32."""
        x = self.stem(image) + self.previous(functional.avg_pool2d(previous, 2))
        coarse = functional.interpolate(self.lift(self.body(x)), scale_factor=2.0, mode="nearest")
        logits = self.head(self.refine(self.full(image) + coarse))
        return logits if self.training else logits + HOLD * previous


register_model(
    face_spec(
        "mobile-hourglass",
        "face parsing, half-resolution hourglass; ships with weights",
        SOURCE,
        previous=True,
    )
)(StridedHourglass)

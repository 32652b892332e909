"""Every family of the zoo through the whole way: no TRANSPOSE, and the numbers of PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolchain.export import ExportOptions, export_source
from toolchain.models.zoo import zoo
from toolchain.source import resolve

# Small pictures where the network takes any size: what is tested does not depend on it.
FAMILIES = {
    "mobile-hourglass": (1, 3, 64, 64),
    "mobile-hourglass-video-f32-t6": (1, 3, 64, 64),
    "mobile-hourglass-still-f16-t3": (1, 3, 64, 64),
    "unet": (1, 3, 64, 64),
    "segnet": (1, 3, 64, 64),
    "lenet": None,
    "vgg11": None,
    "mobilenetv2-0.35-96": None,
}


def test_every_family_is_covered() -> None:
    assert {zoo().get(name).factory for name in zoo()} == {zoo().get(name).factory for name in FAMILIES}


@pytest.mark.parametrize("name", FAMILIES)
def test_export_has_no_transpose_and_full_parity(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = resolve(name, input_shape=FAMILIES[name])
    artifact = export_source(source, ExportOptions(output=tmp_path))[0]
    assert artifact.ops.get("TRANSPOSE", 0) == 0
    assert artifact.parity is not None
    assert artifact.parity.agreement is not None
    assert artifact.parity.agreement >= 0.999
    assert artifact.parity.sqnr_db >= 100
    assert artifact.inputs[0].layout == "NHWC"

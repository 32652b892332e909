"""Softmax and arg max inside the files, against the network's own scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import UsageError
from toolchain.export import ExportOptions, export_source
from toolchain.head import with_head
from toolchain.runtimes import load
from toolchain.source import Source
from toolchain.spec import SEGMENTATION, ModelSpec, Preprocess, TensorSpec
from toolchain.verify import reference_of

SIZE = 16
FORMATS = ("tflite", "coreml", "mlmodel", "onnx")


def parser() -> Source:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3, padding=1).eval()
    spec = ModelSpec(
        "parser",
        SEGMENTATION,
        (TensorSpec("image", (1, 3, SIZE, SIZE), layout="NCHW"),),
        (TensorSpec("logits", (1, 4, SIZE, SIZE), layout="NCHW"),),
        Preprocess(),
        ("a", "b", "c", "d"),
        ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
    )
    return Source(spec, network)


@pytest.mark.parametrize("head", ["softmax", "argmax"])
def test_reference_is_the_network_with_its_head(head: str) -> None:
    source = parser()
    feeds = {"image": np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)}
    scores = reference_of(source).run(feeds)["logits"]
    made = reference_of(with_head(source, head)).run(feeds)
    expected = torch.from_numpy(scores)
    wanted = expected.softmax(1) if head == "softmax" else expected.argmax(1)
    np.testing.assert_allclose(next(iter(made.values())), wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(("head", "name"), [("softmax", "probabilities"), ("argmax", "labels")])
def test_every_format_has_the_head_inside(head: str, name: str, format_: str, tmp_path: Path) -> None:
    options = ExportOptions([format_], ["fp32"], tmp_path)
    [artifact] = export_source(with_head(parser(), head), options).require_all()
    assert [tensor.name for tensor in artifact.outputs] == [name]
    assert artifact.parity is not None
    assert artifact.parity.agreement is not None
    assert artifact.parity.agreement >= 0.999
    with load(artifact.path) as runtime:
        assert name in {tensor.name for tensor in runtime.outputs}


def test_an_unknown_head_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        with_head(parser(), "sigmoid")
    assert "softmax" in caught.value.hint

"""Operators that are cut out of a file compute what they compute in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from toolchain.converters.graph import clean
from toolchain.converters.tflite import convert
from toolchain.converters.torch_to_onnx import torch_to_onnx
from toolchain.errors import UnsupportedError
from toolchain.runtimes.tflite_parts import (
    least_milliseconds,
    operator_name,
    part_of,
    read_parts,
    signature,
)
from toolchain.spec import TensorSpec

X = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def data() -> bytes:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)).eval()
    graph = torch_to_onnx(network, [TensorSpec("x", (1, 3, 8, 8))], ["y"])
    clean(graph)
    return convert(graph, "fp32").data


def run(data: bytes, x: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    [given] = interpreter.get_input_details()
    [made] = interpreter.get_output_details()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(made["index"])


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4])
def test_two_parts_are_the_whole(data: bytes, place: int) -> None:
    model = read_parts(data)
    operators = model.subgraphs[0].operators
    y = X
    for part in (operators[:place], operators[place:]):
        y = run(part_of(model, part), y) if part else y
    np.testing.assert_allclose(y, run(data, X), rtol=1e-5, atol=1e-6)


def test_equal_operators_have_equal_signatures(data: bytes) -> None:
    model = read_parts(data)
    operators = model.subgraphs[0].operators
    assert [operator_name(model, operator) for operator in operators] == [
        *("CONV_2D", "LOGISTIC", "CONV_2D", "CONV_2D")
    ]
    first, _, second, third = (signature(model, operator) for operator in operators)
    assert first != second
    assert second == third


def test_times_are_milliseconds_and_a_broken_file_is_refused(data: bytes) -> None:
    model = read_parts(data)
    times = least_milliseconds([part_of(model, model.subgraphs[0].operators[:1]), data], rounds=3)
    assert all(0 < found < 1000 for found in times)
    with pytest.raises(UnsupportedError, match="LiteRT cannot run it"):
        least_milliseconds([data[:200]])

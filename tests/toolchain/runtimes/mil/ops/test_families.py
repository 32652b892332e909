"""What these families cover of coremltools' operator set."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from toolchain.runtimes.mil.operators import operators

FAMILIES = {
    "activation": 17,
    "conv": 2,
    "elementwise_binary": 18,
    "elementwise_unary": 27,
    "linear": 3,
    "normalization": 5,
    "pool": 3,
    "reduction": 12,
}
"""Module of coremltools -> number of operators."""

EXPERIMENTAL = {"conv_quantized"}


@pytest.mark.parametrize(("family", "count"), FAMILIES.items())
def test_every_operator_is_known_with_all_its_parameters(coremltools: Any, family: str, count: int) -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    parameters: dict[str, set[str]] = {}
    for name, versions in SSAOpRegistry.core_ops.items():
        for version in versions.values():
            if version.__module__.endswith(f".{family}") and name not in EXPERIMENTAL:
                parameters.setdefault(name, set()).update(version.input_spec.input_types)
    assert len(parameters) == count
    for name, wanted in parameters.items():
        assert wanted <= set(inspect.signature(operators().get(name)).parameters), name

"""The end of classifiers, as coremltools writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.coreml_file import read_coreml
from toolchain.runtimes.mil.execute import Interpreter
from toolchain.runtimes.mil.ops.classify import classify
from toolchain.runtimes.mil.program import read_program


@pytest.mark.parametrize("labels", [["cat", "dog", "a bird"], [7, 3, 2**40]])
def test_label_and_probabilities(coremltools: Any, tmp_path: Path, labels: list) -> None:
    from coremltools.converters.mil.mil import Builder, Function, Placeholder, Program

    program = Program()
    with Function({"x": Placeholder((1, 3))}, opset_version=coremltools.target.iOS15) as function:
        function.set_outputs([Builder.softmax(x=function.inputs["x"], axis=1)])
    program.add_function("main", function)
    model = coremltools.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        compute_precision=coremltools.precision.FLOAT32,
        classifier_config=coremltools.ClassifierConfig(labels),
        skip_model_load=True,
    )
    model.save(str(tmp_path / "classifier.mlpackage"))
    file = read_coreml(tmp_path / "classifier.mlpackage")
    x = np.array([[0.5, 2.0, 1.0]], np.float32)
    label, scores = Interpreter(read_program(file.spec.mlProgram, file.folder)).run({"x": x}).values()
    expected = torch.from_numpy(x).softmax(1).numpy()[0]
    assert label == labels[1]
    assert list(scores) == labels
    np.testing.assert_allclose(list(scores.values()), expected, rtol=1e-6)


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="2 labels for 3"):
        classify(torch.ones(1, 3), ["a", "b"])

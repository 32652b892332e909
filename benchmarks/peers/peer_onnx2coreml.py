"""onnx2coreml (github.com/devin-lai/onnx2coreml) as a job: ONNX file to a saved ML program."""

from __future__ import annotations

import warnings

from peer_job import Clock, Job, NotOfferedError, main

PACKAGES = ("onnx2coreml", "coremltools", "onnx", "numpy")


def convert(job: Job, clock: Clock) -> None:
    """Write the package."""
    warnings.filterwarnings("ignore")
    if job.precision == "int8":
        raise NotOfferedError("onnx2coreml writes fp16 and fp32 only")
    with clock("import"):
        import onnx2coreml
    with clock("convert"):
        model = onnx2coreml.convert(str(job.onnx), format="mlpackage", compute_precision=job.precision)
        model.save(str(job.output))


if __name__ == "__main__":
    main(convert, PACKAGES)

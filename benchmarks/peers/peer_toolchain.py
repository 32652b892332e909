"""Our own conversion as a job, so that it is measured like the others.

From the module: torch.export and torch.onnx to an ONNX file (`export`), that file read, cleaned, lowered and
written (`convert`). `toolchain export` runs and compares every file besides, which no other tool does; that
is not in these times. Core ML files get a tensor, as those of the other converters do, not a picture.
"""

from __future__ import annotations

from dataclasses import replace

from peer_job import Clock, Job, main

PACKAGES = ("mobile-toolchain", "torch", "onnx-ir", "onnxscript", "coremltools", "numpy")
FORMATS = {".tflite": "tflite", ".mlpackage": "coreml"}


def convert(job: Job, clock: Clock) -> None:
    """Write the file."""
    with clock("import"):
        import onnx_ir as ir

        from toolchain.converters.graph import clean
        from toolchain.converters.torch_to_onnx import torch_to_onnx
        from toolchain.quantize import QuantizeOptions, quantized_graph
        from toolchain.source import resolve
        from toolchain.targets import TARGETS, WriteOptions

        target = TARGETS.get(FORMATS[job.output.suffix])
        _import_target(target.name)
    with clock("network"):
        source = resolve(job.name, job.weights)
        names = [tensor.name for tensor in source.spec.outputs]
    with clock("export"):
        assert source.module is not None
        graph = torch_to_onnx(source.module, source.spec.inputs, names)
        written = job.output.parent / f"{job.name}.onnx"
        ir.save(graph, written)
    with clock("convert"):
        graph = ir.load(written)
        clean(graph)
        if job.precision == "int8":
            with clock("quantize"):
                options = QuantizeOptions(calibration=job.calibration)
                graph = quantized_graph(source, graph, job.precision, options)
        spec = replace(source.spec, preprocess=None) if target.name == "coreml" else source.spec
        target.write(graph, WriteOptions(job.precision), job.output, spec)
    written.unlink()


def _import_target(name: str) -> None:
    if name == "coreml":
        from toolchain.converters.coreml.convert import convert as _convert  # noqa: F401
        from toolchain.converters.coreml.lowering import handlers

        handlers()
    else:
        from toolchain.converters.tflite import convert as _write  # noqa: F401


if __name__ == "__main__":
    main(convert, PACKAGES)

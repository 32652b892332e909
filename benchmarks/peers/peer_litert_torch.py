"""litert-torch as a job: torch.export and litert_torch.convert; ai-edge-quantizer for fp16 and int8.

Inputs and outputs are channel-last, which is litert-torch's fastest setting for a CNN. fp16 are weights cast
by ai-edge-quantizer (FLOAT_CASTING); int8 is its recipe static_wi8_ai8 with its default ranges.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peer_job import Clock, Job, main

PACKAGES = ("litert-torch", "litert-converter", "ai-edge-quantizer", "ai-edge-litert", "torch", "numpy")


def convert(job: Job, clock: Clock) -> None:
    """Write the file."""
    with clock("import"):
        import convert_litert_torch as peer
        import litert_torch
        import torch

        from toolchain.models.zoo import zoo

        if job.precision != "fp32":
            import quantize_ai_edge as quantizer
    with clock("network"):
        entry = zoo().get(job.name)
        network = peer.network_with_weights(entry, job.weights)
        module, samples = peer.channel_last(network, entry), peer.channel_last_samples(entry)
        litert_torch.config.show_progress = False
    # The tool traces inside its own call.
    torch.export.export = clock.within("export", torch.export.export)
    with clock("convert"):
        converted = litert_torch.convert(module, samples)
        plain = job.output if job.precision == "fp32" else job.output.with_suffix(".float.tflite")
        converted.export(str(plain))
    if job.precision == "fp16":
        with clock("quantize"):
            job.output.write_bytes(_half(plain))
    if job.precision == "int8":
        with clock("quantize"):
            content, _count = quantizer.int8_content(plain, job.calibration, channels_first=True)
            job.output.write_bytes(content)
    if plain != job.output:
        plain.unlink()


def _half(path: Path) -> bytes:
    """The file with weights in float16, for every operator that the quantizer can give such weights."""
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithms.nonlinear_quantize import float_casting

    made: Any = quantizer.Quantizer(str(path))
    setting = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(16, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    for operator in float_casting.SUPPORTED_WEIGHT_QUANT_OPS:
        made.update_quantization_recipe(".*", operator, setting, quantizer.AlgorithmName.FLOAT_CASTING)
    return bytes(made.quantize(enable_progress_report=False).quantized_model or b"")


if __name__ == "__main__":
    main(convert, PACKAGES)

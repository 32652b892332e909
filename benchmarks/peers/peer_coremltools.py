"""coremltools' PyTorch front end as a job: torch.jit.trace, ct.convert, and saving the package."""

from __future__ import annotations

import warnings

from peer_job import Clock, Job, main

PACKAGES = ("coremltools", "torch", "numpy")
PRECISIONS = {"fp32": "FLOAT32", "fp16": "FLOAT16", "int8": "FLOAT32"}


def convert(job: Job, clock: Clock) -> None:
    """Write the package."""
    warnings.filterwarnings("ignore")
    with clock("import"):
        import coremltools as ct
        import torch
        from safetensors.torch import load_file

        from toolchain.models.zoo import zoo
    with clock("network"):
        entry = zoo().get(job.name)
        network = entry.build().eval()
        network.load_state_dict(load_file(job.weights))
    with clock("export"), torch.no_grad():
        zeros = tuple(torch.zeros(tensor.shape) for tensor in entry.spec.inputs)
        traced = torch.jit.trace(network, zeros, check_trace=False)
    with clock("convert"):
        model = ct.convert(
            traced,
            inputs=[ct.TensorType(name=tensor.name, shape=tensor.shape) for tensor in entry.spec.inputs],
            outputs=[ct.TensorType(name=tensor.name) for tensor in entry.spec.outputs],
            convert_to="mlprogram",
            compute_precision=getattr(ct.precision, PRECISIONS[job.precision]),
            compute_units=ct.ComputeUnit.CPU_ONLY,
            minimum_deployment_target=ct.target.iOS17 if job.precision == "int8" else ct.target.iOS15,
        )
        if job.precision == "int8":
            with clock("quantize"):
                model = _integer(model, job)
        model.save(str(job.output))


def _integer(model: object, job: Job) -> object:
    """int8 activations from the calibration samples, then int8 weights, as coremltools' guide does it."""
    import coremltools.optimize as cto
    import numpy as np

    with np.load(job.calibration) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    count = min(len(array) for array in found.values())
    samples = [{name: array[i : i + 1] for name, array in found.items()} for i in range(count)]
    activations = cto.coreml.experimental.OpActivationLinearQuantizerConfig(mode="linear_symmetric")
    settings = cto.coreml.OptimizationConfig(global_config=activations)
    model = cto.coreml.experimental.linear_quantize_activations(model, settings, samples)
    weights = cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric")
    return cto.coreml.linear_quantize_weights(model, cto.coreml.OptimizationConfig(global_config=weights))


if __name__ == "__main__":
    main(convert, PACKAGES)

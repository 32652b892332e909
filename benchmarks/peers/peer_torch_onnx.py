"""The ONNX file for converters that start from one, as a job: torch.onnx.export with its defaults."""

from __future__ import annotations

from peer_job import Clock, Job, main

PACKAGES = ("torch", "onnx", "onnxscript")
# What this project exports with as well; every converter here reads it.
OPSET = 18


def convert(job: Job, clock: Clock) -> None:
    """Write the ONNX file."""
    with clock("import"):
        import torch
        from safetensors.torch import load_file

        from toolchain.models.zoo import zoo
    with clock("network"):
        entry = zoo().get(job.name)
        network = entry.build().eval()
        network.load_state_dict(load_file(job.weights))
    with clock("export"):
        torch.onnx.export(
            network,
            tuple(torch.zeros(tensor.shape) for tensor in entry.spec.inputs),
            job.output,
            input_names=[tensor.name for tensor in entry.spec.inputs],
            output_names=[tensor.name for tensor in entry.spec.outputs],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


if __name__ == "__main__":
    main(convert, PACKAGES)

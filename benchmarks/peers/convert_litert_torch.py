"""The peer: convert a network of the zoo with litert-torch and record time, memory, operators and parity.

Runs in an environment with litert-torch and this package without its dependencies (`nox -s peers`):

    python benchmarks/peers/convert_litert_torch.py NAME --output build/peers

writes NAME.safetensors (kept when it exists, so that every converter gets the same weights), NAME.tflite and
NAME.json. Inputs and outputs are channel-last, which is litert-torch's fastest setting for a CNN. One
network a process, so that the peak memory is that of this network.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from safetensors.torch import save_file
from torch import nn

from toolchain.benchmarks.memory import peak_megabytes, resident_megabytes
from toolchain.benchmarks.seeded import random_inputs, seeded_network
from toolchain.models import ModelEntry, zoo
from toolchain.models.weights_file import load_weights
from toolchain.spec import TensorSpec

PACKAGES = ("litert-torch", "litert-converter", "ai-edge-litert", "torch", "jax", "numpy")
CHANNEL_FIRST = "NCHW"


def network_with_weights(entry: ModelEntry, weights: Path) -> nn.Module:
    """The network of `entry` with the state dict of `weights`, which is written first when missing."""
    if not weights.is_file():
        state = seeded_network(entry).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, weights)
    network = entry.build()
    load_weights(network, weights)
    return network.eval()


def at_size(entry: ModelEntry, size: int) -> ModelEntry:
    """The network for pictures of `size` x `size`; all picture inputs have the same size."""
    inputs = tuple(
        replace(tensor, shape=(*tensor.shape[:2], size, size)) if tensor.layout == CHANNEL_FIRST else tensor
        for tensor in entry.spec.inputs
    )
    return replace(entry, spec=replace(entry.spec, inputs=inputs))


def image_positions(tensors: tuple[TensorSpec, ...]) -> list[int]:
    """Positions of the tensors whose channels move to the end."""
    return [index for index, tensor in enumerate(tensors) if tensor.layout == CHANNEL_FIRST]


def channel_last(module: nn.Module, entry: ModelEntry) -> nn.Module:
    """The network with NHWC inputs and outputs."""
    inputs, outputs = image_positions(entry.spec.inputs), image_positions(entry.spec.outputs)
    return litert_torch.to_channel_last_io(module, args=inputs, outputs=outputs)


def operators(content: bytes) -> dict[str, int]:
    """Builtin operators of a .tflite and how often each occurs, over all subgraphs."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    used = (codes[operator.opcodeIndex] for graph in model.subgraphs for operator in graph.operators)
    return dict(Counter(names[code] for code in used).most_common())


def parity(network: nn.Module, converted: litert_torch.Model, entry: ModelEntry) -> dict[str, Any]:
    """Signal-to-noise ratio in dB and largest absolute error of the file against torch, one random input."""
    inputs = random_inputs(entry)
    with torch.no_grad():
        wanted = network(*inputs)
    moved = image_positions(entry.spec.inputs)
    arrays = [x.permute(0, 2, 3, 1) if index in moved else x for index, x in enumerate(inputs)]
    got = converted(*(x.numpy() for x in arrays))
    if image_positions(entry.spec.outputs):
        got = np.moveaxis(got, -1, 1)
    noise = got.astype(np.float64) - wanted.numpy()
    power = float(np.square(wanted.numpy(), dtype=np.float64).sum())
    ratio = power / float(np.square(noise).sum()) if noise.any() else math.inf
    return {"sqnr_db": round(10 * math.log10(ratio), 1), "max_abs": float(np.abs(noise).max())}


def convert(entry: ModelEntry, folder: Path, repeats: int) -> dict[str, Any]:
    """Convert into `folder` and return the record; `repeats` conversions are timed, the first is cold."""
    name = entry.spec.name
    network = network_with_weights(entry, folder / f"{name}.safetensors")
    module, samples = channel_last(network, entry), channel_last_samples(entry)
    litert_torch.config.show_progress = False
    baseline = resident_megabytes()
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        converted = litert_torch.convert(module, samples)
        seconds.append(round(time.perf_counter() - start, 3))
        cpu_seconds.append(round(time.process_time() - used, 3))
    peak = peak_megabytes()
    path = folder / f"{name}.tflite"
    converted.export(str(path))
    content = path.read_bytes()
    ops = operators(content)
    return {
        "name": name,
        "path": path.name,
        "bytes": len(content),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "baseline_megabytes": baseline,
        "peak_megabytes": peak,
        "ops": ops,
        "operators": sum(ops.values()),
        "transposes": ops.get("TRANSPOSE", 0),
        "parity": parity(network, converted, entry),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }


def channel_last_samples(entry: ModelEntry) -> tuple[torch.Tensor, ...]:
    """One random input each for `channel_last`."""
    moved = image_positions(entry.spec.inputs)
    inputs = enumerate(random_inputs(entry))
    return tuple(x.permute(0, 2, 3, 1).contiguous() if index in moved else x for index, x in inputs)


def main() -> None:
    """Parse the command line and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a network of the zoo with one output")
    parser.add_argument("--output", type=Path, default=Path("build/peers"), help="folder to write to")
    parser.add_argument("--repeats", type=int, default=3, help="timed conversions")
    parser.add_argument("--size", type=int, help="side of the pictures; default: that of the contract")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    entry = zoo().get(options.name)
    if options.size is not None:
        entry = at_size(entry, options.size)
    record = convert(entry, options.output, options.repeats)
    text = json.dumps(record, indent=2) + "\n"
    (options.output / f"{options.name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

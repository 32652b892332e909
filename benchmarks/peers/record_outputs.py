"""Record what LiteRT computes, so that an older runtime can be compared with it.

    python benchmarks/peers/record_outputs.py FILE.tflite ...

writes FILE.npz beside each file: `input:NAME` holds a random input and `output:NAME` what this environment's
LiteRT made of it, by the names of the file's signature. `run_on_interpreter.py` reads it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from toolchain.benchmarks.latency import random_input

SEED = 0


def record(path: Path) -> Path:
    """Run `path` on random inputs and write inputs and outputs beside it; returns the path of the .npz.

    Raises:
        ValueError: the file cannot be loaded, or has no signature.
    """
    interpreter = Interpreter(model_path=str(path))
    if not interpreter.get_signature_list():
        raise ValueError(f"'{path}' has no signature, so its tensors have no names that last")
    runner = interpreter.get_signature_runner()
    inputs: dict[str, Any] = {
        name: random_input(tuple(detail["shape"]), detail["dtype"], SEED, occurrence)
        for occurrence, (name, detail) in enumerate(sorted(runner.get_input_details().items()))
    }
    outputs = runner(**inputs)
    recorded = path.with_suffix(".npz")
    np.savez(
        recorded,
        **{f"input:{name}": array for name, array in inputs.items()},
        **{f"output:{name}": array for name, array in outputs.items()},
    )
    return recorded


def main() -> None:
    """Record every file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help=".tflite files with a signature")
    for path in parser.parse_args().files:
        record(path)


if __name__ == "__main__":
    main()

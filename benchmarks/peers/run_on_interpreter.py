"""Run .tflite files on an older interpreter and compare with what LiteRT computed.

    python benchmarks/peers/run_on_interpreter.py --runtime tflite_runtime FILE.tflite ...

Reads FILE.npz beside each file (see `record_outputs.py`) and needs numpy and one interpreter only. Every
file is run twice, by signature and by tensor index, since apps in the field do either. The exit status is
1 when a file does not load or an output is off by more than 1e-4 of the largest expected value (or of 1).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-4
RUNTIMES = {
    "tflite_runtime": ("tflite_runtime.interpreter", ("Interpreter",)),
    "tensorflow": ("tensorflow", ("lite", "Interpreter")),
    "ai_edge_litert": ("ai_edge_litert.interpreter", ("Interpreter",)),
}
INPUT, OUTPUT = "input:", "output:"

Arrays = dict[str, np.ndarray]


def interpreter_class(runtime: str) -> Any:
    """The Interpreter class of a runtime, imported now."""
    module, attributes = RUNTIMES[runtime]
    found: Any = importlib.import_module(module)
    for attribute in attributes:
        found = getattr(found, attribute)
    return found


def version(runtime: str) -> str:
    """Version of the runtime and of numpy."""
    module = importlib.import_module(RUNTIMES[runtime][0].partition(".")[0])
    return f"{runtime} {getattr(module, '__version__', '')}, numpy {np.__version__}"


def read_record(path: Path) -> tuple[Arrays, Arrays]:
    """Inputs and expected outputs by name."""
    with np.load(path) as arrays:
        return (
            {key.removeprefix(INPUT): arrays[key] for key in arrays.files if key.startswith(INPUT)},
            {key.removeprefix(OUTPUT): arrays[key] for key in arrays.files if key.startswith(OUTPUT)},
        )


def by_signature(interpreter: Any, inputs: Arrays) -> Arrays:
    """Outputs by the names of the file's signature."""
    return interpreter.get_signature_runner("serving_default")(**inputs)


def by_index(interpreter: Any, inputs: Arrays) -> Arrays:
    """Outputs by tensor name, through indices, as the oldest apps do it."""
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], inputs[detail["name"]])
    interpreter.invoke()
    return {
        detail["name"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()
    }


def worst_error(got: Arrays, wanted: Arrays) -> float:
    """Largest absolute difference over the outputs, each relative to its largest expected value or 1.

    Raises:
        ValueError: names, shapes or types differ.
    """
    if sorted(got) != sorted(wanted):
        raise ValueError(f"outputs are {sorted(got)}, expected {sorted(wanted)}")
    worst = 0.0
    for name, expected in wanted.items():
        found = got[name]
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(
                f"'{name}' is {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}"
            )
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        apart = np.abs(found.astype(np.float64) - expected.astype(np.float64)) / scale
        worst = max(worst, float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0)))
    return worst


def check(path: Path, make_interpreter: Any) -> dict[str, Any]:
    """One row of the report: errors by signature and by index, or why the file failed."""
    row: dict[str, Any] = {"file": path.name}
    try:
        inputs, wanted = read_record(path.with_suffix(".npz"))
        for way in (by_signature, by_index):
            got = way(make_interpreter(model_path=str(path)), inputs)
            row[way.__name__] = worst_error(got, wanted)
        row["ok"] = max(row["by_signature"], row["by_index"]) <= TOLERANCE
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        row.update(ok=False, reason=str(error).splitlines()[0] if str(error) else type(error).__name__)
    return row


def main() -> int:
    """Check every file, write the report as JSON to standard output, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runtime", choices=sorted(RUNTIMES), required=True, help="the installed interpreter"
    )
    parser.add_argument("files", nargs="+", type=Path, help=".tflite files with an .npz beside them")
    options = parser.parse_args()
    make_interpreter = interpreter_class(options.runtime)
    rows = [check(path, make_interpreter) for path in options.files]
    json.dump({"runtime": version(options.runtime), "files": rows}, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

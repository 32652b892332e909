"""The peer: convert a trained network of the int8 comparison with litert-torch.

Runs in the environment of the peer (see `convert_litert_torch`):

    python benchmarks/peers/int8_convert.py NAME --output FOLDER

FOLDER/NAME.safetensors has the weights; writes FOLDER/NAME.tflite and FOLDER/NAME.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

# Run with -P, Python does not look for modules beside the script.
sys.path.append(str(Path(__file__).parent))

from convert_litert_torch import convert

from toolchain.models.zoo import zoo


def main() -> None:
    """Parse the command line, convert and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a network of the zoo")
    parser.add_argument("--output", type=Path, required=True, help="folder with the weights, to write to")
    options = parser.parse_args()
    if not (options.output / f"{options.name}.safetensors").is_file():
        parser.error(f"no weights '{options.output / options.name}.safetensors'")
    record = convert(zoo().get(options.name), options.output, 1)
    text = json.dumps(record, indent=2) + "\n"
    (options.output / f"{options.name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Weights that ship with the zoo: NAME.safetensors and its card NAME.json."""

"""The --input-shape flag: `1,3,224,224`, or `NAME=1,3,224,224` for each of several inputs."""

from __future__ import annotations

from toolchain.errors import UsageError

# TFLite keeps sizes in 32 bits.
LARGEST = 2**31 - 1
HELP = "Shape of the input, 1,3,224,224; NAME=SHAPE for one of several, repeatable."


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]] | tuple[int, ...] | None:
    """Parse the flag's values.

    Returns:
        None without any, a tuple for a single unnamed shape, else a dict by input name.

    Raises:
        UsageError: not a list of positive integers, or named and unnamed shapes mixed.
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return _shape(texts[0])
    named: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, shape = text.rpartition("=")
        if not equals or not name:
            raise UsageError(
                f"--input-shape '{text}' does not say which input", "write NAME=1,3,224,224 for each"
            )
        if name in named:
            raise UsageError(f"--input-shape is given twice for '{name}'", "give one shape for each input")
        named[name] = _shape(shape)
    return named


def _shape(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    plain = all(part.isascii() and part.isdigit() for part in parts)
    sizes = tuple(int(part) for part in parts) if plain else ()
    if not sizes or min(sizes) < 1 or max(sizes) > LARGEST:
        raise UsageError(f"--input-shape '{text}' is not a list of positive integers", "write 1,3,224,224")
    return sizes

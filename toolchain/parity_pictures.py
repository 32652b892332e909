"""Parity pictures of a benchmark's report: what a file makes of an input, and what PyTorch makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from toolchain.benchmarks.reports.measured import Measured
from toolchain.benchmarks.reports.page import ParityPictures, ParitySheet
from toolchain.converters.graph.append_head import HEADS
from toolchain.errors import UsageError
from toolchain.face.colorize import colorize
from toolchain.head import with_head
from toolchain.parity import Arrays, compare, to_pixels
from toolchain.publish import sha256_of
from toolchain.runtimes import SUFFIXES, load
from toolchain.samples import answers, samples
from toolchain.source import Source, resolve
from toolchain.spec import SEGMENTATION, Artifact, load_sidecar, sidecar_path
from toolchain.verify import reference_of, run_file

# Colour of the pixels in which the two differ.
DIFFERENT = (255, 45, 85)


def parity_sheet(
    measured: Sequence[Measured],
    paths: Sequence[Path],
    inputs: str | None = None,
    count: int = 2,
    network: str | None = None,
    weights: Path | None = None,
) -> ParitySheet:
    """Run the measured segmentation files and their networks on the same inputs.

    Args:
        measured: the entries of a report.
        paths: model files with their sidecars, or folders that hold them; entries are found by SHA-256.
        inputs: folder of pictures, arrays or a dataset, see `toolchain.samples.samples`; None for synthetic
            ones.
        count: pictures of each file.
        network: the network that the files were made from; None for the one that each sidecar names.
        weights: its state dict; None for what ships with it.

    Raises:
        UsageError: none of the files was measured, or it is not known what a file was made from.
        UnsupportedError: a sidecar, an input or a file is damaged.
    """
    files = {sha256_of(path): path for path in _files(paths)}
    chosen: dict[str, Measured] = {}
    notes: list[str] = []
    for one in measured:
        sha256 = one.entry.file.sha256 if one.entry.file else ""
        if sha256 in files:
            chosen.setdefault(sha256, one)
        elif one.entry.file is not None:
            notes.append(f"'{one.label}': its file is not among those given.")
    if not chosen:
        raise UsageError(
            "none of the files given for pictures is one that was measured: no SHA-256 is the same",
            "give the files that the results were made from, as they were then",
        )
    strips: list[ParityPictures] = []
    legend: dict[str, tuple[int, int, int]] = {}
    for sha256, one in chosen.items():
        artifact = load_sidecar(files[sha256])
        if artifact.task != SEGMENTATION or artifact.preprocess is None or not artifact.palette:
            notes.append(f"'{one.label}' is no segmentation of pictures, which alone can be shown.")
            continue
        strips += _strips(one.label, artifact, _source_of(artifact, network, weights), inputs, count)
        legend |= dict(zip(artifact.labels[1:], artifact.palette[1:], strict=True))
    if strips:
        notes.insert(0, f"Inputs: {inputs or 'synthetic'}. The last picture marks the pixels that differ.")
    return ParitySheet(strips, [*legend.items(), ("different", DIFFERENT)] if strips else [], notes)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Model files; those in folders need a sidecar."""
    for path in paths:
        # A package of Core ML is a folder itself.
        if path.suffix.lower() in SUFFIXES:
            if not path.exists():
                raise UsageError(f"no model file at '{path}'", "give those that the results were made from")
            yield path
        elif path.is_dir():
            yield from (
                p for p in sorted(path.iterdir()) if p.suffix in SUFFIXES and sidecar_path(p).is_file()
            )
        else:
            raise UsageError(
                f"'{path}' is neither a model file nor a folder", f"files end in {', '.join(SUFFIXES)}"
            )


def _source_of(artifact: Artifact, network: str | None, weights: Path | None) -> Source:
    """The network that a file was made from, with its head.

    Raises:
        UsageError: the sidecar does not say enough, so that another network would be shown.
    """
    if weights is None and "--weights" in artifact.command:
        raise UsageError(
            f"'{artifact.path}' was made with weights of its own: {artifact.command}",
            "give them with --weights, and files of other weights in a report of their own",
        )
    source = resolve(network or artifact.name, weights)
    if not source.trained:
        raise UsageError(
            f"'{network or artifact.name}' ships no weights, so that there is nothing to compare with",
            "give those that the file was made from with --weights",
        )
    names = {name: head for head, (_, name) in HEADS.items()}
    return with_head(source, names.get(artifact.outputs[0].name))


def _strips(
    label: str, artifact: Artifact, source: Source, inputs: str | None, count: int
) -> Iterator[ParityPictures]:
    spec = source.spec
    with reference_of(source) as reference, load(artifact.path) as runtime:
        given, _ = samples(spec, inputs, count)
        used, expected = answers(spec, given, reference.run)
        for sample, truth in zip(used, expected, strict=True):
            found = run_file(runtime, sample, spec, artifact.inputs, artifact.outputs)
            parity = compare([truth], [found], spec.task)
            distance = f"SQNR {parity.sqnr_db:.1f} dB, greatest difference {parity.max_abs:.2g}"
            text = distance if parity.max_abs else "exactly equal"
            if parity.agreement is not None:
                text += f", same label in {100 * parity.agreement:.2f} % of the pixels"
            yield ParityPictures(label, text, _pictures(artifact, source, sample, truth, found))


def _pictures(
    artifact: Artifact, source: Source, sample: Arrays, truth: Arrays, found: Arrays
) -> list[tuple[str, np.ndarray]]:
    """Input, PyTorch, the file and the difference, each (height, width, 3) RGB uint8."""
    assert artifact.preprocess is not None
    pixels = to_pixels(sample[source.spec.inputs[0].name], artifact.preprocess)
    picture = np.ascontiguousarray(np.rint(pixels[0]).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    output = source.spec.outputs[0].name
    wanted, made = (_labels(result[output], picture.shape[:2]) for result in (truth, found))
    pale = np.repeat((picture.mean(-1, keepdims=True) / 3).astype(np.uint8), 3, -1)
    pale[wanted != made] = DIFFERENT
    return [
        ("input", picture),
        ("PyTorch", colorize(picture, wanted, artifact.palette)),
        (f"{artifact.format}, {artifact.precision}", colorize(picture, made, artifact.palette)),
        ("difference", pale),
    ]


def _labels(result: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Label map (height, width) uint8 in the size of the picture, of scores or labels of one picture."""
    import cv2

    labels = (result[0] if result.dtype.kind in "iu" else result[0].argmax(0)).astype(np.uint8)
    return labels if labels.shape == size else cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)

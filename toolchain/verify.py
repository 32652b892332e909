"""Compare model files with the network that they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolchain.errors import UsageError
from toolchain.head import HeadRuntime
from toolchain.parity import Arrays, compare, failures, from_file, is_channels_last, to_file
from toolchain.publish import require_own
from toolchain.runtimes import Runtime, load
from toolchain.runtimes.base import DYNAMIC
from toolchain.samples import answers, samples
from toolchain.source import Source
from toolchain.spec import Artifact, ModelSpec, Parity, TensorSpec, load_sidecar, shape_text, sidecar_path
from toolchain.stored_precision import SIDECAR, StoredPrecision, stored_precision
from toolchain.task_metric import allowed_points

WRONG_NETWORK = "compare the file with the network that it was made from"
# Precisions whose activations are integers.
INTEGER = ("int8", "int16x8")
CHANNELS_LAST = {3: "NWC", 4: "NHWC", 5: "NDHWC"}


@dataclass(frozen=True)
class Verdict:
    """Outcome of a comparison.

    Attributes:
        path: the file.
        runtime: what ran it; None for the default of its format.
        precision: decides the gate; from the sidecar, without one from how the file stores its numbers.
        parity: the figures.
        failures: the gates that it fails, as sentences.
        found: what the precision was read from.
    """

    path: Path
    runtime: str | None
    precision: str
    parity: Parity
    failures: list[str]
    found: str = SIDECAR


def reference_of(source: Source) -> Runtime:
    """The runtime that says what the network computes: torch, or ONNX Runtime for an ONNX file."""
    network = _network_of(source)
    return network if source.head is None else HeadRuntime(network, source)


def _network_of(source: Source) -> Runtime:
    if source.module is not None:
        from toolchain.runtimes.torch_runtime import TorchRuntime

        return TorchRuntime(source.module, source.spec)
    from toolchain.converters.graph.weights_beside import weights_beside
    from toolchain.runtimes.onnx_runtime import OnnxRuntime

    assert source.graph is not None
    return OnnxRuntime(*weights_beside(source.graph))


def run_file(
    runtime: Runtime,
    sample: Arrays,
    spec: ModelSpec,
    inputs: Sequence[TensorSpec] | None = None,
    outputs: Sequence[TensorSpec] | None = None,
) -> Arrays:
    """Run a file on a sample in ONNX order; results come back in ONNX order under the network's names.

    Args:
        runtime: the loaded file.
        sample: one array per input of the network.
        spec: the network's contract.
        inputs: the file's inputs with their layouts; None to find them by name and shape.
        outputs: the same for its outputs.
    """
    inputs = _match(inputs or runtime.inputs, spec.inputs, "input")
    outputs = _match(outputs or runtime.outputs, spec.outputs, "output")
    renamed = dict(zip((t.name for t in inputs), (sample[t.name] for t in spec.inputs), strict=True))
    made = from_file(runtime.run(to_file(renamed, inputs, spec.preprocess)), outputs)
    results = zip(spec.outputs, made.values(), strict=True)
    return {tensor.name: value if tensor.shape else value.reshape(()) for tensor, value in results}


def _match(found: Sequence[TensorSpec], wanted: Sequence[TensorSpec], kind: str) -> list[TensorSpec]:
    """The file's tensors in the order of the network's, with their layout.

    Tensors are matched by name; where the names differ, by position. A tensor with the shape of the
    network's is taken as it is, one with the channel-last shape is transposed.

    Raises:
        UsageError: their number or shapes differ.
    """
    if len(found) != len(wanted):
        raise UsageError(
            f"the file has {len(found)} {kind}s ({_names(found)}), the network has {len(wanted)}"
            f" ({_names(wanted)})",
            WRONG_NETWORK,
        )
    by_name = {tensor.name: tensor for tensor in found}
    named = all(tensor.name in by_name for tensor in wanted)
    pairs = [(by_name[t.name], t) for t in wanted] if named else list(zip(found, wanted, strict=True))
    return [_with_layout(have, want, kind) for have, want in pairs]


def _names(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(tensor.name for tensor in tensors)


def _with_layout(have: TensorSpec, want: TensorSpec, kind: str) -> TensorSpec:
    if not want.shape and have.shape == (1,):
        # Neural networks of Core ML have no scalars.
        return have
    last = (want.shape[0], *want.shape[2:], want.shape[1]) if len(want.shape) >= 3 else want.shape
    # A sidecar knows the layout, so that a shape which fits both ways is no riddle.
    if is_channels_last(have) and _fits(have.shape, last):
        return have
    if not is_channels_last(have) and _fits(have.shape, want.shape):
        return replace(have, layout=want.layout)
    if not have.layout and _fits(have.shape, last):
        return replace(have, layout=CHANNELS_LAST[len(last)])
    raise UsageError(
        f"{kind} '{have.name}' has shape {shape_text(have.shape)}, the network has {shape_text(want.shape)}",
        WRONG_NETWORK,
    )


def _fits(have: Sequence[int], want: Sequence[int]) -> bool:
    """Whether the sizes are equal; one that the file leaves open fits any."""
    return len(have) == len(want) and all(h in (w, DYNAMIC) for h, w in zip(have, want, strict=True))


def _sidecar_of(path: Path) -> Artifact | None:
    """The sidecar beside a file, None without one.

    Raises:
        UsageError: it describes another file.
    """
    if not path.exists() or not sidecar_path(path).is_file():
        return None
    sidecar = load_sidecar(path)
    require_own(sidecar, path)
    return sidecar


def verify(
    path: Path,
    source: Source,
    calibration: str | Path | None = None,
    count: int = 8,
    runtime_name: str | None = None,
    max_drop: float | None = None,
) -> Verdict:
    """Run a file and its network on the same inputs.

    Args:
        path: a model file, ours or not; a sidecar beside it gives layouts and precision.
        source: the network.
        calibration: real inputs; None for synthetic ones.
        count: how many samples at most.
        runtime_name: what runs the file (see `toolchain.runtimes.load`); None for the default of its format.
        max_drop: points that a file with integers may lose, as for `toolchain.export.export`; None for the
            usual gate.

    Raises:
        UsageError: the file does not fit the network, or `max_drop` is given for a file of floats.
    """
    sidecar = _sidecar_of(path)
    with reference_of(source) as reference, load(path, runtime=runtime_name) as runtime:
        inputs, origin = samples(source.spec, calibration, count)
        inputs, expected = answers(source.spec, inputs, reference.run)
        actual = [
            run_file(
                runtime,
                sample,
                source.spec,
                sidecar.inputs if sidecar else None,
                sidecar.outputs if sidecar else None,
            )
            for sample in inputs
        ]
    parity = compare(
        expected, actual, source.spec.task, "torch" if source.module is not None else "onnx", origin
    )
    stored = StoredPrecision(sidecar.precision, SIDECAR) if sidecar else stored_precision(path)
    allowed = None
    if max_drop is not None:
        if stored.name not in INTEGER:
            raise UsageError(f"'{path}' is {stored.name}: --max-drop is for int8 files", "leave it out")
        allowed = allowed_points(source.spec, calibration, max_drop, expected, actual)
    failed = failures(parity, stored.name, source.spec, allowed)
    return Verdict(path, runtime_name, stored.name, parity, failed, stored.found)

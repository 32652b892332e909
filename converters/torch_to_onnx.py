"""A PyTorch module becomes an ONNX graph through torch.export and torch.onnx."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator, Sequence

import onnx_ir as ir
import torch
from torch import nn
from torch.export.graph_signature import OutputKind, TensorArgument

from toolchain.converters.graph.quiet import quiet
from toolchain.errors import UnsupportedError, UsageError
from toolchain.spec import TensorSpec, shape_text

HINT = "use operators that torch.onnx knows, or export to .onnx yourself and convert that file"


def torch_to_onnx(
    module: nn.Module, inputs: Sequence[TensorSpec], output_names: Sequence[str], opset: int = 18
) -> ir.Model:
    """Export a module, in evaluation mode, for fixed input shapes.

    The weights of the graph share memory with those of the module. The module's training flags are
    the same before and after. Nothing is printed or logged.

    Args:
        module: the network; its forward takes one tensor per entry of `inputs`.
        inputs: name, shape and dtype of each input, in the order of `forward`.
        output_names: one name per output tensor, in order.
        opset: version of the ONNX operator set, 18 or newer.

    Raises:
        UsageError: the module cannot run on these shapes, or the names do not fit its outputs.
        UnsupportedError: torch cannot trace the module, or has no ONNX form of one of its operators.
    """
    input_names = [spec.name for spec in inputs]
    _require_unique([*input_names, *output_names])
    with quiet(), _no_collection(), _evaluation(module), torch.no_grad():
        samples = _zeros(module, inputs)
        program = _capture(module, samples, inputs)
        _require_outputs(type(module).__name__, program, output_names)
        model = _translate(module, program, opset)
    _name_tensors(model.graph, input_names, output_names)
    _drop_metadata(model)
    return model


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Tracing makes a million small objects that live on: looking for garbage is a sixth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every submodule's own flag restored outside."""
    flags = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, flag in flags:
            child.training = flag


def _zeros(module: nn.Module, inputs: Sequence[TensorSpec]) -> tuple[torch.Tensor, ...]:
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    samples = []
    for spec in inputs:
        dtype = getattr(torch, spec.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise UsageError(
                f"input '{spec.name}' has the unknown type '{spec.dtype}'", "float32 is the usual one"
            )
        samples.append(torch.zeros(spec.shape, dtype=dtype, device=device))
    return tuple(samples)


def _capture(
    module: nn.Module, samples: tuple[torch.Tensor, ...], inputs: Sequence[TensorSpec]
) -> torch.export.ExportedProgram:
    """Trace the module, and tell one that fails on the inputs at all from one that cannot be traced."""
    name = type(module).__name__
    try:
        program = torch.export.export(module, samples, strict=False)
    except Exception as error:
        _require_run(module, samples, inputs)
        if type(error).__name__ == "GuardOnDataDependentSymNode":
            raise UnsupportedError(
                f"torch cannot trace {name}: a branch or loop depends on the values of a tensor",
                "compute both sides and choose with torch.where, or fix the branch for the export",
            ) from error
        program = _capture_strictly(name, module, samples, error)
    return program


def _capture_strictly(
    name: str, module: nn.Module, samples: tuple[torch.Tensor, ...], error: Exception
) -> torch.export.ExportedProgram:
    """Trace the bytecode instead of running it, which takes longer and sees through some more of Python."""
    try:
        return torch.export.export(module, samples, strict=True)
    except Exception:
        raise UnsupportedError(f"torch cannot trace {name}: {_first_line(error)}", HINT) from error


def _require_run(module: nn.Module, samples: tuple[torch.Tensor, ...], inputs: Sequence[TensorSpec]) -> None:
    try:
        module(*samples)
    except Exception as error:
        shapes = ", ".join(f"{spec.name} {shape_text(spec.shape)} {spec.dtype}" for spec in inputs)
        raise UsageError(
            f"{type(module).__name__} fails on inputs of these shapes ({shapes}): {_first_line(error)}",
            "check the input shape and the number of inputs",
        ) from error


def _require_unique(names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise UsageError(
            f"tensor names are not unique: {', '.join(names)}", "give every input and output its own name"
        )


def _require_outputs(name: str, program: torch.export.ExportedProgram, output_names: Sequence[str]) -> None:
    """Every output must be a tensor with a name; outputs that are None do not count."""
    count = 0
    for spec in program.graph_signature.output_specs:
        value = getattr(spec.arg, "value", None)
        if value is not None:
            raise UnsupportedError(f"{name} returns {value!r}, which is not a tensor", "return tensors only")
        if spec.kind is OutputKind.USER_OUTPUT and isinstance(spec.arg, TensorArgument):
            count += 1
    if count != len(output_names):
        raise UsageError(
            f"{name} has {count} output(s), not {len(output_names)} as the names {', '.join(output_names)}",
            "name every output tensor once",
        )


def _require_constant_state(name: str, program: torch.export.ExportedProgram | None) -> None:
    mutated = [] if program is None else list(program.graph_signature.buffers_to_mutate.values())
    if mutated:
        raise UnsupportedError(
            f"{name} changes its buffer '{mutated[0]}' on every call, which a model file cannot",
            "make the state an input and an output of the network",
        )


def _translate(module: nn.Module, program: torch.export.ExportedProgram, opset: int) -> ir.Model:
    try:
        exported = torch.onnx.export(
            program, args=(), dynamo=True, optimize=False, verify=False, verbose=False, opset_version=opset
        )
    except Exception as error:
        reason = _first_line(_root(error))
        operator = re.search(r"op='([\w.:]+)'", reason)
        if operator:
            reason = f"there is no ONNX form of the operator {operator[1]}"
        raise UnsupportedError(f"torch cannot export {type(module).__name__}: {reason}", HINT) from error
    assert exported is not None
    _require_constant_state(type(module).__name__, exported.exported_program)
    return exported.model


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    """The first line of a message that says something, without torch's multi-line report."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _name_tensors(graph: ir.Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give inputs and outputs their names; inner values that hold one of these names already move aside."""
    _separate_outputs(graph)
    taken = {*inputs, *outputs}
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    inner = [value for node in graph for value in node.outputs] + list(graph.initializers.values())
    for value in inner:
        if value.name in taken and id(value) not in ends:
            value.name = f"{value.name}__inner"
    # Two steps, because an output may carry the name that an input is about to get.
    for index, value in enumerate((*graph.inputs, *graph.outputs)):
        value.name = f"{index}__end"
    for value, name in zip((*graph.inputs, *graph.outputs), (*inputs, *outputs), strict=True):
        value.name = name


def _separate_outputs(graph: ir.Graph) -> None:
    """Put an Identity behind an output that is also an input, a weight or another output."""
    seen: set[int] = set()
    for index, value in enumerate(list(graph.outputs)):
        if id(value) in seen or value.producer() is None:
            node = ir.Node("", "Identity", [value])
            node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
            graph.append(node)
            graph.outputs[index] = node.outputs[0]
        seen.add(id(value))


def _drop_metadata(model: ir.Model) -> None:
    """Remove torch's notes: they hold stack traces with the paths of this computer."""
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
            value.doc_string = None
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    model.metadata_props.clear()
    model.doc_string = None

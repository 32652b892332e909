"""Turn a float program whose tensors know their scales into one that computes with integers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.tflite.integer_constants import (
    is_exact,
    own_parameters,
    own_symmetric,
    signed,
    store,
    store_bias,
    weights_quantization,
    weights_reason,
    with_room_for_bias,
)
from toolchain.converters.tflite.integer_fast import fast_forms
from toolchain.converters.tflite.integer_kernels import KERNELS, Kernel, fixed_output
from toolchain.converters.tflite.integer_rewrites import rewrite_for_integers
from toolchain.converters.tflite.integer_spread import spread
from toolchain.converters.tflite.op_version import lowest_version
from toolchain.converters.tflite.program import Op, Operator, Program, Tensor

FLOAT = np.dtype(np.float32)


@dataclass(frozen=True)
class FloatOperator:
    """An operator of the body that computes with floats.

    Attributes:
        op: its TFLite name.
        node: the ONNX node that it was lowered from.
        node_op: that node's operator.
        reason: why it is not an integer operator.
        view: it only moves numbers.
    """

    op: str
    node: str
    node_op: str
    reason: str
    view: bool = False


def integerize(program: Program, kept_float: Collection[str] = ()) -> tuple[FloatOperator, ...]:
    """Make every operator that can an integer operator, in place; the rest become islands of floats.

    ::

        x -> CONV_2D -> y -> ATAN -> z      x -> QUANTIZE -> CONV_2D -> DEQUANTIZE -> ATAN -> z
        (float values that know their scales)   (float)        (int8)                (float)

    1. Scales spread over tensors that views make (`integer_spread`).
    2. An operator computes with integers if it has an integer kernel (`integer_kernels`) and all its floats
       have scales that the kernel takes.
    3. Weights, biases and other constants are stored as the kernel wants them (`integer_constants`).
    4. Where a kernel wants its operands or results with one scale, or with a fixed one, and they have
       others, a QUANTIZE stands between.
    5. Operators that stay float get a DEQUANTIZE before them and a QUANTIZE behind them.

    Inputs and outputs of the program stay float; see `integer_borders`.

    Args:
        program: fused float program.
        kept_float: names of ONNX nodes that stay float.

    Returns:
        What stays float, with reasons.
    """
    for tensor in program.tensors():
        if tensor.dtype == FLOAT:
            tensor.quantization = signed(tensor.quantization)
    rewrite_for_integers(program)
    spread(program)
    fast_forms(program, kept_float)
    return Integerizer(program, kept_float).run()


class Integerizer:
    """One pass over the operators that makes them integer one by one."""

    def __init__(self, program: Program, kept_float: Collection[str]) -> None:
        self.program = program
        self.kept_float = frozenset(kept_float)
        self.operators: list[Operator] = []
        self.floats: list[FloatOperator] = []
        self._converted: dict[tuple[int, str], Tensor] = {}
        self._names = {tensor.name for tensor in program.tensors()}

    def run(self) -> tuple[FloatOperator, ...]:
        """Convert; returns what stays float."""
        reasons = self._reasons()
        for operator in self.program.operators:
            if not _floats(operator):
                self.operators.append(operator)
                continue
            reason = reasons.get(id(operator)) or reasons.get(id(operator.origin))
            if reason is None:
                self._make_integer(operator)
            else:
                self._keep_float(operator, reason)
        self.program.operators = self.operators
        return tuple(self.floats)

    # Deciding.

    def _reasons(self) -> dict[int, str]:
        """Why operators and ONNX nodes cannot compute with integers, by identity; none for those that can.

        A node is integer as a whole or not at all: in between, its numbers have no scales of the graph.
        """
        reasons: dict[int, str] = {}
        for operator in self.program.operators:
            reason = self._reason(operator) if _floats(operator) else None
            if reason is not None:
                whole = operator if operator.origin is None else operator.origin
                reasons.setdefault(id(whole), reason)
        return reasons

    def _reason(self, operator: Operator) -> str | None:
        """Why an operator cannot compute with integers; None if it can."""
        kernel = KERNELS.get(operator.code)
        if operator.origin is not None and operator.origin.name in self.kept_float:
            return "it was asked to stay float"
        if kernel is None:
            return "TFLite has no integer kernel for it"
        if kernel.weights is not None and not all(_is_finite(used) for used in operator.inputs):
            return "its weights or its bias hold NaN or infinite values"
        tensors = [*_data(operator, kernel), *_float_outputs(operator)]
        for tensor in tensors:
            found = tensor.quantization
            if found is None:
                return _without_scale(operator, tensor)
            if found.axis is not None or found.scale.size != 1:
                return f"'{tensor.name}' has a scale for each channel; kernels take one for an activation"
            if found.dtype not in kernel.types:
                return f"its integer kernel does not take {found.dtype.name}"
            if found.dtype == np.int16 and found.zero_point.any():
                return f"'{tensor.name}' is int16 with a zero point other than 0"
        kinds = {tensor.quantization.dtype for tensor in tensors if tensor.quantization is not None}
        if len(kinds) != 1:
            return "its operands are stored in different types" if kinds else "all of it is constant"
        return _weights_reason(operator, kernel)

    # Converting.

    def _make_integer(self, operator: Operator) -> None:
        kernel = KERNELS[operator.code]
        after: list[Operator] = []
        dtype = _dtype(operator, kernel)
        if kernel.same:
            self._share_scale(operator, after)
        else:
            self._quantize_operands(operator, kernel, dtype)
            fixed = fixed_output(operator.code, dtype)
            if fixed is not None:
                operator.outputs = [self._written(made, fixed, after) for made in operator.outputs]
        for made in operator.outputs:
            if made.dtype == FLOAT:
                made.dtype = dtype
        if operator.code in (Op.ADD, Op.SUB):
            operator.options.potScaleInt16 = False
        operator.version = max(
            operator.version,
            lowest_version(operator.code, operator.inputs, operator.outputs, operator.options),
        )
        self.operators += [operator, *after]

    def _quantize_operands(self, operator: Operator, kernel: Kernel, dtype: np.dtype) -> None:
        if kernel.weights is not None:
            self._quantize_weights(operator, kernel)
            return
        for place, used in enumerate(operator.inputs):
            if used is None or used.dtype != FLOAT:
                continue
            if used.data is None:
                operator.inputs[place] = self.integer(used)
            else:
                found = _operand_quantization(used, dtype)
                if operator.code == Op.BATCH_MATMUL and place == 1:
                    found = own_symmetric(used.data, None, dtype)
                operator.inputs[place] = self._constant(used, found)

    def _quantize_weights(self, operator: Operator, kernel: Kernel) -> None:
        places = kernel.weights
        assert places is not None
        x, weights = operator.inputs[places.data], operator.inputs[places.weights]
        assert x is not None
        assert weights is not None
        bias = operator.inputs[places.bias] if places.bias < len(operator.inputs) else None
        source = x.quantization
        found = weights_quantization(operator, weights, places.axis)
        assert source is not None
        assert isinstance(found, Quantization)
        found = with_room_for_bias(found, source, None if bias is None else bias.data)
        operator.inputs[places.data] = self.integer(x)
        operator.inputs[places.weights] = self._constant(weights, found)
        if bias is not None:
            stored = store_bias(bias, source, found)
            stored.name = self.unique(bias.name)
            operator.inputs[places.bias] = stored

    def _share_scale(self, operator: Operator, after: list[Operator]) -> None:
        """Give operands and results one scale: that of the smaller side, so that least is converted."""
        data = [used for used in operator.inputs if used is not None and used.dtype == FLOAT]
        computed = [used for used in data if used.data is None]
        made = _float_outputs(operator)
        shrinks = len(computed) == 1 and sum(prod(t.shape) for t in made) < prod(computed[0].shape)
        common = (computed if shrinks or not made else made)[0].quantization
        assert common is not None
        for place, used in enumerate(operator.inputs):
            if used is None or used.dtype != FLOAT:
                continue
            if used.data is None:
                operator.inputs[place] = self.integer(used, common)
            else:
                operator.inputs[place] = self._constant(used, common)
        operator.outputs = [
            self._written(tensor, common, after) if tensor.dtype == FLOAT else tensor
            for tensor in operator.outputs
        ]

    def _written(self, made: Tensor, found: Quantization, after: list[Operator]) -> Tensor:
        """The tensor that a kernel writes with these parameters, converted behind it if others are wanted."""
        assert made.quantization is not None
        if made.quantization.same(found):
            return made
        written = Tensor(self.unique(f"{made.name}/written"), made.shape, found.dtype, None, found)
        made.dtype = made.quantization.dtype
        after.append(quantize(written, made))
        return written

    def _keep_float(self, operator: Operator, reason: str) -> None:
        kernel = KERNELS.get(operator.code)
        operator.inputs = [used if used is None else self.float(used) for used in operator.inputs]
        self.operators.append(operator)
        node = operator.origin
        self.floats.append(
            FloatOperator(
                operator.name,
                (node.name if node is not None else None) or operator.outputs[0].name,
                node.op_type if node is not None else operator.name,
                reason,
                kernel is not None and kernel.view,
            )
        )

    # Tensors.

    def integer(self, tensor: Tensor, wanted: Quantization | None = None) -> Tensor:
        """An activation as stored integers, by default with its own scale."""
        own = tensor.quantization
        assert own is not None
        if tensor.dtype == FLOAT:
            tensor = self._cached(tensor, own, "quantized")
        if wanted is None or own.same(wanted):
            return tensor
        return self._cached(tensor, wanted, "requantized")

    def _cached(self, tensor: Tensor, wanted: Quantization, suffix: str) -> Tensor:
        key = (id(tensor), _key(wanted))
        if key not in self._converted:
            name = self.unique(f"{tensor.name}/{suffix}")
            made = Tensor(name, tensor.shape, wanted.dtype, None, wanted)
            self.operators.append(quantize(tensor, made))
            self._converted[key] = made
        return self._converted[key]

    def float(self, tensor: Tensor) -> Tensor:
        """An activation as floats; other tensors as they are."""
        if tensor.data is not None or tensor.quantization is None or tensor.dtype == FLOAT:
            return tensor
        key = (id(tensor), "float")
        if key not in self._converted:
            made = Tensor(self.unique(f"{tensor.name}/float"), tensor.shape, FLOAT)
            self.operators.append(dequantize(tensor, made))
            self._converted[key] = made
        return self._converted[key]

    def _constant(self, tensor: Tensor, found: Quantization) -> Tensor:
        key = (id(tensor), _key(found))
        if key not in self._converted:
            self._converted[key] = store(tensor, found, self.unique(tensor.name))
        return self._converted[key]

    def unique(self, name: str) -> str:
        """A name that no tensor has yet."""
        found, count = name, 1
        while found in self._names:
            count += 1
            found = f"{name}_{count}"
        self._names.add(found)
        return found


def quantize(source: Tensor, made: Tensor) -> Operator:
    """QUANTIZE: from floats, or from integers with other parameters."""
    version = lowest_version(Op.QUANTIZE, [source], [made])
    return Operator(Op.QUANTIZE, [source], [made], schema.QuantizeOptionsT(), version)


def dequantize(source: Tensor, made: Tensor) -> Operator:
    """DEQUANTIZE: the floats that integers stand for."""
    version = lowest_version(Op.DEQUANTIZE, [source], [made])
    return Operator(Op.DEQUANTIZE, [source], [made], schema.DequantizeOptionsT(), version)


def _is_finite(tensor: Tensor | None) -> bool:
    return tensor is None or tensor.data is None or bool(np.isfinite(tensor.data).all())


def _without_scale(operator: Operator, tensor: Tensor) -> str:
    node = operator.origin
    names = (
        () if node is None else {value.name for value in (*node.inputs, *node.outputs) if value is not None}
    )
    if node is None or tensor.name in names:
        return f"'{tensor.name}' has no scale"
    return "it is computed in several steps, and the numbers between them have no scales"


def _key(found: Quantization) -> str:
    return f"{found.dtype}{found.axis}{found.scale.tobytes()!r}{found.zero_point.tobytes()!r}"


def _floats(operator: Operator) -> bool:
    """Whether an operator computes or moves floats, or what has been floats before."""
    used = [tensor for tensor in operator.inputs if tensor is not None]
    return any(
        tensor.dtype == FLOAT or (tensor.data is None and tensor.quantization is not None)
        for tensor in [*used, *operator.outputs]
    )


def _data(operator: Operator, kernel: Kernel) -> list[Tensor]:
    """Activations that an operator reads: floats, or integers that were floats."""
    if kernel.weights is not None:
        places = kernel.weights
        used = [operator.inputs[places.data]]
        # Weights that are computed at run time are treated as activations.
        used += [operator.inputs[place] for place in (places.weights,)]
    else:
        used = list(operator.inputs)
    return [
        tensor
        for tensor in used
        if tensor is not None
        and tensor.data is None
        and (tensor.dtype == FLOAT or tensor.quantization is not None)
    ]


def _float_outputs(operator: Operator) -> list[Tensor]:
    return [tensor for tensor in operator.outputs if tensor.dtype == FLOAT]


def _dtype(operator: Operator, kernel: Kernel) -> np.dtype:
    found = [*_data(operator, kernel), *_float_outputs(operator)][0].quantization
    assert found is not None
    return found.dtype


def _weights_reason(operator: Operator, kernel: Kernel) -> str | None:
    places = kernel.weights
    if places is None:
        return None
    weights = operator.inputs[places.weights]
    bias = operator.inputs[places.bias] if places.bias < len(operator.inputs) else None
    if weights is None or weights.data is None:
        return "its weights are computed at run time"
    if bias is not None and bias.data is None:
        return "its bias is computed at run time"
    return weights_reason(operator, weights, places.axis)


def _operand_quantization(tensor: Tensor, dtype: np.dtype) -> Quantization:
    """How a constant operand is stored: as the graph says, where the kernel takes that."""
    noted = tensor.quantization
    assert tensor.data is not None
    if noted is not None and noted.dtype == dtype and noted.scale.size == 1 and is_exact(tensor.data, noted):
        return Quantization(noted.scale, noted.zero_point, dtype)
    return own_parameters(tensor.data, dtype)

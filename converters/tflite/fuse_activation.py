"""Fuse activations into the operators that compute their input."""

from __future__ import annotations

from collections import Counter

from toolchain.converters.tflite.program import Activation, Op, Operator, Program

FUSIBLE = {
    Op.RELU: Activation.RELU,
    Op.RELU6: Activation.RELU6,
    Op.RELU_N1_TO_1: Activation.RELU_N1_TO_1,
}
# Operators whose kernels, XNNPACK's among them, apply the activation while they write.
PRODUCERS = frozenset(
    {
        Op.CONV_2D,
        Op.DEPTHWISE_CONV_2D,
        Op.FULLY_CONNECTED,
        Op.ADD,
        Op.SUB,
        Op.MUL,
        Op.DIV,
        Op.MAX_POOL_2D,
        Op.AVERAGE_POOL_2D,
    }
)


def fuse_activation(program: Program) -> bool:
    """Fuse RELU, RELU6 and RELU_N1_TO_1 into the operator before.

    ```
    x -> CONV_2D -> y -> RELU6 -> z        x -> CONV_2D(RELU6) -> z
    ```

    1. The activation's input has no other consumer and is no output of the program.
    2. The producer has a fused-activation field that is still free.
    """
    producer = {id(made): operator for operator in program.operators for made in operator.outputs}
    uses = Counter(id(used) for operator in program.operators for used in operator.inputs if used is not None)
    uses.update(id(tensor) for tensor in program.outputs)
    fused: set[int] = set()
    for operator in program.operators:
        if operator.code not in FUSIBLE:
            continue
        source = operator.inputs[0]
        before = producer.get(id(source))
        if before is None or uses[id(source)] != 1 or not _free(before):
            continue
        before.options.fusedActivationFunction = FUSIBLE[operator.code]
        before.outputs = operator.outputs
        producer[id(operator.outputs[0])] = before
        fused.add(id(operator))
    program.operators = [operator for operator in program.operators if id(operator) not in fused]
    return bool(fused)


def _free(operator: Operator) -> bool:
    return operator.code in PRODUCERS and operator.options.fusedActivationFunction == Activation.NONE

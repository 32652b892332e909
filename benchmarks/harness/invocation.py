"""The innermost call of each runtime, with its inputs set: what is timed of a model file.

`Runtime.run` checks and copies arrays, which an app does not do; here it is done once, and what is left is
LiteRT's `invoke`, ONNX Runtime's run on bound inputs and outputs, PyTorch's `forward`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from toolchain.benchmarks.harness.coreml_units import CoreMLUnitRuntime
from toolchain.runtimes import Runtime
from toolchain.runtimes.base import DYNAMIC
from toolchain.runtimes.litert import LiteRTRuntime
from toolchain.runtimes.onnx_runtime import OnnxRuntime
from toolchain.runtimes.torch_runtime import TorchRuntime

Arrays = dict[str, np.ndarray]
TIMED = {
    LiteRTRuntime: "Interpreter.invoke, inputs set before",
    OnnxRuntime: "InferenceSession.run_with_iobinding, inputs and outputs bound before",
    TorchRuntime: "the module's forward in inference mode, tensors made before",
    CoreMLUnitRuntime: "coremltools' predict, images made before",
}
TIMED_OTHERWISE = "run(), with what goes in and comes out"


def invocation(runtime: Runtime, arrays: Arrays) -> Callable[[], Any]:
    """A function that runs the network once on `arrays`, with as little around it as the runtime allows.

    Args:
        runtime: as `toolchain.runtimes.load` gives it.
        arrays: one per input, in its shape and type.
    """
    if isinstance(runtime, LiteRTRuntime):
        return _litert(runtime, arrays)
    if isinstance(runtime, OnnxRuntime):
        return _onnx(runtime, arrays)
    if isinstance(runtime, TorchRuntime):
        return _torch(runtime, arrays)
    if isinstance(runtime, CoreMLUnitRuntime):
        return partial(runtime.predict, runtime.feeds(arrays))
    return lambda: runtime.run(arrays)


def timed(runtime: Runtime) -> str:
    """What `invocation` times, in words."""
    return next((words for kind, words in TIMED.items() if isinstance(runtime, kind)), TIMED_OTHERWISE)


def xnnpack(runtime: LiteRTRuntime) -> bool:
    """Whether a delegate has taken over operators of the loaded file."""
    return any(op["op_name"] == "DELEGATE" for op in runtime._interpreter._get_ops_details())


def _litert(runtime: LiteRTRuntime, arrays: Arrays) -> Callable[[], Any]:
    by_index = {runtime._input_index[name]: array for name, array in arrays.items()}
    runtime._resize(by_index)
    for index, array in by_index.items():
        runtime._interpreter.set_tensor(index, array)
    return runtime._interpreter.invoke


def _onnx(runtime: OnnxRuntime, arrays: Arrays) -> Callable[[], Any]:
    from onnxruntime import OrtValue

    session = runtime._session
    binding = session.io_binding()
    for name, array in arrays.items():
        binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array))
    for spec in runtime.outputs:
        if DYNAMIC in spec.shape or spec.dtype == "bool":
            binding.bind_output(spec.name)
        else:
            made = OrtValue.ortvalue_from_numpy(np.zeros(spec.shape, spec.dtype))
            binding.bind_ortvalue_output(spec.name, made)
    run = session.run_with_iobinding
    return lambda: run(binding)


def _torch(runtime: TorchRuntime, arrays: Arrays) -> Callable[[], Any]:
    import torch

    module = runtime._module
    assert module is not None
    tensors = [torch.from_numpy(arrays[spec.name]).to(runtime._device) for spec in runtime.inputs]

    def forward() -> Any:
        with torch.inference_mode():
            return module(*tensors)

    return forward

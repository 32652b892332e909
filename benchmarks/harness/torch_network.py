"""A network of the zoo in PyTorch, with the number of threads pinned while it is loaded."""

from __future__ import annotations

import torch

from toolchain.models.weights_file import load_weights
from toolchain.models.zoo import ModelEntry
from toolchain.runtimes.torch_runtime import TorchRuntime


class _PinnedTorchRuntime(TorchRuntime):
    def __init__(self, entry: ModelEntry, threads: int) -> None:
        self._threads_before = torch.get_num_threads()
        module = entry.build()
        if entry.weights is not None:
            load_weights(module, entry.weights)
        # PyTorch's depthwise convolutions on a CPU are five times faster in this order.
        super().__init__(module.to(memory_format=torch.channels_last), entry.spec)  # type: ignore[call-overload]
        torch.set_num_threads(threads)

    def _release(self) -> None:
        super()._release()
        torch.set_num_threads(self._threads_before)


def open_network(entry: ModelEntry, threads: int) -> TorchRuntime:
    """The network with the weights that ship with it, else with random ones.

    torch's number of threads is that of the process: closing restores it, in the reverse order of opening.
    """
    return _PinnedTorchRuntime(entry, threads)

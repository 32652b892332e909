"""The arithmetic of a training: bfloat16 where this computer has instructions for it, else float32.

Without them bfloat16 is emulated, and a step of a face parser takes ten times as long as in float32.
"""

from __future__ import annotations

import platform

import torch

AUTO, BFLOAT16, FLOAT16, FLOAT32 = "auto", "bf16-mixed", "16-mixed", "32"
PRECISIONS = (AUTO, BFLOAT16, FLOAT16, FLOAT32)
CPU, CUDA, MPS = "cpu", "cuda", "mps"
X86 = ("x86_64", "amd64", "i686")


def computed(precision: str, accelerator: str = AUTO) -> str:
    """One of PRECISIONS as Lightning's Trainer takes it.

    Args:
        precision: "auto" for bfloat16 where it is fast and float32 elsewhere; anything else stays.
        accelerator: what the Trainer is given.
    """
    if precision != AUTO:
        return precision
    return BFLOAT16 if has_bfloat16(_device(accelerator)) else FLOAT32


def remark(precision: str, accelerator: str = AUTO) -> str:
    """What a user should know about the speed of a precision on this computer; "" for nothing."""
    device = _device(accelerator)
    if precision not in (AUTO, BFLOAT16) or device == MPS or has_bfloat16(device):
        return ""
    if precision == AUTO:
        return "computing in float32, since this computer has no instructions for bfloat16"
    return (
        "bf16-mixed is emulated on this computer, and slow: it has no instructions for bfloat16; "
        "`--precision auto` or `--precision 32` is faster"
    )


def has_bfloat16(device: str) -> bool:
    """Whether a device is known to multiply bfloat16 in hardware; of Apple's GPUs only the newer ones do.

    Args:
        device: CPU, CUDA or MPS.
    """
    if device == CUDA:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != CPU:
        return False
    if platform.machine().lower() in X86:
        # oneDNN also says yes where it has AVX-512 alone, and emulates bfloat16 with that.
        return _flag("_is_avx512_bf16_supported") or _flag("_is_amx_tile_supported")
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _flag(name: str) -> bool:
    """An instruction set that this PyTorch knows, and this processor has."""
    return bool(getattr(torch.cpu, name, lambda: False)())


def _device(accelerator: str) -> str:
    """The device that Lightning takes for an accelerator."""
    if accelerator in (AUTO, "gpu", CUDA) and torch.cuda.is_available():
        return CUDA
    if accelerator in (AUTO, "gpu", MPS) and torch.backends.mps.is_available():
        return MPS
    return CPU

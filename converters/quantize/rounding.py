"""Adaptive rounding: for each weight, up or down, whichever keeps a layer's output closest to the float one.

Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization" (arXiv:2004.10568),
with the asymmetric reconstruction of its section 3.3: a layer reads what the quantized layers before it make.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toolchain.converters.quantize.scheme import WEIGHT_MOST

if TYPE_CHECKING:
    from torch import Tensor

# Rectified sigmoid h(v) = clip(sigmoid(v) * (ZETA - GAMMA) + GAMMA, 0, 1).
ZETA, GAMMA = 1.1, -0.1
# Exponent of the regularizer 1 - |2 h - 1|^beta, from loose to tight after the warm-up.
BETA_START, BETA_END = 20.0, 2.0
WARM_UP = 0.2
PRESSURE = 2.0
RATE = 0.05
BIAS_RATE = 2e-3
BATCH = 512
# Every so many rows one is kept apart, to judge the result on.
HELD_OUT = 8


@dataclass
class Reconstruction:
    """What a layer reads and should make.

    Attributes:
        patches: (rows, groups, K), int8 or float.
        scale, zero_point: of the patches, 1 and 0 for float ones.
        goal: (rows, outputs) float32.
        weights: (groups, outputs of a group, K) float weights.
        step: (outputs,) scales of the weights.
        bias: (outputs,).
        low, high: bounds of the activation that is fused into the layer.
    """

    patches: np.ndarray
    scale: float
    zero_point: int
    goal: np.ndarray
    weights: np.ndarray
    step: np.ndarray
    bias: np.ndarray
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class Rounded:
    """Integers (groups, outputs of a group, K), bias (outputs,), and the squared error on held-out rows
    relative to that of rounding to nearest.
    """

    stored: np.ndarray
    bias: np.ndarray
    error: float


def adaptive_rounding(
    task: Reconstruction, iterations: int, seconds: float | None = None, seed: int = 0
) -> Rounded | None:
    """Choose the roundings, and the bias, by gradient descent.

    Args:
        task: the layer.
        iterations: steps of Adam.
        seconds: at most this long; then fewer steps are taken, and the result depends on the machine.
        seed: of the order of the rows.

    Returns:
        None where rounding to nearest is as good on the rows kept apart.
    """
    import torch

    groups, each, _ = task.weights.shape
    count = len(task.patches)
    x = torch.from_numpy(task.patches).movedim(1, 0)
    goal = _clamp(torch.from_numpy(task.goal), task).reshape(-1, groups, each).movedim(1, 0)
    step = torch.from_numpy(task.step.astype(np.float32)).reshape(groups, each, 1)
    ratio = torch.from_numpy(task.weights.astype(np.float32)) / step
    nearest, floor = ratio.round().clamp(-WEIGHT_MOST, WEIGHT_MOST), ratio.floor()
    bias = torch.from_numpy(task.bias.astype(np.float32)).reshape(groups, 1, each)
    kept = torch.arange(count) % HELD_OUT == 0 if count >= 2 * HELD_OUT else torch.ones(count) > 0
    rows = torch.nonzero(~kept if not kept.all() else kept).reshape(-1)

    def outputs(chosen: torch.Tensor, weights: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        data = (x[:, chosen].float() - task.zero_point) * task.scale
        return torch.baddbmm(offset, data, (weights * step).transpose(1, 2))

    def error(chosen: torch.Tensor, weights: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        return (_clamp(outputs(chosen, weights, offset), task) - goal[:, chosen]).square().mean()

    judged = torch.nonzero(kept).reshape(-1)
    with torch.no_grad():
        reference = float(error(judged, nearest, bias))
        scale = max(float(error(rows, nearest, bias)), 1e-12)
        spread = goal.std(dim=1, keepdim=True).clamp_min(1e-6)
    v = _inverse(ratio - floor).requires_grad_()
    drift = torch.zeros_like(bias).requires_grad_()
    adam = torch.optim.Adam([{"params": [v], "lr": RATE}, {"params": [drift], "lr": BIAS_RATE}])
    generator = torch.Generator().manual_seed(seed)
    start = time.monotonic()
    index = 0
    while index < iterations:
        chosen = rows[torch.randint(len(rows), (min(BATCH, len(rows)),), generator=generator)]
        up = _rectified(v)
        loss = error(chosen, (floor + up).clamp(-WEIGHT_MOST, WEIGHT_MOST), bias + drift * spread) / scale
        progress = (index / iterations - WARM_UP) / (1 - WARM_UP)
        if progress > 0:
            beta = BETA_END + (BETA_START - BETA_END) * 0.5 * (1 + np.cos(progress * np.pi))
            loss = loss + PRESSURE * (1 - (2 * up - 1).abs().pow(beta)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        index += 1
        if index == 10 and seconds is not None:
            iterations = min(iterations, max(int(seconds / (time.monotonic() - start) * 10), 20))
    with torch.no_grad():
        stored = (floor + (_rectified(v) >= 0.5)).clamp(-WEIGHT_MOST, WEIGHT_MOST)
        moved = bias + drift * spread
        found = float(error(judged, stored, moved))
    if found >= reference:
        return None
    return Rounded(
        stored.to(torch.int8).numpy(), moved.reshape(-1).double().numpy(), found / max(reference, 1e-30)
    )


def _clamp(y: Tensor, task: Reconstruction) -> Tensor:
    return y if np.isinf(task.low) and np.isinf(task.high) else y.clamp(task.low, task.high)


def _rectified(v: Tensor) -> Tensor:
    return (v.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def _inverse(share: Tensor) -> Tensor:
    """v with h(v) = share, for shares from 0 to 1."""
    inside = ((share - GAMMA) / (ZETA - GAMMA)).clamp(1e-4, 1 - 1e-4)
    return (inside / (1 - inside)).log()

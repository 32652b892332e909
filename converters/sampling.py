"""Resampling along one axis as ONNX's Resize defines it: which elements an output reads, with which weights.

Source: the definition of Resize in the ONNX operator set, version 19.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.converters.node_view import Refused

COORDINATES_HINT = "use half_pixel, align_corners or asymmetric"


@dataclass(frozen=True)
class Sampling:
    """Resampling of one axis.

    Attributes:
        axis: ONNX axis.
        length: input length.
        size: output length.
        scale: output length over input length, before rounding.
        roi: normalized start and end of the region that tf_crop_and_resize reads.
        mode: coordinate_transformation_mode.
    """

    axis: int
    length: int
    size: int
    scale: float
    roi: tuple[float, float]
    mode: str

    @property
    def whole(self) -> bool:
        """Whether the scale is the ratio of the lengths, up to the resolution of float32."""
        return abs(self.scale * self.length - self.size) <= 1e-5 * self.size

    def coordinates(self) -> np.ndarray:
        """Where each output lies on the input's axis.

        Where the scale is a ratio of whole numbers, so are the coordinates, and the quotients below are
        exact in the cases that decide about rounding. Other scales were rounded to float32 before, and
        float32 arithmetic takes the error back in most cases.

        Raises:
            Refused: unknown coordinate_transformation_mode.
        """
        number: Any = np.float64 if self.whole else np.float32
        x: Any = np.arange(self.size, dtype=number)
        numerator, denominator = number(self.length), number(self.size)
        if not self.whole:
            numerator, denominator = number(1), number(self.scale)
        centres = (2 * x + 1) * numerator / (2 * denominator) - number(0.5)
        if self.mode == "half_pixel":
            return centres
        if self.mode == "asymmetric":
            return x * numerator / denominator
        if self.mode == "pytorch_half_pixel":
            return centres if self.size > 1 else np.zeros_like(x)
        if self.mode == "tf_half_pixel_for_nn":
            return (2 * x + 1) * numerator / (2 * denominator)
        if self.mode == "align_corners":
            return x.astype(np.float64) * (self.length - 1) / max(self.size - 1, 1)
        if self.mode == "half_pixel_symmetric":
            ideal = self.size if self.whole else self.scale * self.length
            return number(self.length / 2 * (1 - self.size / ideal)) + centres
        if self.mode == "tf_crop_and_resize":
            start, end = (np.float32(edge) for edge in self.roi)
            last = np.float32(self.length - 1)
            if self.size == 1:
                return np.array([(start + end) * last / 2])
            return start * last + x.astype(np.float32) * (end - start) * last / np.float32(self.size - 1)
        raise Refused(f"coordinate_transformation_mode '{self.mode}' is unknown", COORDINATES_HINT)

    def outside(self) -> np.ndarray:
        """Which outputs take the extrapolation value."""
        if self.mode != "tf_crop_and_resize":
            return np.zeros(self.size, bool)
        x = self.coordinates()
        return (x < 0) | (x > self.length - 1)

    def nearest(self, rounding: str) -> np.ndarray:
        """Index of the element that each output copies.

        Args:
            rounding: nearest_mode.

        Raises:
            Refused: unknown nearest_mode.
        """
        x = self.coordinates()
        low = np.floor(x)
        if rounding == "round_prefer_floor":
            found = np.where(x - low > 0.5, low + 1, low)
        elif rounding == "round_prefer_ceil":
            found = np.where(x - low >= 0.5, low + 1, low)
        elif rounding == "floor":
            found = low
        elif rounding == "ceil":
            found = np.ceil(x)
        else:
            raise Refused(f"nearest_mode '{rounding}' is unknown", "use round_prefer_floor or floor")
        return np.clip(found, 0, self.length - 1).astype(np.int32)

    def linear(self, antialias: bool = False, exclude_outside: bool = False) -> np.ndarray:
        """Weights (outputs, inputs) of linear interpolation; see `cubic` for the arguments."""
        return self._weights(1, _triangle, antialias, exclude_outside)

    def cubic(self, a: float, antialias: bool = False, exclude_outside: bool = False) -> np.ndarray:
        """Weights (outputs, inputs) of cubic interpolation.

        Args:
            a: cubic_coeff_a.
            antialias: widen the kernel when the axis gets shorter.
            exclude_outside: leave out what lies outside of the input, instead of repeating the edge.
        """
        return self._weights(2, lambda x: _cubic(x, a), antialias, exclude_outside)

    def _weights(
        self, support: int, kernel: Callable[[np.ndarray], np.ndarray], antialias: bool, exclude_outside: bool
    ) -> np.ndarray:
        """A row for each output; elements beyond the ends of the axis repeat the first and the last."""
        x = self.coordinates().astype(np.float64)
        stretch = min(self.scale, 1.0) if antialias else 1.0
        reach = int(np.ceil(support / stretch)) + 1
        taps = np.floor(x)[:, None].astype(np.int64) + np.arange(-reach, reach + 1)
        values = kernel((taps - x[:, None]) * stretch)
        inside = (taps >= 0) & (taps < self.length)
        if exclude_outside:
            values = np.where(inside, values, 0)
        if exclude_outside or antialias:
            values = values / values.sum(axis=1, keepdims=True)
        weights = np.zeros((self.size, self.length))
        rows = np.broadcast_to(np.arange(self.size)[:, None], taps.shape)
        np.add.at(weights, (rows, np.clip(taps, 0, self.length - 1)), values)
        weights[self.outside()] = 0
        return weights.astype(np.float32)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Cubic convolution kernel (Keys, 1981)."""
    x = np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0))

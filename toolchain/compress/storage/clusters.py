"""Weight sharing: the weights of a layer take few values, found by k-means.

Source: Han, Mao, Dally, Deep Compression (arXiv:1510.00149), section 3: the first centroids are evenly spaced
between the smallest and the largest weight, because few weights are large and these matter most. Weights that
are exactly zero were pruned; they stay zero and take part neither in the means nor in the range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toolchain.converters.coreml.palette import Sums, distinct, lloyd, middles

# Lloyd's steps cost no pass over the weights; the largest layers come to rest after some thousands.
MOST_STEPS = 20_000


@dataclass(frozen=True)
class Clusters:
    """Weights as places in a table.

    Attributes:
        values: (entries,) distinct values in ascending order, at most 2 ** bits; 0 is one of them where a
            weight is exactly zero.
        codes: int64, of the shape of the weights: entry of each weight.
    """

    values: Tensor
    codes: Tensor

    def weights(self) -> Tensor:
        """The shared weights, of the type of the values."""
        return self.values[self.codes]


def share(weights: Tensor, bits: int, stored: torch.dtype | None = None) -> Clusters:
    """K-means clusters of the weights; every weight but an exact zero goes to its nearest centroid.

    Where there are no more than 2 ** bits distinct weights, they are the table, and nothing is lost.

    Args:
        weights: finite floating-point numbers of any shape, at least one.
        bits: 1 to 8; the table has at most 2 ** bits entries, the zero included.
        stored: type of the table, that of the weights when None.
    """
    stored = stored or weights.dtype
    wide = torch.float32 if weights.dtype == torch.bfloat16 else weights.dtype
    values, counts, places = distinct(weights.detach().to("cpu", wide).numpy().reshape(-1))
    kept = values != 0
    levels = (1 << bits) - int(not kept.all())
    centroids = _centroids(values[kept], counts[kept], levels)
    # Rounding may move a centroid, so that the nearest one is looked for after it.
    centroids = np.unique(_rounded(centroids, stored) + 0.0)
    table = centroids if kept.all() else np.unique(np.append(centroids, 0.0))
    entries = np.full(len(values), np.searchsorted(table, 0.0))
    if len(centroids):
        nearest = np.searchsorted(middles(centroids), values[kept])
        entries[kept] = np.searchsorted(table, centroids[nearest])
    codes = torch.from_numpy(entries[places].astype(np.int64)).reshape(weights.shape)
    return Clusters(torch.from_numpy(table).to(stored), codes)


def _centroids(values: np.ndarray, counts: np.ndarray, levels: int) -> np.ndarray:
    if len(values) <= levels:
        return values
    # Squares of the largest float64 would overflow.
    scale = np.abs(values).max()
    scaled = values / scale
    start = np.linspace(scaled[0], scaled[-1], levels)
    return lloyd(Sums(scaled, counts), start, MOST_STEPS)[0] * scale


def _rounded(values: np.ndarray, stored: torch.dtype) -> np.ndarray:
    return torch.from_numpy(values).to(stored).double().numpy()

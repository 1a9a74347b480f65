"""What positive and negative tokens add to the surrogate, for every candidate bound in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 2**17  # tokens at a time, so that what lies between stays in the processor's cache


def candidates(start: float, most: float, step: float) -> list[float]:
    """start, start + step, ..., most; counted in steps so that no rounding adds up."""
    steps = math.ceil((most - start) / step - 1e-9)
    return [round(min(start + k * step, most), 12) for k in range(steps + 1)]


@dataclass(frozen=True)
class Contribution:
    """Sums by mode ("active", "surrogate") and candidate bound."""

    positive: dict[str, list[float]]  # at each upper bound
    negative: dict[str, list[float]]  # at each lower bound, as positive numbers

    @classmethod
    def of(
        cls, ratio: Tensor, advantage: Tensor, lows: Sequence[float], highs: Sequence[float]
    ) -> Contribution:
        """ratio, advantage [T] float64; bounds as `candidates` gives them. One pass over tokens."""
        below = _sums(ratio, advantage.clamp(min=0), highs, right=False)
        positive = {
            "active": below.weighted.cumsum(0)[:-1],  # ratio <= high
            "surrogate": below.weighted.cumsum(0)[:-1]
            + _from(below.plain)[1:] * below.edges,  # above: cut to high
        }
        above = _sums(ratio, -advantage.clamp(max=0), lows, right=True)
        negative = {
            "active": _from(above.weighted)[1:],  # ratio >= low
            "surrogate": _from(above.weighted)[1:] + above.plain.cumsum(0)[:-1] * above.edges,
        }
        return cls(
            {mode: sums.tolist() for mode, sums in positive.items()},
            {mode: sums.tolist() for mode, sums in negative.items()},
        )

    def share(self, low: int, high: int, mode: str) -> float:
        """Positive part of the whole at two candidate indices; 1 when there are no negatives."""
        positive, negative = self.positive[mode][high], self.negative[mode][low]
        return positive / (positive + negative) if negative > 0 else 1.0


@dataclass(frozen=True)
class _Sums:
    edges: Tensor  # [B] the bounds
    plain: Tensor  # [B + 1] sums of |A| between them
    weighted: Tensor  # [B + 1] sums of ratio |A|


def _sums(ratio: Tensor, size: Tensor, bounds: Sequence[float], *, right: bool) -> _Sums:
    """Bin k: ratios between bounds k - 1 and k; a ratio on a bound is on its unclipped side."""
    edges = torch.tensor(bounds, dtype=torch.float64, device=ratio.device)
    plain = torch.zeros(len(bounds) + 1, dtype=torch.float64, device=ratio.device)
    weighted = torch.zeros_like(plain)
    for r, s in zip(ratio.split(BLOCK), size.split(BLOCK), strict=True):
        bins = _bins(r, edges, right=right)
        plain.index_add_(0, bins, s)
        weighted.index_add_(0, bins, r * s)
    return _Sums(edges, plain, weighted)


def _bins(x: Tensor, edges: Tensor, *, right: bool) -> Tensor:
    """torch.bucketize for evenly spaced edges, the last of which may be nearer; much faster.

    The bin is computed, then moved by one where rounding or the short last step put it wrong.
    """
    last = len(edges) - 1
    step = edges[1] - edges[0] if last else torch.ones_like(edges[0])
    guess = ((x - edges[0]) / step).clamp(-1, last + 1).ceil_().clamp_(0, last).long()
    at, before = edges[guess], edges[(guess - 1).clamp_(min=0)]
    if right:
        return guess + (x >= at) - ((x < before) & (guess > 0)).long()
    return guess + (x > at) - ((x <= before) & (guess > 0)).long()


def _from(x: Tensor) -> Tensor:
    """Sums from each position to the end."""
    return x.flip(0).cumsum(0).flip(0)

"""What positive and negative tokens add to the surrogate, for every candidate bound in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def candidates(start: float, most: float, step: float) -> list[float]:
    """start, start + step, ..., most; counted in steps so that no rounding adds up."""
    steps = math.ceil((most - start) / step - 1e-9)
    return [min(start + k * step, most) for k in range(steps + 1)]


@dataclass(frozen=True)
class Contribution:
    """Sums by mode ("active", "surrogate") and candidate bound."""

    positive: dict[str, list[float]]  # at each upper bound
    negative: dict[str, list[float]]  # at each lower bound, as positive numbers

    @classmethod
    def of(
        cls, ratio: Tensor, advantage: Tensor, lows: Sequence[float], highs: Sequence[float]
    ) -> Contribution:
        """ratio, advantage [T] float64, no advantage 0. One pass whatever the number of bounds."""
        up = advantage > 0
        below = _sums(ratio[up], advantage[up], highs, right=False)
        positive = {
            "active": below.weighted.cumsum(0)[:-1],  # ratio <= high
            "surrogate": below.weighted.cumsum(0)[:-1]
            + _from(below.plain)[1:] * below.edges,  # above: cut to high
        }
        above = _sums(ratio[~up], -advantage[~up], lows, right=True)
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
    bins = torch.bucketize(ratio, edges, right=right)
    zero = torch.zeros(len(bounds) + 1, dtype=torch.float64, device=ratio.device)
    return _Sums(edges, zero.index_add(0, bins, size), zero.index_add(0, bins, ratio * size))


def _from(x: Tensor) -> Tensor:
    """Sums from each position to the end."""
    return x.flip(0).cumsum(0).flip(0)

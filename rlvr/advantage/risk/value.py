"""From an exam's score to its advantage: the paper's form and the released script's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Levels:
    """Quantile levels and the scores tracked at them, low <= high."""

    alpha: float
    beta: float
    low: float
    high: float


def middle(score: Tensor, at: Levels) -> Tensor:
    """clip(R, low, high) - high: slope 1 between the quantiles, 0 outside, at most 0."""
    return score.clamp(at.low, at.high) - at.high


def paper(score: Tensor, at: Levels, omega: float, *, natural: bool = True) -> Tensor:
    """-(1 + omega) max(low - R, 0) + clip(R, low, high) - high.

    Slopes 1 + omega, 1, 0. The natural baseline gives a mastered exam 0 and every other a negative
    number; without it the whole is raised by high - low.
    """
    value = middle(score, at) - (1 + omega) * (at.low - score).clamp(min=0)
    return value if natural else value + (at.high - at.low)


def released(score: Tensor, at: Levels, omega: float, *, natural: bool = True) -> Tensor:
    """The script's form: each range over its own probability; low counts 4.5 times, not 1.5."""
    shift = 0.0 if natural else at.high - at.low
    range_value = (middle(score, at) + shift) / (at.beta - at.alpha)
    tail = -(at.low - score).clamp(min=0) / at.alpha
    mix = 1 + omega
    return (mix * tail + range_value) / (mix + 1)


def over_spread(value: Tensor, score: Tensor, bundle: Tensor) -> Tensor:
    """Value over the std of its bundle's exam scores.

    A std below 1e-3 counts as 1, where the script divides by 1e-6.
    """
    bundles = int(bundle.max()) + 1 if len(bundle) else 0
    zero = torch.zeros(bundles, dtype=torch.float64)
    count = zero.index_add(0, bundle, torch.ones_like(score))
    mean = zero.index_add(0, bundle, score) / count
    squares = zero.index_add(0, bundle, (score - mean[bundle]) ** 2)
    std = (squares / (count - 1).clamp(min=1)).sqrt()
    return value / torch.where(std < 1e-3, 1.0, std)[bundle]

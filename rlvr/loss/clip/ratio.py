"""The importance ratio and the clipped surrogate that most rules share."""

from __future__ import annotations

import torch
from torch import Tensor

from rlvr.loss.clip.inputs import TokenInputs

LIMIT = 20.0  # nats; beyond e^20 a ratio only makes overflow


def log_ratio(tokens: TokenInputs) -> Tensor:
    """[T] log(new / old), within +-20."""
    return (tokens.logp - tokens.old_logp).clamp(-LIMIT, LIMIT)


def surrogate(ratio: Tensor, weight: Tensor, low: float, high: float, dual: float | None) -> Tensor:
    """-min(r w, clip(r, low, high) w) per token; for w < 0 at most -dual w (arXiv:1707.06347).

    The scale inside w is >= 0, so it commutes with min. At a bound, the unclipped branch keeps its
    gradient.
    """
    objective = torch.where(
        clipped(ratio, weight, low, high, None), ratio.detach().clamp(low, high), ratio
    )
    if dual is not None:
        objective = torch.where((weight < 0) & (ratio > dual), dual, objective)
    return -objective * weight


def clipped(ratio: Tensor, weight: Tensor, low: float, high: float, dual: float | None) -> Tensor:
    """[T] bool: no gradient there."""
    dead = ((weight > 0) & (ratio > high)) | ((weight < 0) & (ratio < low))
    if dual is not None:
        dead = dead | ((weight < 0) & (ratio > dual))
    return dead


def check_bounds(low: float, high: float, dual: float | None) -> None:
    """ValueError unless 0 <= low <= 1 <= high and dual > 1."""
    if not 0 <= low <= 1 <= high:
        raise ValueError(f"the ratio must be allowed to be 1, not only {low}..{high}")
    if dual is not None and dual <= 1:
        raise ValueError(f"dual must be above 1, not {dual}")


def segment_mean(values: Tensor, counted: Tensor, segment: Tensor) -> Tensor:
    """Mean of counted values over each run of equal `segment`, given back to each token, [T].

    Runs are numbered here, in at most T slots, so no size must be read from the device.
    """
    starts = torch.ones_like(segment)
    starts[1:] = (segment[1:] != segment[:-1]).to(segment.dtype)
    run = starts.cumsum(0) - 1
    counted = counted.to(values.dtype)
    total = torch.zeros_like(values).index_add(0, run, values * counted)
    count = torch.zeros_like(values).index_add(0, run, counted)
    return (total / count.clamp(min=1))[run]

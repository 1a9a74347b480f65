"""Estimator x selection x aggregation: one weight a token, fixed for the whole optimiser step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from rlvr.advantage.correct.correction import Correction
from rlvr.advantage.estimate import Estimate, Estimator
from rlvr.advantage.scores import Scores
from rlvr.advantage.select.selection import Selector
from rlvr.errors import UserError


class Aggregator(Protocol):
    """Scores with the kept responses valid, kept tokens [T] bool, to a scale [T] >= 0."""

    def __call__(self, scores: Scores, tokens: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Weights:
    """What the loss is told: `weight = advantage[response] * scale * factor`, its sign the direction."""

    advantage: Tensor  # [N] float64
    kept: Tensor  # [N] bool
    scale: Tensor  # [T] float64, >= 0, 0 on dropped tokens
    factor: Tensor  # [T] float64, >= 0, the importance weight of a correction
    weight: Tensor  # [T] float32
    report: Mapping[str, Mapping[str, Any]]


def weigh(
    scores: Scores,
    estimator: Estimator,
    select: Selector,
    aggregate: Aggregator,
    progress: float = 1.0,
    keep: Tensor | None = None,
    correct: Correction | None = None,
) -> Weights:
    """The weights of one step.

    `keep` [Q] bool is the word of the filter; `progress` in [0, 1] drives schedules; `correct`
    multiplies by the importance weight of the trainer's old policy over the sampler's.

    Raises UserError when a stage gives numbers of the wrong shape or not finite.
    """
    filtered = scores if keep is None else scores.keeping(keep[scores.group])
    seen = scores if getattr(estimator, "before_filter", False) else filtered
    estimate = estimator(seen)
    if not isinstance(estimate, Estimate):
        estimate = Estimate(estimate)
    advantage = _checked(estimate.values, filtered.valid, estimator)
    selection = select(replace(filtered, unit=estimate.unit), advantage, progress)
    kept = selection.keep & filtered.valid
    factor = _factor(scores, correct)
    tokens = selection.tokens & kept[scores.response] & (factor > 0)
    scale = _checked(aggregate(filtered.keeping(kept), tokens), tokens, aggregate)
    return Weights(
        advantage=advantage,
        kept=kept,
        scale=scale,
        factor=factor,
        weight=(advantage[scores.response] * scale * factor).to(torch.float32),
        report={
            "advantage": estimate.report,
            "select": selection.report,
            "correct": {}
            if correct is None
            else {"mean": float(factor.mean()) if len(factor) else 1.0},
        },
    )


def _factor(scores: Scores, correct: Correction | None) -> Tensor:
    """[T] >= 0."""
    if correct is None:
        return torch.ones(len(scores.response), dtype=torch.float64)
    if scores.logprob is None or scores.sampled is None:
        raise ValueError("a correction needs the log-probabilities of trainer and sampler")
    factor = correct(scores.logprob - scores.sampled, scores.response)
    return _checked(factor, torch.ones_like(factor, dtype=torch.bool), correct)


def _checked(values: Tensor, counted: Tensor, stage: object) -> Tensor:
    """Finite float64 where `counted`, 0 elsewhere, whatever the stage said there."""
    name = getattr(stage, "__name__", type(stage).__name__)
    if values.shape != counted.shape:
        shapes = f"{list(values.shape)} where {list(counted.shape)}"
        raise UserError(f"{name} gave shape {shapes} was due")
    values = torch.where(counted, values.to(torch.float64), 0.0)
    if not bool(values.isfinite().all()):
        raise UserError(f"{name} gave a number that is not finite")
    return values

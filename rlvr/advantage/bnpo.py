from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlvr.advantage.beta import Fit, fit, log_weight
from rlvr.advantage.estimate import Estimate
from rlvr.advantage.scores import FLAT, Scores
from rlvr.errors import UserError

MOST = 1e6  # largest weight of a prompt, as released


@dataclass(frozen=True)
class BNPO:
    """Centred reward over a Beta density at the prompt's success rate (BNPO, arXiv:2506.02864).

    A = (r - p) / f(p; alpha, beta), where Beta(a, b) is fitted to the step's success rates and
    alpha = 1 + a/3, beta = 1 + b/3 (never below 1) give the smallest variance. Not covered: rewards
    outside [low, high] (an error); no optimality is claimed for rewards that are not 0 or 1. alpha
    = beta = 1 is dr_grpo, 3/2 is GRPO times pi/8.

    A group that agrees, and a single response, get exactly 0, yet count in the fit. `parts` runs
    the method on each component of the reward and averages over those that are neither always 0 nor
    always 1. TRL's `loss_type="bnpo"` is something else: a denominator.
    """

    low: float = 0.0
    high: float = 1.0
    parts: bool = False
    correct_noise: bool = False  # take the sampling noise of each p out of the variance
    mean_one: bool = False  # divide the weights by their mean, so that the step size stays

    before_filter: ClassVar[bool] = True  # a filter would cut the ends off the distribution

    def __post_init__(self) -> None:
        if self.high <= self.low:
            raise ValueError(f"high must be above low, not {self.low}..{self.high}")

    def __call__(self, scores: Scores) -> Estimate:
        if not self.parts:
            return self._one(scores, scores.reward, "reward")
        if not scores.parts:
            raise UserError("bnpo with parts needs a verifier that gives component rewards")
        apart = {name: self._one(scores, part, name) for name, part in scores.parts.items()}
        live = [each for each in apart.values() if 0 < each.report["mean"] < 1]
        total = sum((each.values for each in live), torch.zeros_like(scores.reward))
        report = {name: dict(each.report) for name, each in apart.items()}
        return Estimate(total / max(len(live), 1), {"parts": report, "live_parts": len(live)})

    def _one(self, scores: Scores, reward: Tensor, name: str) -> Estimate:
        r = torch.where(scores.valid, (reward - self.low) / (self.high - self.low), 0.0)
        if bool(((r < -1e-9) | (r > 1 + 1e-9)).any()):
            raise UserError(f"bnpo needs every {name} in [{self.low:g}, {self.high:g}]")
        seen = scores.prompt_size > 0
        rate, size = scores.prompt_mean(r)[seen], scores.prompt_size[seen]
        noise = _noise(rate, size) if self.correct_noise else 0.0
        found = fit(rate, float(size.mean()) - 1 if len(size) else 0.0, noise)
        informative = scores.valid & (scores.spread(r) > FLAT)
        p = scores.group_mean(r).clamp(0, 1)
        inside = torch.where(informative, p, 0.5)  # at 0 and 1 the numerator is 0 anyway
        weight = log_weight(inside, found.alpha, found.beta).exp().clamp(max=MOST)
        mean = float(weight[informative].mean()) if bool(informative.any()) else 1.0
        if self.mean_one:
            weight = weight / mean
        values = torch.where(informative, weight * (r - p), 0.0)
        return Estimate(values, _report(found, mean))


def _noise(rate: Tensor, size: Tensor) -> float:
    """Mean sampling variance of the success rates, unbiased; groups of one say nothing of it."""
    many = size > 1
    if not bool(many.any()):
        return 0.0
    return float((rate * (1 - rate) / (size - 1).clamp(min=1))[many].mean())


def _report(found: Fit, mean_weight: float) -> dict[str, Any]:
    return {
        "a": found.a,
        "b": found.b,
        "alpha": found.alpha,
        "beta": found.beta,
        "nu": found.nu,
        "mean": found.mean,
        "variance": found.variance,
        "mean_weight": mean_weight,
    }

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.advantage.estimate import Estimate
from rlvr.advantage.scores import Scores
from rlvr.errors import UserError


@dataclass(frozen=True)
class DRPO:
    """Short right answers up, likely wrong ones down, each against its kind (arXiv:2510.04474).

    Coefficients of each response's mean log-likelihood: among a prompt's right answers softmax(-L /
    (C lambda)), among its wrong ones -softmax(s / tau), s the mean log-probability, C =
    `max_tokens`. They sum to 1 and to -1, and no right answer is ever pushed down. Not covered:
    DisCO's ratio score. `lambda_ = inf` is DisCO with the likelihood score, `tau = inf` its plain
    mean over wrong answers.

    Classes follow correctness, not the reward. A prompt without both classes gets 0, and still
    counts as a prompt; an empty response is in neither class. There is no ratio to clip: the loss
    is the log-likelihood with a KL hinge (`delta`, `beta`; clip rule `loglik`), summed over each
    prompt (aggregate `prompt_sum`). The coefficients of wrong answers are fixed at the start of the
    step.
    """

    lambda_: float = 0.1
    tau: float = 10.0
    delta: float = 1e-4
    beta: float = 1e3
    max_tokens: int = 8192

    needs: ClassVar[tuple[str, ...]] = ("length", "logprob")

    def __post_init__(self) -> None:
        if not (self.lambda_ > 0 and self.tau > 0):
            raise ValueError("lambda_ and tau must be above 0 (inf is allowed)")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}")

    def clip_rule(self) -> dict[str, object]:
        """The clip stage that belongs to it, as a tree of settings."""
        return {"name": "loglik", "delta": self.delta, "beta": self.beta}

    def __call__(self, scores: Scores) -> Estimate:
        if scores.logprob is None:
            raise UserError("drpo needs the responses' log-probabilities")
        score = scores.token_mean(scores.logprob)
        there = scores.valid & (scores.length > 0)
        right, wrong = there & scores.correct, there & ~scores.correct
        up, _ = _softmax(scores, -scores.length / (self.max_tokens * self.lambda_), right)
        down, log_mean = _softmax(scores, score / self.tau, wrong)
        both = (_count(scores, right) > 0) & (_count(scores, wrong) > 0)  # [Q]
        values = torch.where(both[scores.group], up - down, 0.0)
        if self.tau == float("inf"):
            penalty = _sum(scores, down * score)
        else:
            penalty = self.tau * log_mean
        objective = torch.where(both, _sum(scores, up * score) - penalty, 0.0)
        prompts = int((scores.prompt_size > 0).sum())
        return Estimate(
            values,
            {
                "objective": float(objective.sum()) / max(prompts, 1),
                "valid_prompts": int(both.sum()),
                "prompts": prompts,
                "right_tokens_mean": _mean(scores.length, right),
                "wrong_tokens_mean": _mean(scores.length, wrong),
            },
        )


def _sum(scores: Scores, x: Tensor) -> Tensor:
    return torch.zeros(scores.prompts, dtype=torch.float64).index_add(0, scores.group, x)


def _count(scores: Scores, mask: Tensor) -> Tensor:
    return _sum(scores, mask.to(torch.float64))


def _softmax(scores: Scores, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax over each prompt's masked responses [N], log of the mean of exp [Q]; else 0."""
    none = float("-inf")
    x = torch.where(mask, x.to(torch.float64), none)
    top = torch.full((scores.prompts,), none, dtype=torch.float64)
    top = top.scatter_reduce(0, scores.group, x, "amax")
    top = torch.where(top.isfinite(), top, 0.0)
    exp = (x - top[scores.group]).exp()
    total = _sum(scores, exp)
    share = exp / torch.where(total > 0, total, 1.0)[scores.group]
    log_mean = top + torch.where(total > 0, total / _count(scores, mask).clamp(min=1), 1.0).log()
    return share, log_mean


def _mean(x: Tensor, mask: Tensor) -> float | None:
    return float(x[mask].to(torch.float64).mean()) if bool(mask.any()) else None

"""What happens to responses that run towards the length limit, before prompts are filtered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores


class Filter(Protocol):
    """Prompts to keep, [Q] bool. `rounds`: how often a step may sample again for dropped ones.

    A filter may also offer `shape(scores) -> Scores`, called first.
    """

    @property
    def rounds(self) -> int: ...

    def __call__(self, scores: Scores, /) -> Tensor: ...


def shaped(group_filter: Filter, scores: Scores) -> Scores:
    """Scores as the filter shapes them; unchanged when it does not."""
    shape = getattr(group_filter, "shape", None)
    return shape(scores) if shape else scores


@dataclass(frozen=True)
class Overlong:
    """Soft penalty or removal of overlong responses (DAPO, arXiv:2503.14476).

    `penalty` subtracts up to `factor` from the reward over the last `cache` tokens before
    `max_tokens`; `drop` leaves truncated responses out of every statistic. `correct` is never
    touched, so filters stay honest.
    """

    overlong: Literal["none", "penalty", "drop"] = "none"
    max_tokens: int = 20480
    cache: int = 4096
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.cache <= self.max_tokens:
            raise ValueError(f"cache must be in 1..{self.max_tokens}, not {self.cache}")

    def shape(self, scores: Scores) -> Scores:
        if self.overlong == "drop":
            return scores.keeping(~scores.truncated)
        if self.overlong == "penalty":
            over = (scores.length - (self.max_tokens - self.cache)) / self.cache
            penalty = -over.clamp(0, 1).to(torch.float64) * self.factor
            reward = torch.where(scores.valid, scores.reward + penalty, 0.0)
            return replace(scores, reward=reward)
        return scores

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class GRPO:
    """Reward against its group, in units of the group's spread (arXiv:2402.03300, eq. 3).

    A = (r - mean) / (std + eps). Not covered: several rewards normalised apart (give the verifier's
    sum). A group that agrees, and a single response, get exactly 0. `spread = "batch"` divides by
    the std of the whole step instead; `limit` cuts |A|, which one success among 128 (A = 11.2)
    makes worth having.
    """

    eps: float = 1e-6
    unbiased: bool = True  # divide by G - 1, as the released implementations do
    spread: Literal["group", "batch"] = "group"
    limit: float | None = None

    def __call__(self, scores: Scores) -> Tensor:
        r = scores.reward
        if self.spread == "group":
            spread = scores.group_std(r, unbiased=self.unbiased)
        else:
            seen = r[scores.valid]
            enough = len(seen) > self.unbiased
            spread = seen.std(correction=int(self.unbiased)) if enough else torch.zeros(())
        advantage = (r - scores.group_mean(r)) / (spread + self.eps)
        if self.limit is not None:
            advantage = advantage.clamp(-self.limit, self.limit)
        return torch.where(scores.informative, advantage, 0.0)

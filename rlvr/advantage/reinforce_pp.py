from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class ReinforcePP:
    """Reward whitened over all tokens of the step, no group needed (REINFORCE++, arXiv:2501.03262).

    A = (v - M) / sqrt(var + eps), v = r, or r - group mean with `baseline`; M and var weigh each
    response by its tokens. Not covered: a KL penalty inside the reward, discounting. A group that
    agrees keeps a non-zero advantage: that is the method. Equal rewards everywhere give 0.
    """

    eps: float = 1e-8  # added to the variance
    baseline: bool = False
    unbiased: bool = True

    needs: ClassVar[tuple[str, ...]] = ("length",)

    def __call__(self, scores: Scores) -> Tensor:
        value = scores.reward
        if self.baseline:
            value = torch.where(scores.informative, value - scores.group_mean(value), 0.0)
        tokens = torch.where(scores.valid, scores.length, 0).to(torch.float64)
        total = tokens.sum()
        mean = (tokens * value).sum() / total.clamp(min=1)
        squares = (tokens * (value - mean) ** 2).sum()
        variance = squares / (total - int(self.unbiased)).clamp(min=1)
        return torch.where(scores.valid, (value - mean) / (variance + self.eps).sqrt(), 0.0)

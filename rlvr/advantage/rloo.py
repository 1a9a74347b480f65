from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class RLOO:
    """Reward against the mean of the group's other responses (arXiv:2402.14740).

    A = G/(G-1) (r - mean), an unbiased baseline. A group that agrees, and a single response, get
    exactly 0.
    """

    def __call__(self, scores: Scores) -> Tensor:
        size = scores.group_size
        centred = scores.reward - scores.group_mean(scores.reward)
        return torch.where(scores.informative, centred * size / (size - 1).clamp(min=1), 0.0)

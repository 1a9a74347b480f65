from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class DrGRPO:
    """Reward against its group, not divided by the spread (arXiv:2503.20783).

    A = r - mean. The paper's other half, a constant denominator, is `--aggregate constant`. A group
    that agrees, and a single response, get exactly 0.
    """

    def __call__(self, scores: Scores) -> Tensor:
        centred = scores.reward - scores.group_mean(scores.reward)
        return torch.where(scores.informative, centred, 0.0)

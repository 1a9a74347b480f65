from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class TokenMean:
    """Every token counts the same: 1 / all kept tokens (DAPO, arXiv:2503.14476).

    Long responses weigh more than short ones.
    """

    def __call__(self, scores: Scores, tokens: Tensor) -> Tensor:
        return tokens.to(torch.float64) / tokens.sum().clamp(min=1)

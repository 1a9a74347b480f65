from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.advantage.correct.correction import check_level, ratio


@dataclass(frozen=True)
class Masked:
    """Masked importance sampling: the ratio within [low, high], nothing outside ("MIS", IcePop).

    What is masked leaves the normaliser too. `level` as for tis: with "geometric" whole responses
    are masked by their mean.
    """

    low: float = 0.5
    high: float = 5.0
    level: str = "token"

    needs_old: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_level(self.level)
        if not 0 <= self.low <= 1 <= self.high:
            raise ValueError("low and high must enclose 1: equal policies have ratio 1")

    def __call__(self, log_ratio: Tensor, response: Tensor) -> Tensor:
        weight = ratio(log_ratio, response, self.level)
        return torch.where((weight >= self.low) & (weight <= self.high), weight, 0.0)

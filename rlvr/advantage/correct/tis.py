from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rlvr.advantage.correct.correction import check_level, ratio


@dataclass(frozen=True)
class Truncated:
    """Truncated importance sampling: min(trainer / sampler, cap) (Ionides 2008; "TIS").

    `level`: the ratio of each token, the product over its response ("sequence"), or the product's
    geometric mean ("geometric").
    """

    cap: float = 2.0
    level: str = "token"

    needs_old: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_level(self.level)
        if self.cap < 1:
            raise ValueError("cap must be at least 1: equal policies have ratio 1")

    def __call__(self, log_ratio: Tensor, response: Tensor) -> Tensor:
        return ratio(log_ratio, response, self.level).clamp(max=self.cap)

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rlvr.loss.clip.inputs import TokenInputs
from rlvr.loss.clip.ratio import check_bounds, log_ratio


@dataclass(frozen=True)
class CISPO:
    """REINFORCE with a capped, detached ratio: no token ever loses its gradient (arXiv:2506.13585).

    loss = -stop(min(r, high)) w logp. The value is not an objective to watch; its gradient is.
    `low` > 0 also lifts small ratios, which the paper leaves off.
    """

    high: float = 5.0
    low: float = 0.0

    per_token: ClassVar[bool] = True
    needs_fit: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_bounds(self.low, self.high, None)

    def __call__(self, tokens: TokenInputs) -> Tensor:
        ratio = log_ratio(tokens).exp().detach()
        return -ratio.clamp(self.low, self.high) * tokens.weight * tokens.logp

    def clipped(self, tokens: TokenInputs) -> Tensor:
        ratio = log_ratio(tokens).exp()
        return (ratio > self.high) | (ratio < self.low)

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rlvr.loss.clip.inputs import TokenInputs
from rlvr.loss.clip.ratio import LIMIT, check_bounds, clipped, log_ratio, segment_mean, surrogate


@dataclass(frozen=True)
class GSPO:
    """One ratio a response, the geometric mean of its tokens', clipped (arXiv:2507.18071).

    Written in the paper's token form, which equals the sequence form while a response has one
    advantage and one scale, and keeps the gradient -weight at ratio 1 in any case. Dropped tokens
    are not in the mean. Its bounds are a thousand times tighter than PPO's: log-probabilities must
    be float32.
    """

    eps_low: float = 3e-4
    eps_high: float = 4e-4
    dual: float | None = None

    per_token: ClassVar[bool] = False
    needs_fit: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_bounds(self.low, self.high, self.dual)

    @property
    def low(self) -> float:
        return 1 - self.eps_low

    @property
    def high(self) -> float:
        return 1 + self.eps_high

    def ratio(self, tokens: TokenInputs) -> Tensor:
        """[T] the response's ratio, with each token's own gradient."""
        mean = segment_mean(log_ratio(tokens).detach(), tokens.scale > 0, tokens.segment)
        own = tokens.logp - tokens.logp.detach()
        return (mean.clamp(-LIMIT, LIMIT) + own).exp()

    def __call__(self, tokens: TokenInputs) -> Tensor:
        return surrogate(self.ratio(tokens), tokens.weight, self.low, self.high, self.dual)

    def clipped(self, tokens: TokenInputs) -> Tensor:
        return clipped(self.ratio(tokens), tokens.weight, self.low, self.high, self.dual)

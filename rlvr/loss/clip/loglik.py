from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rlvr.loss.clip.inputs import Fitted, TokenInputs
from rlvr.loss.clip.ratio import log_ratio


@dataclass(frozen=True)
class LogLikelihood:
    """Weighted log-likelihood, unclipped, with a hinge on the distance moved (arXiv:2510.04474).

    loss = -w logp, plus (beta / 2) max(K - delta, 0)^2 over the minibatch, K the token mean of old
    - new ("k1"; may be negative) or of exp(d) - d - 1 ("k3"). `fit` reads K on the whole minibatch;
    before any update K = 0 and the hinge is off. The hinge enters through its slope: the gradient
    is exact, the value is K times the slope.
    """

    delta: float = 1e-4
    beta: float = 1e3
    distance: Literal["k1", "k3"] = "k1"

    per_token: ClassVar[bool] = True
    needs_fit: ClassVar[bool] = True

    def fit(self, old: TokenInputs) -> Fitted:
        """The rule with this minibatch's hinge. `old.logp`: the policy before the update."""
        count = (old.scale > 0).sum().clamp(min=1)
        moved = float(_distance(self.distance, old).detach().sum() / count)
        over = max(moved - self.delta, 0.0)
        rule = Hinged(self, self.beta * over / float(count))
        report = {"kl": moved, "hinge": self.beta / 2 * over**2, "slope": self.beta * over}
        return Fitted(rule, report)

    def __call__(self, tokens: TokenInputs) -> Tensor:
        return -tokens.weight * tokens.logp

    def clipped(self, tokens: TokenInputs) -> Tensor:
        return torch.zeros_like(tokens.weight, dtype=torch.bool)


@dataclass(frozen=True)
class Hinged:
    """LogLikelihood with the hinge's slope a token put in."""

    rule: LogLikelihood
    slope: float = field(default=0.0)

    per_token: ClassVar[bool] = True
    needs_fit: ClassVar[bool] = False

    def __call__(self, tokens: TokenInputs) -> Tensor:
        return self.rule(tokens) + self.slope * _distance(self.rule.distance, tokens)

    def clipped(self, tokens: TokenInputs) -> Tensor:
        return self.rule.clipped(tokens)


def _distance(kind: str, tokens: TokenInputs) -> Tensor:
    """[T] per token, 0 on dropped tokens."""
    moved = log_ratio(tokens)
    each = -moved if kind == "k1" else moved.exp() - moved - 1
    return torch.where(tokens.scale > 0, each, 0.0)

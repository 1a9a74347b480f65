"""Distance to the reference policy, one number a token, added to the loss with the token's scale.

d = ref - logp. Not covered: a KL penalty inside the reward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.loss.clip.inputs import TokenInputs
from rlvr.loss.clip.ratio import LIMIT

BUILTIN: dict[str, str] = {
    "none": "rlvr.loss.kl:NoKL",
    "k1": "rlvr.loss.kl:K1",
    "k2": "rlvr.loss.kl:K2",
    "k3": "rlvr.loss.kl:K3",
}


@dataclass(frozen=True)
class NoKL:
    """No reference policy, no penalty."""

    needs_reference: ClassVar[bool] = False

    def __call__(self, tokens: TokenInputs) -> Tensor:
        return torch.zeros_like(tokens.logp)


@dataclass(frozen=True)
class _KL:
    beta: float = 0.001

    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ValueError(f"beta must not be negative, not {self.beta}")

    def difference(self, tokens: TokenInputs) -> Tensor:
        """[T] ref - logp, within +-20 nats."""
        if tokens.ref_logp is None:
            raise ValueError("a KL penalty needs the reference policy's log-probabilities")
        return (tokens.ref_logp - tokens.logp).clamp(-LIMIT, LIMIT)


@dataclass(frozen=True)
class K1(_KL):
    """logp - ref: unbiased as a number; as a loss its expected gradient is zero."""

    def __call__(self, tokens: TokenInputs) -> Tensor:
        return -self.beta * tokens.scale * self.difference(tokens)


@dataclass(frozen=True)
class K2(_KL):
    """d^2 / 2: its gradient is that of the reverse KL while on-policy."""

    def __call__(self, tokens: TokenInputs) -> Tensor:
        return self.beta * tokens.scale * self.difference(tokens) ** 2 / 2


@dataclass(frozen=True)
class K3(_KL):
    """exp(d) - d - 1: never negative; the usual GRPO penalty (arXiv:2402.03300, eq. 4)."""

    def __call__(self, tokens: TokenInputs) -> Tensor:
        d = self.difference(tokens)
        return self.beta * tokens.scale * (d.exp() - d - 1)

"""What a clip rule gets, and the shape every rule has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class TokenInputs:
    """Tokens of whole responses laid end to end; any device, any float type."""

    logp: Tensor  # [T] of the policy being trained; the loss is differentiable in it
    old_logp: Tensor  # [T] of the policy at the start of the step
    weight: Tensor  # [T] advantage x scale, signed
    scale: Tensor  # [T] >= 0, 0 on tokens that a selection dropped
    segment: Tensor  # [T] int64 response index; a response's tokens are adjacent
    ref_logp: Tensor | None = None  # [T] of the reference policy


@runtime_checkable
class Rule(Protocol):
    """A clip rule.

    `per_token`: the loss of a token depends on that token alone, so responses may be cut across
    micro-batches. `needs_fit`: `fit` must see the whole minibatch first and gives the rule to use
    for it.
    """

    per_token: ClassVar[bool]
    needs_fit: ClassVar[bool]

    def __call__(self, tokens: TokenInputs, /) -> Tensor: ...

    def clipped(self, tokens: TokenInputs, /) -> Tensor:
        """[T] bool: tokens whose gradient the rule cuts off or caps."""
        ...


@dataclass(frozen=True)
class Fitted:
    """A rule with the minibatch's numbers put in. Call `rule`; `report` holds what was found."""

    rule: Rule
    report: Mapping[str, Any] = field(default_factory=dict)


def clip_fraction(rule: Rule, tokens: TokenInputs) -> Tensor:
    """Share of the tokens with a weight that the rule clips, a scalar; 0 without such tokens."""
    live = tokens.weight != 0
    return (rule.clipped(tokens) & live).sum() / live.sum().clamp(min=1)

"""The token ratio held within bounds: what PPO, DAPO and a fitted BAPO are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from rlvr.loss.clip.inputs import TokenInputs
from rlvr.loss.clip.ratio import check_bounds, clipped, log_ratio, surrogate


class TokenRatio:
    """The behaviour; whoever inherits says `low`, `high` and `dual`."""

    if TYPE_CHECKING:  # a field or a property

        @property
        def low(self) -> float: ...

        @property
        def high(self) -> float: ...

    dual: float | None

    per_token: ClassVar[bool] = True
    needs_fit: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_bounds(self.low, self.high, self.dual)

    def __call__(self, tokens: TokenInputs) -> Tensor:
        ratio = log_ratio(tokens).exp()
        return surrogate(ratio, tokens.weight, self.low, self.high, self.dual)

    def clipped(self, tokens: TokenInputs) -> Tensor:
        ratio = log_ratio(tokens).exp()
        return clipped(ratio, tokens.weight, self.low, self.high, self.dual)


@dataclass(frozen=True)
class Within(TokenRatio):
    """Token ratio clipped to [low, high]; negative weights never count more than `dual` times."""

    low: float
    high: float
    dual: float | None = None


@dataclass(frozen=True)
class Epsilon(TokenRatio):
    """Token ratio clipped to [1 - eps_low, 1 + eps_high]."""

    eps_low: float = 0.2
    eps_high: float = 0.2
    dual: float | None = None

    low: float = field(init=False, repr=False)
    high: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", 1 - self.eps_low)
        object.__setattr__(self, "high", 1 + self.eps_high)
        super().__post_init__()

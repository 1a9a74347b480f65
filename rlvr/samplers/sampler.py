"""What a sampler is: settings in a frozen dataclass, and the engine that `open` makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rlvr.errors import UserError
from rlvr.types import Group, Request

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase


class Engine(Protocol):
    """Requests in, groups out as they finish. Every response carries the version it was written by."""

    def stream(
        self, requests: Iterable[Request], *, seed: int, greedy: bool = False
    ) -> Iterator[Group]:
        """Groups in the order they finish; the responses of a group in sampling order.

        The same engine, weights, requests and seed give the same groups.
        """
        ...

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Answer with these weights from now on.

        Raises SafetyStop when what it would answer with is not what was sent.
        """
        ...

    def close(self) -> None: ...


class Sampler(Protocol):
    """The settings every sampler has."""

    max_tokens: int
    temperature: float

    def open(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> Engine:
        """An engine that answers with `model`'s weights as they are now, as version 0."""
        ...


@dataclass(frozen=True)
class Limits:
    """Settings that all samplers share. Checked here once."""

    max_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError("max_tokens must be at least 1")
        if self.temperature <= 0:
            raise ValueError("temperature must be above 0 (greedy decoding belongs to `rlvr eval`)")
        if not 0 < self.top_p <= 1:
            raise ValueError("top_p is a share: 0 < top_p <= 1")
        if self.top_k < 0:
            raise ValueError("top_k must not be negative (0 keeps the whole vocabulary)")

    def refuse_truncated(self) -> None:
        """Truncated sampling multiplies every ratio by the kept mass: refused for training."""
        if self.top_p < 1 or self.top_k > 0:
            raise UserError(
                "top_p and top_k below the whole vocabulary bias the importance ratio by the mass they "
                "drop: train with --sampler.top_p 1 --sampler.top_k 0 (evaluation may use them)"
            )

"""What a sampler is: settings in a frozen dataclass, and the engine that `open` makes of them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from rlvr.errors import UserError
from rlvr.types import Answer, Request

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from rlvr.samplers.fingerprint import Fingerprint


Answers = Generator[Answer, None, None]  # closing it cancels what is not finished


class Engine(Protocol):
    """Requests in, responses out as they finish. Every response carries the version it was written by."""

    cancelled: int  # tokens of responses that were begun and never handed out, since `open`

    def stream(self, requests: Iterable[Request], *, seed: int, greedy: bool = False) -> Answers:
        """Responses in the order they finish.

        The same engine, weights, requests and seed give the same responses.
        """
        ...

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Answer with these weights from now on, as `version`."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Copying(Protocol):
    """An engine that answers with a copy of the weights: every sync is checked (`rlvr.sync`)."""

    dtype: torch.dtype  # of the copy

    def received(self) -> Fingerprint:
        """Of the weights that the last `load` took in."""
        ...

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Tensor]:
        """Log-probabilities [L] of each (prompt, continuation)'s continuation at temperature 1."""
        ...


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
    segment: int = (
        0  # tokens a response may get in a step, the rest later (needs staleness); 0: all
    )
    old_logprobs: str = "engine"  # what a ratio is over: the engine's word, or the trainer's own

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError("max_tokens must be at least 1")
        if self.temperature <= 0:
            raise ValueError("temperature must be above 0 (greedy decoding belongs to `rlvr eval`)")
        if self.segment < 0:
            raise ValueError("segment must not be negative (0 writes every response in one go)")
        if self.segment and self.stop:
            raise ValueError("segment may cut a stop string in two: leave one of them out")
        if self.old_logprobs not in ("engine", "trainer"):
            raise ValueError(f"old_logprobs is engine or trainer, not '{self.old_logprobs}'")
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


DTYPES = ("auto", "float32", "bfloat16", "float16")


def refuse_dtype(name: str) -> None:
    if name not in DTYPES:
        raise ValueError(f"dtype is {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, not '{name}'")


def engine_dtype(name: str, device: torch.device) -> torch.dtype:
    """What an engine computes in; auto is the trainer's own choice: bfloat16 on a GPU."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    chosen: torch.dtype = getattr(torch, name)
    return chosen

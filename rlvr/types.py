"""The nouns of the project. Everything that flows between the five parts is one of these.

Legend of letters, used in brackets at every tensor: Q prompts, N responses, T tokens of all responses laid end to end,
L tokens of one response, V vocabulary, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Status(StrEnum):
    """How judging a response ended. All but BROKEN are statements about the response."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"  # no answer could be found in the response
    TIMEOUT = "timeout"  # the response's own answer or program took too long or too much
    FORBIDDEN = "forbidden"  # it tried what the sandbox or the read-only database denies
    BROKEN = "broken"  # our side failed: no reward, left out of every statistic


class Finish(StrEnum):
    """Why a response ended."""

    STOP = "stop"  # end-of-sequence token or a stop string
    LENGTH = "length"  # ran into the token limit: truncated


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one response.

    `reward` is None exactly when `status` is BROKEN. `parts` holds the components of a composed reward.

    >>> Verdict.of(True).reward
    1.0
    """

    status: Status
    reward: float | None
    detail: str = ""
    seconds: float = 0.0
    extracted: str | None = None  # the answer that was compared
    parts: Mapping[str, float] = field(default_factory=dict)
    isolation: str = ""  # the sandbox tier that was active, where one was

    def __post_init__(self) -> None:
        if (self.reward is None) != (self.status is Status.BROKEN):
            raise ValueError(f"a {self.status} verdict cannot have reward {self.reward}")

    @property
    def correct(self) -> bool:
        return self.status is Status.CORRECT

    @classmethod
    def of(cls, outcome: Verdict | bool | float | int) -> Verdict:
        """A verdict from what a plain function returned: a verdict, a truth value or a reward."""
        if isinstance(outcome, Verdict):
            return outcome
        reward = float(outcome)
        if reward != reward or reward in (float("inf"), float("-inf")):
            return cls.broken(f"the verifier returned {reward}")
        return cls(Status.CORRECT if reward > 0 else Status.WRONG, reward)

    @classmethod
    def wrong(cls, detail: str = "", **more: Any) -> Verdict:
        return cls(Status.WRONG, 0.0, detail, **more)

    @classmethod
    def broken(cls, detail: str, **more: Any) -> Verdict:
        return cls(Status.BROKEN, None, detail, **more)


@dataclass(frozen=True, slots=True)
class Problem:
    """One verifiable question.

    `prompt` is either a plain string (a base model continues it) or a list of chat messages. `fields` are handed to the
    verifier by keyword, beside `reference`.

    >>> Problem("arithmetic-train-0", "2+3=", "5").reference
    '5'
    """

    id: str
    prompt: str | list[dict[str, str]]
    reference: object = None
    fields: Mapping[str, object] = field(default_factory=dict)
    split: str = "train"


@dataclass(frozen=True, slots=True)
class Request:
    """So many responses to one problem, please. `prompt_ids` are what the policy is conditioned on."""

    problem: Problem
    prompt_ids: tuple[int, ...]
    responses: int
    max_tokens: int | None = None  # a response; None: what the sampler's settings say
    expected: float = 0.0  # tokens a response, from what is known of the problem; 0: nothing


@dataclass(frozen=True, slots=True)
class Rollout:
    """One response as it was sampled: ids and log-probabilities are kept, text is derived and never encoded again."""

    prompt_ids: tuple[int, ...]
    tokens: Tensor  # [L] int64, including the end-of-sequence token where there is one
    logprobs: Tensor  # [L] float32, of the distribution that was sampled from
    text: str
    finish: Finish
    version: int  # of the policy that wrote it
    verdict: Verdict | None = None
    versions: Tensor | None = (
        None  # [L] int64, where several policies wrote it; `version`: the oldest
    )

    @property
    def length(self) -> int:
        return int(self.tokens.shape[0])

    @property
    def truncated(self) -> bool:
        return self.finish is Finish.LENGTH


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished response: number `index` of those that `request` asked for."""

    request: Request
    index: int
    rollout: Rollout


@dataclass(frozen=True, slots=True)
class Group:
    """All responses to one problem in one step. Groups may have any size."""

    problem: Problem
    rollouts: tuple[Rollout, ...]

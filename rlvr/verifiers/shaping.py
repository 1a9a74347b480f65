"""Terms added to a reward: functions of the verdict and the response, nothing else.

Not covered: lengths in tokens. A verifier sees text; characters are what these terms count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from rlvr import registry
from rlvr.errors import UserError, unknown
from rlvr.types import Verdict

Term = Callable[[Verdict, str], float]


@dataclass(frozen=True)
class Length:
    """Nothing up to `limit - buffer` characters, then linearly to minus `weight` at `limit`.

    The soft overlong punishment of DAPO (arXiv:2503.14476, eq. 13), in characters.

    >>> Length(limit=100, buffer=20)(Verdict.of(True), "x" * 90)
    -0.5
    """

    limit: int = 8000  # characters
    buffer: int = 2000  # characters
    weight: float = 1.0
    correct_only: bool = False  # leave wrong responses as they are

    def __call__(self, verdict: Verdict, response: str) -> float:
        if self.correct_only and not verdict.correct:
            return 0.0
        over = len(response) - (self.limit - self.buffer)
        return -self.weight * min(1.0, max(0.0, over / max(1, self.buffer)))


@dataclass(frozen=True)
class Repetition:
    """Costs `weight` times the share of word sequences that were there before, above `free`.

    >>> Repetition(words=2, free=0.0)(Verdict.of(True), "a b a b a b")
    -0.6
    """

    words: int = 8  # in a sequence
    free: float = 0.2  # share of repeated sequences that costs nothing
    weight: float = 1.0

    def __call__(self, verdict: Verdict, response: str) -> float:
        words = response.split()
        count = len(words) - self.words + 1
        if count < 1:
            return 0.0
        different = len({tuple(words[start : start + self.words]) for start in range(count)})
        return -self.weight * max(0.0, 1 - different / count - self.free)


TERMS: dict[str, type] = {"length": Length, "repetition": Repetition}


def term(value: Any) -> tuple[str, Term]:
    """A term and its name, from `"length"`, a mapping of name and settings, or the term itself."""
    settings: dict[str, Any] = {}
    if isinstance(value, Mapping):
        settings = {str(key): inner for key, inner in value.items()}
        value = settings.pop("name", None)
    if not isinstance(value, str):
        if not callable(value):
            raise UserError(f"{value!r} is not a shaping term")
        name = getattr(value, "__name__", type(value).__name__)
        return name.lower(), cast("Term", value)
    if value not in TERMS and ":" not in value:
        raise unknown("shaping term", value, TERMS)
    target: Any = TERMS[value] if value in TERMS else registry.load("verifier", value).target
    try:
        built: Term = target(**settings) if isinstance(target, type) else target
    except (TypeError, ValueError) as error:
        raise UserError(f"shaping term {value}: {error}") from error
    return value.rsplit(":", 1)[-1].lower(), built

"""Whether a response looks as it should."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from rlvr.types import Verdict


@dataclass(frozen=True)
class Format:
    r"""The response matches a regular expression (default: it has a `\boxed{`).

    Made to stand in a gate or a weighted sum. A pattern that backtracks for ever ends at the pool's
    deadline.
    """

    pattern: str = r"\\boxed\s*\{"
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r}: {error}") from error

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.DOTALL)

    def __call__(self, response: str, reference: object = None, **fields: object) -> Verdict:
        if self._compiled.search(response):
            return Verdict.of(True)
        return Verdict.wrong("the format is not met")

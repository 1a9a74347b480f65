from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Uniform:
    """Every problem gets the same number of responses."""

    def allocate(self, problem_ids: Sequence[str], responses: int) -> list[int]:
        return [responses] * len(problem_ids)

    def observe(self, problem_ids: Sequence[str], outcomes: Sequence[Sequence[bool]]) -> None:
        """Nothing is learned from them."""

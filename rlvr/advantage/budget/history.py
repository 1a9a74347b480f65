"""What is known of each problem's success rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 16  # outcomes; a visit this long speaks for itself


@dataclass(frozen=True)
class Record:
    """One problem's past: attempts ever, its rate over the last visit or last WINDOW outcomes."""

    attempts: int = 0
    rate: float = 0.0
    recent: tuple[bool, ...] = ()  # at most WINDOW, oldest first

    def after(self, visit: Sequence[bool]) -> Record:
        """The record once the outcomes of one more visit are in."""
        if not visit:
            return self
        recent = (*self.recent, *visit)[-WINDOW:]
        seen = visit if len(visit) >= WINDOW else recent
        return Record(self.attempts + len(visit), sum(seen) / len(seen), recent)

"""Cases as text: `=== name | status` and what follows is the response."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class TextCase:
    name: str
    statuses: tuple[str, ...]
    text: str


def read_cases(name: str) -> list[TextCase]:
    cases: list[TextCase] = []
    for block in (HERE / name).read_text().split("\n=== ")[1:]:
        head, _, text = block.partition("\n")
        title, _, statuses = head.partition(" | ")
        cases.append(TextCase(title, tuple(statuses.strip().split("/")), text))
    return cases

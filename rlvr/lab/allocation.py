"""What a budget would do with a history of successes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr.errors import UserError
from rlvr.lab import saved

MEAN = 8  # responses a problem when no total is given


@dataclass(frozen=True)
class Past:
    """One prompt and how often it was answered right."""

    prompt: Any
    successes: int
    attempts: int


def is_history(path: Path) -> bool:
    """Whether the file's first object counts attempts rather than holding a response."""
    for _, record in saved.lines(path):
        return "attempts" in record or "successes" in record
    return False


def read(path: Path) -> dict[str, Past]:
    """Prompts by key, in order of first appearance; several lines on one prompt add up."""
    found: dict[str, Past] = {}
    for number, record in saved.lines(path):
        if "prompt" not in record:
            raise UserError(f"line {number}: no prompt")
        right, tried = (saved.count(record, name, number) for name in ("successes", "attempts"))
        if right > tried:
            raise UserError(f"line {number}: {right} successes in {tried} attempts")
        prompt = record["prompt"]
        key = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
        past = found.get(key, Past(prompt, 0, 0))
        found[key] = Past(prompt, past.successes + right, past.attempts + tried)
    if not found:
        raise UserError(f"{path} holds no prompts")
    return found


def allocate(path: Path, budget: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Output rows and the budget's own report."""
    history = read(path)
    ids = [*history]
    budget.observe(
        ids,
        [
            [True] * past.successes + [False] * (past.attempts - past.successes)
            for past in history.values()
        ],
    )
    counts = budget.allocate(ids, MEAN)
    report = budget.report() if hasattr(budget, "report") else {"spent": sum(counts)}
    rows = [
        {"prompt": past.prompt, "responses": count}
        for past, count in zip(history.values(), counts, strict=True)
    ]
    return rows, report

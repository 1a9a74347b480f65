from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rlvr.advantage.budget.greedy import share, spend
from rlvr.advantage.budget.history import Record
from rlvr.errors import UserError

KNOWN = 8  # attempts before a problem's rate is believed
SCHEMA = 1


@dataclass(frozen=True)
class Knapsack:
    """Responses where both outcomes are likely and there is most to learn (arXiv:2509.25849).

    Maximises the sum of (1 - p^n - (1-p)^n) p (1-p)^2 exactly, n in [low, high], for a total of
    `total` responses (None: the run's usual number). New problems (under 8 attempts) get the mean;
    always-right and always-wrong ones get `low`. `fallback` names the estimate of what the rest can
    use ("probability" 0.9 of seeing both outcomes, "expectation" the mean until both); what goes
    beyond it is given to always-wrong problems. Budget stays unspent only when every problem with 0
    < p < 1 is at `high`, and is then reported. Not covered: cost in tokens.

    Its state is the success history of each problem id; ids must survive a restart. The official
    solver differs: it ignores the value of `low` itself and is slightly below the optimum.
    """

    total: int | None = None
    low: int = 2
    high: int = 128
    fallback: Literal["probability", "expectation", "none"] = "probability"
    records: dict[str, Record] = field(default_factory=dict, init=False, compare=False, repr=False)
    last: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 2 <= self.low <= self.high:
            raise ValueError(f"low and high must be 2 <= low <= high, not {self.low}, {self.high}")
        if self.total is not None and self.total < 1:
            raise ValueError(f"total must be at least 1, not {self.total}")

    def allocate(self, problem_ids: Sequence[str], responses: int) -> list[int]:
        """Responses for each problem, at least 1. `responses`: the mean when `total` is not set."""
        size = len(problem_ids)
        if not size:
            return []
        total = self.total if self.total is not None else size * responses
        low = self.low if total >= size * self.low else max(1, total // size)
        rates = [self._rate(problem) for problem in problem_ids]
        mean = min(max(total // size, low), self.high)
        counts = [mean if rate is None else low for rate in rates]
        left = self._give(counts, rates, total - sum(counts), mean)
        self.last.clear()
        self.last.update(_report(counts, rates, total, left))
        return counts

    def _rate(self, problem: str) -> float | None:
        record = self.records.get(problem)
        return record.rate if record and record.attempts >= KNOWN else None

    def _give(self, counts: list[int], rates: Sequence[float | None], extra: int, mean: int) -> int:
        """Hand out `extra` on top of the minima; returns what is left (negative: overspent)."""
        if extra <= 0:
            return extra
        mixed = [i for i, p in enumerate(rates) if p is not None and 0 < p < 1]
        hopeless = [i for i, p in enumerate(rates) if p == 0]
        if not mixed:
            members = hopeless or list(range(len(rates)))
            if not hopeless:  # nothing to prefer: level everybody up to the mean first
                for i in members:
                    given = min(max(mean - counts[i], 0), extra)
                    counts[i] += given
                    extra -= given
            return share(extra, counts, members, self.high)
        surplus = max(extra - self._demand([rates[i] for i in mixed]), 0)
        others = hopeless or [i for i in range(len(rates)) if i not in set(mixed)]
        if self.fallback != "none" and surplus and others:
            extra += share(surplus, counts, others, self.high) - surplus
        chosen = [counts[i] for i in mixed]
        extra = spend([rates[i] or 0.0 for i in mixed], chosen, extra, self.high)
        for i, count in zip(mixed, chosen, strict=True):
            counts[i] = count
        return extra

    def _demand(self, rates: Sequence[float | None]) -> int:
        """Responses that problems of these rates can use."""

        def cost(p: float) -> float:
            if self.fallback == "expectation":
                return 1 / (p * (1 - p)) - 1
            return math.log(1 - 0.9) / math.log(max(p, 1 - p))

        return sum(math.floor(min(self.high, cost(p))) for p in rates if p is not None)

    def observe(self, problem_ids: Sequence[str], outcomes: Sequence[Sequence[bool]]) -> None:
        """One visit a problem: right or wrong for each judged response, without broken ones."""
        for problem, visit in zip(problem_ids, outcomes, strict=True):
            self.records[problem] = self.records.get(problem, Record()).after(visit)

    def report(self) -> dict[str, Any]:
        """The last allocation: what was spent, on what kind of problem, and how it was spread."""
        return dict(self.last)

    def state_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "records": {
                problem: [record.attempts, record.rate, [int(each) for each in record.recent]]
                for problem, record in self.records.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.get("schema") != SCHEMA:
            raise UserError(f"knapsack: saved state has schema {state.get('schema')}, not {SCHEMA}")
        self.records.clear()
        for problem, (attempts, rate, recent) in state["records"].items():
            self.records[problem] = Record(attempts, rate, tuple(bool(each) for each in recent))


def _report(
    counts: list[int], rates: Sequence[float | None], total: int, left: int
) -> dict[str, Any]:
    kinds = Counter(
        "new" if p is None else "always_wrong" if p == 0 else "always_right" if p == 1 else "mixed"
        for p in rates
    )
    return {
        "total": total,
        "spent": sum(counts),
        "unspent": max(left, 0),
        "overspent": max(sum(counts) - total, 0),
        "smallest": min(counts),
        "largest": max(counts),
        "problems": {k: kinds[k] for k in ("new", "always_wrong", "always_right", "mixed")},
        "histogram": {str(n): c for n, c in sorted(Counter(counts).items())},
    }

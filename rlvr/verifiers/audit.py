"""How often a verifier is wrong: labelled cases through the pool, counted by category, with 95 % intervals.

Not covered: what no case asks. A rate of 0 of n cases still allows about 3.8/n, which the interval's upper end says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

from rlvr.types import Status, Verdict
from rlvr.verifiers.case import Case
from rlvr.verifiers.pool import Pool

GRACE = 1.0  # seconds beyond its deadline after which a verdict counts as a hang
Z = 1.959964  # of a normal variable, two-sided 95 %


@dataclass(frozen=True, slots=True)
class Trial:
    """One labelled case: should it be accepted?"""

    category: str
    accept: bool
    case: Case


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` of `of` with its Wilson interval (Wilson 1927)."""

    count: int
    of: int
    rate: float | None  # None of nothing
    low: float
    high: float

    @classmethod
    def wilson(cls, count: int, of: int) -> Rate:
        """The 95 % score interval.

        >>> Rate.wilson(0, 100).high < 0.037
        True
        """
        if of == 0:
            return cls(count, of, None, 0.0, 1.0)
        share, spread = count / of, Z * Z / of
        centre = (share + spread / 2) / (1 + spread)
        half = Z * math.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
        return cls(count, of, share, max(0.0, centre - half), min(1.0, centre + half))

    def __str__(self) -> str:
        if self.rate is None:
            return "-"
        return f"{self.count}/{self.of} = {self.rate:.2%} [{self.low:.2%}, {self.high:.2%}]"


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that was judged other than its label says."""

    id: str
    category: str
    expected: str  # "accept" or "reject"
    status: str
    detail: str
    reference: str
    response: str


@dataclass
class Tally:
    """The counts of one category."""

    category: str
    accepts: int = 0  # cases that should be accepted
    refused: int = 0  # of these, not accepted
    rejects: int = 0  # cases that should not be accepted
    accepted: int = 0  # of these, accepted
    broken: int = 0  # of either kind
    seconds: list[float] = field(default_factory=list)

    def add(self, trial: Trial, verdict: Verdict) -> bool:
        """Count it; True when the verdict is what the label says."""
        self.seconds.append(verdict.seconds)
        self.broken += verdict.status is Status.BROKEN
        if trial.accept:
            self.accepts += 1
            self.refused += not verdict.correct
            return verdict.correct
        self.rejects += 1
        self.accepted += verdict.correct
        return not verdict.correct and verdict.status is not Status.BROKEN

    def row(self) -> dict[str, object]:
        return {
            "category": self.category,
            "cases": len(self.seconds),
            "false_accepts": asdict(Rate.wilson(self.accepted, self.rejects)),
            "false_rejects": asdict(Rate.wilson(self.refused, self.accepts)),
            "broken": self.broken,
            "seconds": quantiles(self.seconds),
        }


@dataclass
class Report:
    """What an audit found. `passed` compares it with stated limits."""

    verifier: str
    deadline: float  # seconds a verdict may take
    tallies: dict[str, Tally] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    hangs: int = 0
    broken_rejects: int = 0  # cases to reject that ended broken: neither accepted nor judged

    def add(self, trial: Trial, verdict: Verdict) -> None:
        tally = self.tallies.setdefault(trial.category, Tally(trial.category))
        right = tally.add(trial, verdict)
        self.hangs += verdict.seconds > self.deadline + GRACE
        self.broken_rejects += not trial.accept and verdict.status is Status.BROKEN
        if not right:
            self.failures.append(_failure(trial, verdict))

    @property
    def false_accepts(self) -> Rate:
        tallies = self.tallies.values()
        return Rate.wilson(sum(t.accepted for t in tallies), sum(t.rejects for t in tallies))

    @property
    def false_rejects(self) -> Rate:
        tallies = self.tallies.values()
        return Rate.wilson(sum(t.refused for t in tallies), sum(t.accepts for t in tallies))

    @property
    def seconds(self) -> dict[str, float]:
        return quantiles([each for tally in self.tallies.values() for each in tally.seconds])

    @property
    def cases(self) -> int:
        return sum(len(tally.seconds) for tally in self.tallies.values())

    def beyond(self, max_false_accepts: float, max_false_rejects: float) -> list[str]:
        """The stated limits that are not kept, in words; empty when all are."""
        found = []
        if (self.false_accepts.rate or 0.0) > max_false_accepts:
            found.append(f"false accepts {self.false_accepts} above {max_false_accepts:.2%}")
        if (self.false_rejects.rate or 0.0) > max_false_rejects:
            found.append(f"false rejects {self.false_rejects} above {max_false_rejects:.2%}")
        if self.hangs:
            found.append(f"{self.hangs} verdicts later than {self.deadline + GRACE:g} s")
        if self.broken_rejects:
            found.append(f"{self.broken_rejects} broken verdicts where a rejection was due")
        return found

    def to_json(self) -> dict[str, object]:
        return {
            "verifier": self.verifier,
            "cases": self.cases,
            "false_accepts": asdict(self.false_accepts),
            "false_rejects": asdict(self.false_rejects),
            "hangs": self.hangs,
            "broken_rejects": self.broken_rejects,
            "seconds": self.seconds,
            "categories": [tally.row() for tally in self.tallies.values()],
            "failures": [asdict(failure) for failure in self.failures],
        }


def audit(trials: Iterable[Trial], pool: Pool, name: str) -> Iterator[Report]:
    """Judge all trials; the same report after every verdict, so that progress can be shown."""
    report = Report(name, pool.traits.deadline)
    pending: list[Trial] = []

    def cases() -> Iterator[Case]:
        for trial in trials:
            pending.append(trial)
            yield trial.case

    for number, verdict in enumerate(pool.map(cases())):
        report.add(pending[number], verdict)
        yield report


def quantiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and the largest, by nearest rank."""
    if not seconds:
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    order = sorted(seconds)

    def rank(share: float) -> float:
        return round(order[max(0, math.ceil(share * len(order)) - 1)], 6)

    return {"p50": rank(0.5), "p99": rank(0.99), "max": round(order[-1], 6)}


def _failure(trial: Trial, verdict: Verdict) -> Failure:
    fields: Mapping[str, object] = trial.case.fields
    reference = (
        trial.case.reference if trial.case.reference is not None else fields.get("tests", "")
    )
    return Failure(
        trial.case.id,
        trial.category,
        "accept" if trial.accept else "reject",
        verdict.status.value,
        verdict.detail[:200],
        _plain(str(reference)),
        _plain(trial.case.response),
    )


def _plain(text: str) -> str:
    return text[:300].encode("utf-8", "replace").decode()

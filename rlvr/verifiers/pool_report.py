"""Counts of a pool, and the limit on verdicts that are our own fault."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from rlvr.errors import SafetyStop
from rlvr.types import Status, Verdict

WINDOW = 500  # recent verdicts the broken share is taken over
FEW = 10  # broken verdicts in the window that never stop a run
TIMED = 10_000  # recent verdicts whose seconds are kept for the percentiles


@dataclass(frozen=True)
class PoolReport:
    """How a pool has been doing since it was opened. Seconds are wall clock inside the verifier."""

    judged: int = 0  # by a worker
    cached: int = 0  # answered from memory, or by an equal case that was already on its way
    killed: int = 0  # workers killed at the deadline
    crashed: int = 0  # workers that died by themselves
    respawned: int = 0  # workers started beyond the first ones
    quarantined: int = 0  # cases that are never tried again
    broken: int = 0
    servers: int = 0  # fork servers started; more than one means one died
    waiting: int = 0  # cases submitted and not answered yet
    busy: float = 0.0  # seconds, summed over workers
    p50: float | None = None  # seconds a verdict, of the most recent ones
    p99: float | None = None
    statuses: tuple[tuple[str, int], ...] = ()


class Counters:
    """The running counts. One thread at a time: the pool holds its lock."""

    def __init__(self, verifier: str, max_broken: float) -> None:
        self.verifier = verifier
        self.judged = self.cached = self.killed = self.crashed = 0
        self.respawned = self.servers = 0
        self.busy = 0.0
        self.statuses: Counter[str] = Counter()
        self._max_broken = max_broken
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._recent_broken = 0
        self._reason = ""
        self._seconds: deque[float] = deque(maxlen=TIMED)

    def judged_one(self, verdict: Verdict) -> None:
        self.judged += 1
        self.busy += verdict.seconds
        self._seconds.append(verdict.seconds)

    def answered(self, verdict: Verdict) -> None:
        """Every answer counts towards the broken share, remembered ones too."""
        broken = verdict.status is Status.BROKEN
        self.statuses[verdict.status.value] += 1
        if len(self._recent) == WINDOW:
            self._recent_broken -= self._recent[0]
        self._recent.append(broken)
        if broken:
            self._recent_broken += 1
            self._reason = verdict.detail

    def check(self) -> None:
        """Raises SafetyStop when too large a share of the recent verdicts is broken."""
        count, share = len(self._recent), self._max_broken
        if self._recent_broken >= FEW and self._recent_broken > share * count:
            raise SafetyStop(
                f"{self._recent_broken} of the last {count} verdicts of {self.verifier} are broken "
                f"(the limit is {share:.0%}); the latest: {self._reason}"
            )

    def report(self, quarantined: int, waiting: int) -> PoolReport:
        ordered = sorted(self._seconds)
        return PoolReport(
            judged=self.judged,
            cached=self.cached,
            killed=self.killed,
            crashed=self.crashed,
            respawned=self.respawned,
            quarantined=quarantined,
            broken=self.statuses["broken"],
            servers=self.servers,
            waiting=waiting,
            busy=self.busy,
            p50=_quantile(ordered, 0.50),
            p99=_quantile(ordered, 0.99),
            statuses=tuple(sorted(self.statuses.items())),
        )


def _quantile(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None

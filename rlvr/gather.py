"""From problems to judged groups: what a step trains on, and what waits for a later one.

`--staleness K` lets a response of version t train step up to t + 1 + K (0: on-policy). Three things use that room:
by default batches wait K steps; with `--replay` recent groups are trained again; with `--sampler.segment` a long
response is continued by later versions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlvr.advantage.filters.overlong import shaped
from rlvr.advantage.scores import Scores
from rlvr.clock import Clock
from rlvr.curriculum import Curriculum
from rlvr.errors import SafetyStop, UserError
from rlvr.partial import Partial
from rlvr.prompts import Encode
from rlvr.samplers.sampler import Answers, Limits
from rlvr.settings import Run
from rlvr.stock import Sampled, Stock
from rlvr.sync import Sync
from rlvr.types import Answer, Group, Problem, Request, Rollout
from rlvr.verifiers.pool import Pool

# problems in a row whose prompts leave no room for an answer, before that is the user's mistake
TOO_LONG = 1000


@dataclass(frozen=True)
class Gathered:
    """What a step trains on: groups, which of them the filter keeps [Q], how many are new, the first."""

    groups: tuple[Group, ...]
    keep: Tensor
    fresh: int
    cancelled: int  # tokens sampled and thrown away

    @property
    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group.rollouts]


@dataclass
class Gatherer:
    """Asks and judges. `lengths`: mean response tokens of each problem when it was last answered."""

    settings: Run
    limits: Limits
    positions: int | None  # of the model: prompt and response must fit
    task: str
    curriculum: Curriculum
    encode: Encode
    sync: Sync
    pool: Pool
    budget: Any
    filter: Any
    stock: Stock = field(default_factory=Stock)
    lengths: dict[str, float] = field(default_factory=dict)
    cancelled: int = 0  # tokens thrown away, so far
    _ahead: tuple[int, Future[Sampled]] | None = None
    _thread: ThreadPoolExecutor | None = None

    @property
    def lag(self) -> int:
        """Steps that a batch waits."""
        waits = not self.settings.replay and not self.limits.segment
        return self.settings.staleness if waits else 0

    def __call__(self, step: int, clock: Clock) -> Gathered:
        """The groups that `step` trains on.

        Where the engine runs on hardware of its own, the last of the batches that may be sampled with
        these weights is sampled while the step learns (`finish`); else before.
        """
        ahead = self.lag > 0 and getattr(self.sync.engine, "elsewhere", False)
        for number in self._missing(step, step + self.lag - ahead):
            self.stock.waiting[number] = self._sample(number, clock)
        fresh = self.stock.waiting.pop(step)
        for number in self._missing(step + 1, step + self.lag):
            self._thread = self._thread or ThreadPoolExecutor(1, "sampling")
            self._ahead = (number, self._thread.submit(self._sample, number, Clock()))
        again = self.stock.replay(step, self.settings, seed(self.settings.seed, "replay", step))
        kept = torch.ones(len(again), dtype=torch.bool)
        return Gathered(
            groups=(*fresh.groups, *again),
            keep=torch.cat([fresh.keep, kept]),
            fresh=len(fresh.groups),
            cancelled=fresh.cancelled,
        )

    def _missing(self, first: int, last: int) -> range:
        """Steps from `first` to `last` whose batch is not there; they are sampled in order."""
        newest = max(self.stock.waiting, default=first - 1)
        return range(newest + 1, min(last, self.settings.steps) + 1)

    def finish(self, clock: Clock) -> None:
        """Wait for what was begun: the engine must be idle before it gets new weights."""
        if self._ahead:
            (number, future), self._ahead = self._ahead, None
            with clock("sample"):
                self.stock.waiting[number] = future.result()

    # one batch

    def _sample(self, number: int, clock: Clock) -> Sampled:
        """Judged groups for one step, and which of them the filter keeps [Q].

        A filter that drops prompts has new ones sampled, in a bounded number of rounds; what it
        dropped stays in the groups, so that it is counted.
        """
        groups: list[Group] = []
        keep = torch.zeros(0, dtype=torch.bool)
        wanted, dropped = self.settings.problems, self.cancelled
        for attempt in range(1 + self.filter.rounds):
            missing = wanted - int(keep.sum())
            problems = self._problems(math.ceil(missing * self.settings.oversample))
            source = seed(self.settings.seed, "sample", number, attempt)
            groups += self._ask(problems, missing, number, source, clock)
            keep = self.filter(shaped(self.filter, Scores.of(groups)))
            if int(keep.sum()) >= wanted or not problems or self.limits.segment:
                break
        surplus = keep.cumsum(0) > wanted
        return Sampled(tuple(groups), keep & ~surplus, self.cancelled - dropped)

    def _problems(self, count: int) -> list[Problem]:
        """The next problems whose prompts leave room for an answer."""
        taken: list[Problem] = []
        for _ in range(TOO_LONG):
            for problem in self.curriculum.next(count - len(taken)):
                length = len(self.encode(problem)) + self.limits.max_tokens
                if self.positions is None or length <= self.positions:
                    taken.append(problem)
            if len(taken) >= min(count, len(self.curriculum.problems)):
                return taken
        raise UserError(
            f"task {self.task}: {TOO_LONG} times in a row no prompt left room for "
            f"{self.limits.max_tokens} tokens in the model's {self.positions} positions (--sampler.max_tokens)"
        )

    def _ask(
        self, problems: Sequence[Problem], wanted: int, number: int, source: int, clock: Clock
    ) -> list[Group]:
        """Sampled and judged, in the order they were asked for; `wanted` groups, the rest is cancelled."""
        counts = self.budget.allocate([each.id for each in problems], self.settings.responses)
        requests = [
            Request(
                problem, self.encode(problem), count, expected=self.lengths.get(problem.id, 0.0)
            )
            for problem, count in zip(problems, counts, strict=True)
            if count
        ]
        engine, dropped = self.sync.engine, self.sync.engine.cancelled
        partial = Partial(self.limits, self.stock.begun, self.settings.staleness, self.sync.decode)
        asked = partial.requests(requests, last=number == self.settings.steps)
        stream = self._accepted(engine.stream(asked, seed=source))
        answers = partial.joined(self._enough(stream, asked, wanted))
        before, started = clock.seconds["sample"], clock.total
        judged = list(self.pool.judge(clock.each("sample", answers)))
        sampling = clock.seconds["sample"] - before
        clock.seconds["verify"] += max(clock.total - started - sampling, 0.0)
        self.cancelled += engine.cancelled - dropped
        self.stock.begun = partial.begun
        for group in judged:
            lengths = [rollout.length for rollout in group.rollouts]
            self.lengths[group.problem.id] = sum(lengths) / len(lengths)
        place = {request.problem.id: index for index, request in enumerate(partial.groups)}
        return sorted(judged, key=lambda group: place[group.problem.id])

    def _accepted(self, answers: Answers) -> Answers:
        """The answers; one from weights that were not acknowledged stops the run."""
        try:
            for answer in answers:
                if answer.rollout.version != self.sync.version:
                    raise SafetyStop(
                        f"a response of version {answer.rollout.version} came when the sampler "
                        f"had acknowledged {self.sync.version}"
                    )
                yield answer
        finally:
            answers.close()

    def _enough(self, answers: Answers, asked: Sequence[Request], wanted: int) -> Iterator[Answer]:
        """All answers; with over-sampling those of the first `wanted` requests that are complete."""
        if self.settings.oversample <= 1:
            yield from answers
            return
        missing = {id(request): request.responses for request in asked}
        held: dict[int, list[Answer]] = {id(request): [] for request in asked}
        complete = 0
        for answer in answers:
            key = id(answer.request)
            held[key].append(answer)
            missing[key] -= 1
            yield answer
            if not missing[key]:
                del held[key]
                complete += 1
                if complete >= wanted:
                    break
        answers.close()
        self.cancelled += sum(each.rollout.length for rest in held.values() for each in rest)


def seed(*words: object) -> int:
    """A seed of 63 bits for a purpose: the same words give the same seed on every machine."""
    digest = hashlib.sha256(":".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

"""Verdicts from worker processes that can be killed.

Every verification runs in a process of its own group with a deadline; when it passes, the group is
killed and replaced, the response gets `timeout`, and the same case is never tried again. A worker
that dies gives `broken`. Works from any thread and from async code. Equal cases are judged once.

Not covered: what a verifier itself writes to disk or network (a worker is bounded and killable, not
jailed).
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rlvr.errors import UserError
from rlvr.types import Group, Status, Verdict
from rlvr.verifiers import wire
from rlvr.verifiers.calling import Traits
from rlvr.verifiers.case import Case
from rlvr.verifiers.pool_engine import Engine
from rlvr.verifiers.pool_memory import Quarantine, VerdictCache
from rlvr.verifiers.pool_report import Counters, PoolReport
from rlvr.verifiers.pool_worker import Job
from rlvr.verifiers.server import INSIDE
from rlvr.verifiers.spec import Spec

if TYPE_CHECKING:
    from rlvr.types import Answer, Request, Rollout

__all__ = ["Case", "Pool", "PoolReport", "Spec"]

WINDOW = 1024  # cases `map` has in flight


class Pool:
    """Judges cases in `workers` processes. A context manager; starts at once, waits for nothing.

    `verifier`: a name, a registry plug-in, a `Spec`, an instance or a function. Raises UserError
    when it cannot be built.
    `timeout`: seconds a verdict may take; None: what the verifier says. A verifier with a `timeout`
    of its own gets half a second beyond it to answer by itself.
    `max_broken`: share of broken verdicts (of the last 500, at least 10) above which consumers
    raise SafetyStop.
    `quarantine`: JSONL file that cases which hung or killed a worker are appended to.
    `cache`: verdicts remembered by content; 0: none. `bound`: cases in flight before `submit`
    waits.
    `observe`: called with each case and its verdict, on the thread that has the verdict; must be
    quick and not raise.
    """

    def __init__(
        self,
        verifier: object,
        *,
        workers: int = 2,
        timeout: float | None = None,
        max_broken: float = 0.1,
        quarantine: Path | None = None,
        cache: int = 65_536,
        bound: int = 4096,
        observe: Callable[[Case, Verdict], None] | None = None,
    ) -> None:
        if INSIDE in os.environ:  # a script without this guard would start itself for ever
            raise UserError(
                "a pool was opened while a verifier's file was loaded: "
                "put what runs under if __name__ == '__main__'"
            )
        if workers < 1:
            raise UserError("a pool needs at least one worker")
        self.spec = Spec.of(verifier)
        self.traits = Traits.of(self.spec.build(), timeout)
        for seconds in (self.traits.timeout, timeout if timeout is not None else 1.0):
            if not 0 < seconds < 1e6:
                raise UserError(f"a timeout of {seconds} seconds is not possible")
        self.fingerprint = self.spec.fingerprint(self.traits.version)
        self._cache = VerdictCache(cache if self.traits.cacheable else 0)
        self._quarantine = Quarantine(quarantine, self.fingerprint)
        self._counters = Counters(self.spec.name, max_broken)
        self._observe = observe
        self._lock = threading.Lock()
        self._flying: dict[bytes, Job] = {}
        self._numbers = itertools.count(1)
        self._room = threading.BoundedSemaphore(bound)
        self._waiting = 0
        self._owner = os.getpid()
        self._engine = Engine(self.spec, self.traits, workers, self._counters, self._answer)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill every process. Cases still in flight get broken verdicts."""
        if os.getpid() == self._owner:
            self._engine.close()

    def ready(self, timeout: float | None = None) -> bool:
        """Wait for a worker; False after `timeout` seconds. UserError when there can be none."""
        done = self._engine.ready.wait(timeout)
        if self._engine.failure:
            raise UserError(f"verifier {self.spec.name}: {self._engine.failure}")
        return done

    def submit(self, case: Case) -> Future[Verdict]:
        """A verdict to come. Never raises for a bad case; waits while `bound` cases are in flight.

        Callbacks of the future run on the pool's thread: they may submit, they must not wait.
        """
        on_engine = threading.current_thread() is self._engine.thread
        future = self._offer(case, wait=not on_engine, force=on_engine)
        assert future is not None
        return future

    async def verify(self, case: Case) -> Verdict:
        """The verdict, without blocking the event loop."""
        while (future := self._offer(case, wait=False)) is None:
            await asyncio.sleep(0.002)
        return await asyncio.wrap_future(future)

    def map(self, cases: Iterable[Case | Verdict]) -> Iterator[Verdict]:
        """Verdicts in the order of `cases`, in constant memory. Raises SafetyStop.

        A verdict among the cases comes out in its place.
        """
        flying: deque[Future[Verdict]] = deque()
        for case in cases:
            flying.append(self.submit(case) if isinstance(case, Case) else _known(case))
            full = len(flying) >= WINDOW
            while flying and (flying[0].done() or (full and len(flying) > WINDOW // 2)):
                yield self._checked(flying.popleft())
        while flying:
            yield self._checked(flying.popleft())

    def judge(self, answers: Iterable[Answer]) -> Iterator[Group]:
        """Groups with a verdict on every rollout, in the order they were complete.

        Each response is submitted the moment it is there, and a group is yielded as soon as it and
        those before it are judged, while others are still being sampled. A request that did not get
        all its responses gives no group. Raises SafetyStop.
        """
        gathering: dict[int, _Gathered] = {}
        flying: deque[_Gathered] = deque()
        for answer in answers:
            key = id(answer.request)  # the group holds the request: the number stays its own
            group = gathering.setdefault(key, _Gathered(answer.request))
            group.take(answer, self.submit(_case(answer)))
            if group.complete:
                flying.append(gathering.pop(key))
            while flying and flying[0].judged:
                yield self._judged(flying.popleft())
        while flying:
            yield self._judged(flying.popleft())

    def check(self) -> None:
        """Raises SafetyStop when too many recent verdicts are broken; `map` and `judge` call it."""
        with self._lock:
            self._counters.check()

    def report(self) -> PoolReport:
        with self._lock:
            return self._counters.report(len(self._quarantine), self._waiting)

    def _checked(self, future: Future[Verdict]) -> Verdict:
        verdict = future.result()
        if verdict.status is Status.BROKEN:
            self.check()
        return verdict

    def _judged(self, gathered: _Gathered) -> Group:
        return Group(
            gathered.request.problem,
            tuple(
                replace(rollout, verdict=self._checked(future))
                for _, (rollout, future) in sorted(gathered.responses.items())
            ),
        )

    def _offer(self, case: Case, *, wait: bool, force: bool = False) -> Future[Verdict] | None:
        """None when there is no room and nobody may wait for it."""
        if os.getpid() != self._owner:
            raise RuntimeError("a pool does not survive a fork: open one in the child")
        has_room = self._room.acquire(blocking=wait)
        if not has_room and not force:
            return None
        future: Future[Verdict] = Future()
        future.set_running_or_notify_cancel()  # from here on it cannot be cancelled
        body, reason = _body(case)
        if reason:
            self._settle(case, future, Verdict.broken(reason), has_room)
            return future
        number = next(self._numbers)
        content = body if self.traits.cacheable else b"%d %b" % (number, body)
        digest = hashlib.blake2b(content, digest_size=16).digest()
        job, fresh = None, False
        with self._lock:
            known = self._quarantine.get(digest) or self._cache.get(digest)
            if known is None:
                self._waiting += 1
                job = self._flying.get(digest)
                fresh = job is None
                if job is None:
                    job = self._flying[digest] = Job(number, case, body, digest)
                job.waiting.append((case, future, has_room))
            self._counters.cached += not fresh
        if known is not None:
            self._settle(case, future, replace(known, seconds=0.0), has_room)
        elif fresh and job is not None:
            self._engine.put(job)
        return future

    def _answer(self, job: Job, verdict: Verdict, quarantine: bool) -> None:
        """On the engine's thread, once a job."""
        with self._lock:
            job.done = True
            del self._flying[job.digest]
            self._waiting -= len(job.waiting)
            self._cache.put(job.digest, verdict)
            if quarantine:
                self._quarantine.put(job.digest, job.case, verdict)
            waiting = job.waiting
        for case, future, has_room in waiting:
            self._settle(case, future, verdict, has_room)

    def _settle(self, case: Case, future: Future[Verdict], verdict: Verdict, room: bool) -> None:
        with self._lock:
            self._counters.answered(verdict)
        if room:
            self._room.release()
        future.set_result(verdict)
        if self._observe is not None:
            self._observe(case, verdict)


def _body(case: Case) -> tuple[bytes, str]:
    """The case as it crosses to the worker, or why it cannot."""
    if not isinstance(case.response, str):
        return b"", f"the response is a {type(case.response).__name__}, not a string"
    try:
        body = wire.encode([case.response, case.reference, dict(case.fields), case.prompt])
    except (TypeError, ValueError, RecursionError) as error:
        return b"", f"the case is not plain data: {error}"
    if len(body) > wire.MAX_JOB:
        return b"", f"the case is larger than {wire.MAX_JOB // 2**20} MB"
    return body, ""


def _known(verdict: Verdict) -> Future[Verdict]:
    future: Future[Verdict] = Future()
    future.set_result(verdict)
    return future


def _case(answer: Answer) -> Case:
    problem = answer.request.problem
    return Case(answer.rollout.text, problem.reference, problem.fields, problem.id, problem.prompt)


@dataclass
class _Gathered:
    """The responses to one request that are there, each with its verdict to come."""

    request: Request
    responses: dict[int, tuple[Rollout, Future[Verdict]]] = field(default_factory=dict)

    def take(self, answer: Answer, verdict: Future[Verdict]) -> None:
        self.responses[answer.index] = (answer.rollout, verdict)

    @property
    def complete(self) -> bool:
        return len(self.responses) == self.request.responses

    @property
    def judged(self) -> bool:
        return all(future.done() for _, future in self.responses.values())

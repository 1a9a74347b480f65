"""The pool's own thread: hands cases to workers, holds each to its deadline, replaces what dies."""

from __future__ import annotations

import json
import logging
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rlvr.types import Status, Verdict
from rlvr.verifiers import wire
from rlvr.verifiers.calling import Traits
from rlvr.verifiers.pool_crew import Crew
from rlvr.verifiers.pool_report import Counters
from rlvr.verifiers.pool_worker import Job, ServerEnd, WorkerEnd
from rlvr.verifiers.server import PREPARE_SECONDS
from rlvr.verifiers.spec import Spec

DEEPEST = 64  # cases sent ahead to one worker
AHEAD = 0.01  # seconds of work sent ahead: hides the round trip of cheap verdicts
STALL = 0.05  # seconds the first case may run before those behind it are given to other workers
OPEN_SECONDS = 60  # for a worker to say hello
FAILURES = (
    3  # fork servers, or rounds of workers, that die without one verdict before the pool gives up
)
TRACES = 5  # different tracebacks of a verifier that are logged

log = logging.getLogger("rlvr.verifiers")


class Engine:
    """Owns the crew; calls `answer(job, verdict, quarantine)` once a job."""

    def __init__(
        self,
        spec: Spec,
        traits: Traits,
        workers: int,
        counters: Counters,
        answer: Callable[[Job, Verdict, bool], None],
    ) -> None:
        self.failure = ""  # why this pool can judge nothing any more
        self.ready = threading.Event()  # a worker said hello, or none ever will
        self._spec, self._traits, self._count = spec, traits, workers
        self._counters, self._answer = counters, answer
        self._queue: deque[Job] = deque()
        self._failures = 0
        self._stillborn = 0
        self._mean = AHEAD  # seconds a verdict, moving average
        self._traces: set[str] = set()
        self._closing = False
        self._ended = False  # this thread takes nothing more from the queue
        self._asleep = False
        self._selector = selectors.DefaultSelector()
        self._crew = Crew(spec, traits, workers, counters, self._selector)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self._run, name="rlvr-pool", daemon=True)
        self.thread.start()

    def put(self, job: Job) -> None:
        """From any thread."""
        self._queue.append(job)
        if self._ended:
            self._assign()
        elif self._asleep:
            self._wake()

    def close(self) -> None:
        """From any thread but this one's; returns when every process is gone."""
        self._closing = True
        self._wake()
        if threading.current_thread() is not self.thread:
            self.thread.join()

    def _wake(self) -> None:
        with suppress(OSError):
            self._waker.send(b"w")

    def _run(self) -> None:
        try:
            self._start_server()
            while not self._closing:
                self._turn()
        finally:
            self._fail("the pool was closed" if self._closing else "the pool's thread ended")
            self._ended = True
            self._assign()
            self._selector.close()
            self._woken.close()
            self._waker.close()

    def _turn(self) -> None:
        self._assign()
        pause = self._pause()
        self._asleep = bool(self.failure) or any(
            self._room(end) for end in self._crew.ends.values()
        )
        if self._asleep and self._queue:
            pause = 0.0
        events = self._selector.select(pause)
        self._asleep = False
        for key, _ in events:
            if key.fileobj is self._woken:
                with suppress(BlockingIOError):
                    self._woken.recv(4096)
            elif isinstance(key.data, WorkerEnd):
                self._hear(key.data)
            elif isinstance(key.data, ServerEnd):
                self._hear_server(key.data)
        self._enforce()

    # ---- giving work

    def _depth(self) -> int:
        return max(1, min(DEEPEST, int(AHEAD / self._mean)))

    def _room(self, end: WorkerEnd) -> bool:
        return end.ready and end.open and len(end.jobs) < self._depth()

    def _assign(self) -> None:
        if self.failure:
            while self._queue:
                self._answer(self._queue.popleft(), Verdict.broken(self.failure), False)
            return
        ends = sorted(filter(self._room, self._crew.ends.values()), key=lambda end: len(end.jobs))
        for position, end in enumerate(ends):
            share = -(-len(self._queue) // (len(ends) - position))
            jobs: list[Job] = []
            while self._queue and len(jobs) < min(share, self._depth() - len(end.jobs)):
                job = self._queue.popleft()
                if not job.done:
                    jobs.append(job)
            if jobs:
                end.give(jobs)
                self._crew.watch(end)

    # ---- hearing from workers

    def _hear(self, end: WorkerEnd) -> None:
        if end.number not in self._crew.ends or not end.open:
            return  # replaced, or dead and waiting for the server to say how
        if end.unsent:
            end.flush()
            self._crew.watch(end)
        try:
            for number, payload in end.read():
                if not self._heard(end, number, payload):
                    return
        except wire.WireError as error:
            self._lose(end, Verdict.broken(f"the worker's answer is unusable: {error}"))
            return
        if not end.open:
            self._selector.unregister(end.channel)
            self._crew.kill(end)  # most likely dead already; the server tells how

    def _heard(self, end: WorkerEnd, number: int, payload: bytes) -> bool:
        """One frame; False when the worker is no longer in use."""
        if number == 0:
            return self._hello(end, json.loads(payload))
        if not end.jobs or end.jobs[0].number != number:
            raise wire.WireError("an answer to another question")
        verdict, ended, tired, trace = wire.unpack_verdict(payload)
        job = end.finish(ended)
        self._failures = 0
        self._mean = 0.95 * self._mean + 0.05 * min(verdict.seconds, 10 * AHEAD)
        self._counters.judged_one(verdict)
        if trace:
            self._log(trace)
        if not job.done:
            self._answer(job, verdict, False)
        if tired:
            self._crew.drop(end)
            self._queue.extendleft(reversed(end.take_back(0)))
            self._crew.spawn()
        return not tired

    def _hello(self, end: WorkerEnd, message: dict[str, Any]) -> bool:
        if "failed" in message:
            self._crew.drop(end)
            self._stillbirth(message["failed"])
            return False
        end.ready = True
        self._stillborn = 0
        self.ready.set()
        return True

    def _log(self, trace: str) -> None:
        if len(self._traces) < TRACES and trace not in self._traces:
            self._traces.add(trace)
            log.warning("verifier %s raised:\n%s", self._spec.name, trace.rstrip())

    # ---- deadlines

    def _pause(self) -> float | None:
        """Seconds until something must be looked at again."""
        now, soonest = time.monotonic(), float("inf")
        if self._crew.server and not self._crew.server.ready:
            soonest = self._crew.server.started + PREPARE_SECONDS + 10
        for end in self._crew.ends.values():
            if not end.ready:
                soonest = min(soonest, end.asked + OPEN_SECONDS)
            elif end.jobs:
                soonest = min(soonest, end.started + self._traits.deadline)
                if len(end.jobs) > 1 and end.lent != end.jobs[0].number:
                    soonest = min(soonest, end.started + STALL)
        return None if soonest == float("inf") else max(0.0, soonest - now)

    def _enforce(self) -> None:
        now = time.monotonic()
        if self._crew.server and not self._crew.server.ready:
            if now > self._crew.server.started + PREPARE_SECONDS + 10:
                self._crew.server.process.kill()
            return
        for end in list(self._crew.ends.values()):
            if not end.ready:
                if now > end.asked + OPEN_SECONDS:
                    self._crew.kill(end)
                    self._crew.drop(end)
                    self._stillbirth(f"a worker did not start within {OPEN_SECONDS} s")
            elif end.jobs and now - end.started > STALL:
                self._hear(
                    end
                )  # what it has said by now counts, however late this thread comes to it
                if end.number in self._crew.ends and end.jobs:
                    self._hold(end, now - end.started)

    def _hold(self, end: WorkerEnd, ran: float) -> None:
        if ran > self._traits.deadline:
            self._counters.killed += 1
            detail = f"no verdict within {self._traits.timeout:g} s"
            self._lose(end, Verdict(Status.TIMEOUT, 0.0, detail, ran))
        elif ran > STALL and end.lent != end.jobs[0].number:
            end.lent = end.jobs[0].number
            self._queue.extendleft(reversed(end.take_back(1)))

    # ---- the end of workers

    def _lose(self, end: WorkerEnd, verdict: Verdict) -> None:
        """The first job's fault: it gets `verdict` and is quarantined, the rest goes to others."""
        self._crew.kill(end)
        self._crew.drop(end)
        rest = end.take_back(1)
        if end.jobs and not end.jobs[0].done:
            self._answer(end.jobs[0], verdict, True)
        self._queue.extendleft(reversed(rest))
        self._crew.spawn()

    def _stillbirth(self, reason: str) -> None:
        self._stillborn += 1
        if self._stillborn >= FAILURES * self._count:
            self._fail(reason)
        else:
            self._crew.spawn()

    # ---- the fork server

    def _start_server(self) -> None:
        try:
            self._crew.start()
        except OSError as error:
            self._fail(f"no fork server: {error}")

    def _hear_server(self, server: ServerEnd) -> None:
        if server is not self._crew.server:
            return
        messages = server.read()
        if messages is None:
            self._server_died()
            return
        for message in messages:
            if "failed" in message:
                self._fail(message["failed"])
                return
            if "ready" in message:
                server.ready = True
                self._crew.spawn()
            elif message.get("exit") in self._crew.ends:
                self._exited(self._crew.ends[message["exit"]], message)

    def _exited(self, end: WorkerEnd, message: dict[str, Any]) -> None:
        self._hear(end)  # its last words
        if end.number not in self._crew.ends:
            return
        code, number = message["code"], message["signal"]
        how = f"died of {signal.Signals(number).name}" if number else f"exited with {code}"
        reason = message["reason"] or f"the worker {how}"
        if not end.ready:
            self._crew.drop(end)
            self._stillbirth(reason)
            return
        self._counters.crashed += 1
        if number == signal.SIGXCPU:
            verdict = Verdict(Status.TIMEOUT, 0.0, "used up its processor time")
        else:
            verdict = Verdict.broken(reason)
        self._lose(end, verdict)

    def _server_died(self) -> None:
        self._failures += 1
        self._stop_server()
        if self._failures > FAILURES:
            self._fail(f"the fork server died {self._failures} times")
        else:
            self._start_server()

    def _stop_server(self) -> None:
        """No server, no workers; their jobs wait for the next server."""
        server = self._crew.release()
        while self._crew.ends:
            end = next(iter(self._crew.ends.values()))
            with suppress(wire.WireError):
                for number, payload in end.read():
                    if not self._heard(end, number, payload):
                        break
            self._crew.drop(end)
            rest = end.take_back(0)
            for job in rest:
                job.restarts += 1
                if job.restarts > FAILURES:
                    self._answer(job, Verdict.broken("its worker kept vanishing"), False)
            self._queue.extendleft(reversed([job for job in rest if not job.done]))
        if server:
            server.stop()

    def _fail(self, reason: str) -> None:
        """No more verdicts: everything waiting, and whatever comes, is broken for this reason."""
        self.failure = self.failure or reason
        self._stop_server()
        self._assign()
        self.ready.set()

"""A worker and the fork server as the pool's thread sees them."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from typing import Any

from rlvr.types import Verdict
from rlvr.verifiers import server, wire
from rlvr.verifiers.calling import Traits
from rlvr.verifiers.case import Case
from rlvr.verifiers.spec import Spec


@dataclass(eq=False, slots=True)
class Job:
    """A case on its way; equal cases that arrive meanwhile wait for the same answer."""

    number: int
    case: Case
    body: bytes
    digest: bytes
    # who gets the answer, and whether they hold a place in the pool's bound
    waiting: list[tuple[Case, Future[Verdict], bool]] = field(default_factory=list)
    done: bool = False
    given: float = 0.0  # to the worker it is with now, monotonic clock
    end: WorkerEnd | None = None  # that worker; None while it waits
    restarts: int = 0  # times its worker vanished for a reason that was not the case


@dataclass(eq=False)
class WorkerEnd:
    """The pool's end of one worker, which judges `jobs` in order; the first one is running."""

    number: int
    channel: socket.socket
    asked: float = field(default_factory=time.monotonic)  # when the server was told to fork it
    ready: bool = False
    jobs: deque[Job] = field(default_factory=deque)
    started: float = 0.0  # of the first job, monotonic clock
    lent: int = 0  # number of the first job for whose sake those behind it went to others
    unsent: bytearray = field(default_factory=bytearray)
    frames: wire.Frames = field(default_factory=lambda: wire.Frames(wire.MAX_REPLY))
    open: bool = True  # the channel has not ended

    def give(self, jobs: list[Job]) -> None:
        now = time.monotonic()
        if not self.jobs:
            self.started = now
        self.jobs.extend(jobs)
        for job in jobs:
            job.given, job.end = now, self
            self.unsent += wire.frame(job.number, job.body)
        self.flush()

    def finish(self, ended: float) -> Job:
        """The first job is judged; the next one started then, or when it came if that was later."""
        job = self.jobs.popleft()
        self.started = max(ended, self.jobs[0].given) if self.jobs else ended
        return job

    def take_back(self, keep: int) -> list[Job]:
        """Unanswered jobs behind the first `keep`, for others. This one may still answer first."""
        found = [job for job in list(self.jobs)[keep:] if job.end is self and not job.done]
        for job in found:
            job.end = None
        return found

    def flush(self) -> None:
        try:
            while self.unsent:
                sent = self.channel.send(memoryview(self.unsent)[: 2**20])
                del self.unsent[:sent]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.unsent.clear()  # it died; its exit is reported by the server

    def read(self) -> list[tuple[int, bytes]]:
        """Everything it said so far. Raises WireError."""
        found: list[tuple[int, bytes]] = []
        while self.open:
            try:
                data = self.channel.recv(2**18)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            if not data:
                self.open = False
                break
            found += self.frames.feed(data)
            if len(data) < 2**17:
                break
        return found


class ServerEnd:
    """The pool's end of the fork server."""

    def __init__(self, spec: Spec, traits: Traits) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                server.command(theirs.fileno()),
                env=server.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self.ready = False
        self.started = time.monotonic()
        order = json.dumps({"spec": spec.to_json(), "traits": asdict(traits)}).encode()
        self.control.send(order)
        self.control.setblocking(False)

    def fork(self, number: int) -> WorkerEnd:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            order = json.dumps({"fork": number}).encode()
            socket.send_fds(self.control, [order], [theirs.fileno()])
        return WorkerEnd(number, ours)

    def kill(self, number: int) -> None:
        self.control.send(json.dumps({"kill": number}).encode())

    def read(self) -> list[dict[str, Any]] | None:
        """What it said; None once it is gone."""
        found: list[dict[str, Any]] = []
        while True:
            try:
                data = self.control.recv(2**20)
            except (BlockingIOError, InterruptedError):
                return found
            except OSError:
                data = b""
            if not data:
                return found or None
            found.append(json.loads(data))

    def stop(self) -> None:
        """It kills its workers when its channel closes; it gets a moment for that."""
        self.control.close()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

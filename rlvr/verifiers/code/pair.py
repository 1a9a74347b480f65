"""Two fork servers that work together: one forks jailed programs, the other one the tests that question them."""

from __future__ import annotations

import atexit
import os
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from rlvr.verifiers.code import script
from rlvr.verifiers.code.script import Ran
from rlvr.verifiers.sandbox import Ending, Limits, SandboxError, Server, Start, frames
from rlvr.verifiers.sandbox.client import SERVER_SECONDS

_COMMON = (
    *("abc", "array", "ast", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses"),
    *("datetime", "decimal", "enum", "fractions", "functools", "heapq", "inspect", "io"),
    *("itertools", "json", "math", "operator", "random", "re", "statistics", "string", "textwrap"),
    *("threading", "time", "types", "typing", "unicodedata", "warnings"),
)
PROGRAM = Start("rlvr.verifiers.code.inside:enter", _COMMON, "rlvr.verifiers.code.inside:rehearse")
TESTS = Start("rlvr.verifiers.code.trusted:enter", _COMMON)
TESTS_LIMITS = Limits(
    seconds=3600, memory_mb=1024, disk_mb=1
)  # of a child that serves many verdicts
LOADED, ASKED = b"l", b"a"  # what the tests note on their way


@dataclass(frozen=True)
class Judged:
    """What came of one run: the tests' report, or how the program ended that left none; never neither."""

    report: dict[str, Any] | None
    ending: Ending | None
    progress: bytes  # of the tests: LOADED once the program runs, ASKED once they use it


@dataclass(frozen=True)
class Tester:
    """A child that runs one job's tests after the other."""

    jobs: socket.socket
    notes: int  # a pipe on which it says how far it got
    until: float  # when to replace it, monotonic clock

    def progress(self) -> bytes:
        """What it said since the last call."""
        try:
            return os.read(self.notes, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self.jobs.close()
        os.close(self.notes)


class Pair:
    """Use from one thread at a time."""

    def __init__(self, mode: str) -> None:
        self.programs = Server(PROGRAM, mode)
        try:
            self.tests = Server(TESTS, mode)
        except SandboxError:
            self.programs.close()
            raise
        self.mode = mode
        self._tester: Tester | None = None
        self.owner = os.getpid()
        self.tier = self.programs.tier

    def close(self) -> None:
        if self._tester is not None:
            self._tester.close()
        self.programs.close()
        self.tests.close()

    def wait(self) -> None:
        """After `close`: until both servers are gone."""
        self.programs.wait()
        self.tests.wait()

    @property
    def lost(self) -> bool:
        """A server did not do what it was told in time: not to be used again."""
        return self.programs.lost or self.tests.lost

    def run_tests(self, order: dict[str, Any], limits: Limits) -> Judged:
        """Both children, until the tests report or the time is up. Raises SandboxError."""
        left, right = socket.socketpair()
        with left, right:
            self.programs.start(limits, left.fileno())
            try:
                tester = self._ready_tester()
                socket.send_fds(tester.jobs, [b"."], [right.fileno()])
            except (OSError, SandboxError) as error:
                self.programs.stop()
                raise SandboxError(f"the tests cannot be started: {error}") from None
        report, died = None, False
        try:
            frames.send(tester.jobs.fileno(), order)
            if _readable(tester.jobs, time.monotonic() + limits.seconds + SERVER_SECONDS):
                report = frames.receive(tester.jobs.fileno())
                died = report is None
        except (OSError, frames.FrameError):
            report, died = None, True
        ending = self._end_program(report)
        progress = tester.progress()
        if not (report and report["reusable"]):
            self._drop_tester()
        if died and ASKED not in progress:
            raise SandboxError("the process of the tests died")
        return Judged(report, ending, progress)

    def _end_program(self, report: dict[str, Any] | None) -> Ending | None:
        """How the program ended, where the verdict follows from that."""
        if report is None:
            return self.programs.stop()
        if report["status"] == "lost":  # it ended, or closed its channel and goes on
            return self.programs.finish()
        self.programs.kill()
        return None

    def _ready_tester(self) -> Tester:
        """A child that waits for tests."""
        if self._tester is not None and time.monotonic() > self._tester.until:
            self._drop_tester()
        if self._tester is None:
            here, there = socket.socketpair()
            notes, writer = os.pipe()
            try:
                with there:
                    self.tests.start(TESTS_LIMITS, there.fileno(), writer)
            finally:
                os.close(writer)
            os.set_blocking(notes, False)
            self._tester = Tester(here, notes, time.monotonic() + TESTS_LIMITS.seconds / 2)
        return self._tester

    def _drop_tester(self) -> None:
        if self._tester is not None:
            self._tester.close()
            self._tester = None
            self.tests.kill()

    def run_script(self, order: dict[str, Any], stdin: bytes, limits: Limits, most: int) -> Ran:
        """One run with this standard input and at most `most` bytes of output. Raises SandboxError."""
        return script.run(self.programs, order, stdin, limits, most)


def _readable(connection: socket.socket, until: float) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(max(0.0, until - time.monotonic()) * 1000))


_idle: list[Pair] = []
_lock = threading.Lock()


def take(mode: str, fresh: bool = False) -> Pair:
    """An idle pair of this process, or a new one. Raises SandboxError."""
    with _lock:
        for pair in () if fresh else _idle:
            if pair.mode == mode and pair.owner == os.getpid():
                _idle.remove(pair)
                return pair
    return Pair(mode)


def give_back(pair: Pair) -> None:
    if pair.lost:
        pair.close()
        return
    with _lock:
        _idle.append(pair)


@atexit.register
def close_all() -> None:
    """End the idle servers of this process."""
    with _lock:
        mine = [pair for pair in _idle if pair.owner == os.getpid()]
        _idle.clear()
    for pair in mine:
        pair.close()
    for pair in mine:
        pair.wait()

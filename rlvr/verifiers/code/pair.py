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

_COMMON = (
    *("abc", "array", "ast", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses"),
    *("datetime", "decimal", "enum", "fractions", "functools", "heapq", "inspect", "io"),
    *("itertools", "json", "math", "operator", "random", "re", "statistics", "string", "textwrap"),
    *("threading", "time", "types", "typing", "unicodedata", "warnings"),
)
PROGRAM = Start("rlvr.verifiers.code.inside:enter", _COMMON)
TESTS = Start("rlvr.verifiers.code.trusted:enter", _COMMON)
TESTS_LIMITS = Limits(
    seconds=3600, memory_mb=1024, disk_mb=1
)  # of a child that serves many verdicts
TESTS_SECONDS = 0.25  # after the program's limit, so that the program's end is what is reported


@dataclass(frozen=True)
class Judged:
    """What came of one run: the tests' report, None when they gave none, and how the program ended."""

    report: dict[str, Any] | None
    ending: Ending
    state: str  # how far the tests got: "", "loaded" (the program runs), "asked" (they use it)


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
        self._tester: socket.socket | None = None
        self._tester_until = 0.0
        self.owner = os.getpid()
        self.tier = self.programs.tier

    def close(self) -> None:
        if self._tester is not None:
            self._tester.close()
        self.programs.close()
        self.tests.close()

    def run_tests(self, order: dict[str, Any], limits: Limits) -> Judged:
        """Both children, until the tests report or the time is up. Raises SandboxError."""
        left, right = socket.socketpair()
        with left, right:
            self.programs.start(limits, left.fileno())
            try:
                tester = self._ready_tester()
                socket.send_fds(tester, [b"."], [right.fileno()])
            except (OSError, SandboxError) as error:
                self.programs.finish()
                raise SandboxError(f"the tests cannot be started: {error}") from None
        until = time.monotonic() + limits.seconds + TESTS_SECONDS
        report, state, died = None, "", False
        try:
            frames.send(tester.fileno(), order)
            while _readable(tester, until):
                report = frames.receive(tester.fileno())
                state = (report or {}).get("state", state)
                died = report is None
                if report is None or "status" in report:
                    break
        except (OSError, frames.FrameError):
            report, died = None, True
        finally:
            gone = report is not None and report.get("status") == "lost"
            ending = self.programs.finish(stop=not gone)
            if not (report and report.get("reusable")):
                self._drop_tester()
        if died and state != "asked":
            raise SandboxError("the process of the tests died")
        return Judged(report if report and "status" in report else None, ending, state)

    def _ready_tester(self) -> socket.socket:
        """The channel of a child that waits for tests."""
        if self._tester is not None and time.monotonic() > self._tester_until:
            self._drop_tester()
        if self._tester is None:
            here, there = socket.socketpair()
            with there:
                self.tests.start(TESTS_LIMITS, there.fileno())
            self._tester = here
            self._tester_until = time.monotonic() + TESTS_LIMITS.seconds / 2
        return self._tester

    def _drop_tester(self) -> None:
        if self._tester is not None:
            self._tester.close()
            self._tester = None
            self.tests.finish()

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

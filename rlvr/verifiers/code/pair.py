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
TESTS_MEMORY_MB = 1024
TESTS_SECONDS = 0.25  # after the program's limit, so that the program's end is what is reported


@dataclass(frozen=True)
class Judged:
    """What came of one run: the tests' report, None when they gave none, and how the program ended."""

    report: dict[str, Any] | None
    ending: Ending
    asked: bool  # the tests got as far as to question the program


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
        self.owner = os.getpid()
        self.tier = self.programs.tier

    def close(self) -> None:
        self.programs.close()
        self.tests.close()

    def run_tests(self, order: dict[str, Any], limits: Limits) -> Judged:
        """Both children, until the tests report or the time is up. Raises SandboxError."""
        here, job = socket.socketpair()
        left, right = socket.socketpair()
        with here:
            with job, left, right:
                self.programs.start(limits, left.fileno())
                patience = Limits(limits.seconds + TESTS_SECONDS, TESTS_MEMORY_MB, 1, processes=64)
                try:
                    self.tests.start(patience, job.fileno(), right.fileno())
                except SandboxError:
                    self.programs.finish()
                    raise
            until = time.monotonic() + limits.seconds + TESTS_SECONDS
            report, asked = None, False
            try:
                frames.send(here.fileno(), order)
                while _readable(here, until):
                    report = frames.receive(here.fileno())
                    asked = asked or bool(report and "asked" in report)
                    if report is None or "status" in report:
                        break
            except (OSError, frames.FrameError):  # the tests' child died; there is no report
                report = None
            finally:
                gone = bool(report) and report.get("status") == "lost"
                ending = self.programs.finish(stop=not gone)
                self.tests.finish()
        return Judged(report if report and "status" in report else None, ending, asked)

    def run_script(self, order: dict[str, Any], stdin: bytes, limits: Limits, most: int) -> Ran:
        """One run with this standard input and at most `most` bytes of output. Raises SandboxError."""
        return script.run(self.programs, order, stdin, limits, most)


def _readable(connection: socket.socket, until: float) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(max(0.0, until - time.monotonic()) * 1000))


_idle: list[Pair] = []
_lock = threading.Lock()


def take(mode: str) -> Pair:
    """An idle pair of this process, or a new one. Raises SandboxError."""
    with _lock:
        for pair in _idle:
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

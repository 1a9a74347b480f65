"""The parent's side of a query process: start it, ask it, kill it when it is late."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import rlvr
from rlvr.verifiers.sql.engines import Job, Reply
from rlvr.verifiers.sql.wire import HEADER, pack, rows, unpack

GRACE = 0.1  # seconds that a process has to notice its own deadline before it is killed
# isolated from environment and working folder; finds what this process finds, after its own library
_BOOT = (
    "import sys; sys.path.extend(sys.argv[1].split(chr(0x1f))); "
    "from rlvr.verifiers.sql.runner import main; main()"
)


def _command(scheme: str, memory_mb: int) -> list[str]:
    root = str(Path(rlvr.__file__).parents[1])
    places = "\x1f".join([root, *filter(os.path.isabs, sys.path)])
    program = [sys.executable, "-I", "-X", "utf8", "-c", _BOOT]
    return [*program, places, scheme, str(memory_mb)]


class Died(Exception):
    """The process ended without an answer."""


class QueryProcess:
    """One query process; started when first asked, started again after a kill. One job at a
    time.
    """

    def __init__(self, scheme: str, memory_mb: int) -> None:
        self.scheme = scheme
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = 0.0
        self._answer_bytes = 0

    def start(self) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                _command(self.scheme, self._memory_mb),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
            )

    def send(self, job: Job) -> None:
        """Begin a job. Its deadline runs from now."""
        self._deadline = time.monotonic() + job.seconds + GRACE
        # JSON writes a byte as six characters at most, and a cell needs its commas and brackets
        self._answer_bytes = 6 * job.max_bytes + 64 * job.max_rows + 100_000
        message = pack(asdict(job))
        for attempt in range(2):
            self.start()
            assert self._process
            assert self._process.stdin
            try:
                self._process.stdin.write(message)
                self._process.stdin.flush()
                return
            except OSError:  # it died while nothing was asked of it
                self.kill()
                if attempt:
                    raise Died("the query process does not start") from None

    def receive(self, at_least: float = 0.0) -> Reply:
        """The answer; a late process is killed and the reply says timeout. Raises Died.

        `at_least`: seconds that reading may take even after the deadline, for an answer that
        waited in the pipe.
        """
        deadline = max(self._deadline, time.monotonic() + at_least)
        try:
            size = int.from_bytes(self._read(HEADER, deadline), "big")
            if size > self._answer_bytes:
                raise Died("the query process sent too much")
            message = unpack(self._read(size, deadline))
        except TimeoutError:
            self.kill()
            self.start()  # now, so that the next job does not wait for it
            return Reply("timeout", "took too long")
        except Died:
            self.kill()
            raise
        reply = Reply(**message)
        return Reply(reply.error, reply.detail, reply.width, rows(reply.rows))

    def kill(self) -> None:
        """End the process now. The next job starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        parts: list[bytes] = []
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while size:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError
            part = os.read(descriptor, min(size, 1 << 20))
            if not part:
                raise Died("the query process died")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

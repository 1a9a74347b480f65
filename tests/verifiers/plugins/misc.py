"""Small verifiers that behave well and badly, for the pool's tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import ClassVar

from rlvr.types import Verdict


def equal(response, reference):
    return response == reference


@dataclass(frozen=True)
class Obey:
    """Does what the response says: the pool's tests steer workers with it."""

    timeout: float = 1.0
    grace: ClassVar[float] = 0.0
    version: ClassVar[str] = "1"

    def __call__(
        self, response: str, reference: object = None, **fields: object
    ) -> Verdict | bool | float:
        verb, _, rest = response.partition(" ")
        return getattr(self, f"do_{verb}")(rest, fields)

    def do_ok(self, rest, fields):
        return True

    def do_no(self, rest, fields):
        return False

    def do_score(self, rest, fields):
        return float(rest)

    def do_hang(self, rest, fields):
        while True:
            time.sleep(60)

    def do_spin(self, rest, fields):
        return sum(1 for _ in iter(int, 1))

    def do_sleep(self, rest, fields):
        time.sleep(float(rest.split()[0]))
        return True

    def do_segv(self, rest, fields):
        os.kill(os.getpid(), signal.SIGSEGV)

    def do_exit(self, rest, fields):
        os._exit(int(rest))

    def do_quit(self, rest, fields):
        sys.exit("no more")

    def do_raise(self, rest, fields):
        raise ValueError(rest)

    def do_memory(self, rest, fields):
        return len(b"x" * (int(rest.split()[0]) * 2**20)) > 0

    def do_print(self, rest, fields):
        print("x" * 10_000_000, flush=True)
        return True

    def do_close(self, rest, fields):
        os.closerange(3, 100)
        return True

    def do_pid(self, rest, fields):
        return Verdict.wrong(str(os.getpid()))

    def do_parent(self, rest, fields):
        return Verdict.wrong(str(os.getppid()))

    def do_children(self, rest, fields):
        """A child, a child in another session, and one whose parent is gone; then hang."""
        code = "import time; time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code, rest])
        subprocess.Popen([sys.executable, "-c", code, rest], start_new_session=True)
        child = f"[sys.executable, '-c', {code!r}, {rest!r}]"
        twice = f"import subprocess, sys; subprocess.Popen({child}, start_new_session=True)"
        subprocess.run([sys.executable, "-c", twice], check=True)
        time.sleep(600)

    def do_fields(self, rest, fields):
        return Verdict.wrong(repr(sorted(fields.items())))

    def do_env(self, rest, fields):
        return Verdict.wrong(repr(sorted(os.environ)))

"""What a worker process may use, and how it dies with its server.

Not covered: what a verifier writes to the network or the file system. A worker is killable and
bounded, not jailed; model-written programs and queries run in the sandboxes of `code` and `sql`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

MEGABYTE = 2**20
SPARE_PROCESSES = (
    512  # above what the user already runs; RLIMIT_NPROC counts a user's processes, not a tree's
)
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Descendants that lose their parent become this process's children: found, and killed."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def own_tasks() -> int:
    """Processes of this user right now."""
    count, user = 0, os.getuid()
    for entry in os.scandir("/proc") if os.path.isdir("/proc") else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == user:
                    count += len(os.listdir(f"/proc/{entry.name}/task"))
    return count


def limit(memory_mb: int, file_mb: int, processes: int) -> None:
    """0 is no limit. Memory (address space) and files in MiB; a lower limit stays."""
    _lower(resource.RLIMIT_CORE, 0)
    if memory_mb:
        _lower(resource.RLIMIT_AS, memory_mb * MEGABYTE)
    if file_mb:
        _lower(resource.RLIMIT_FSIZE, file_mb * MEGABYTE)
    if processes:
        _lower(resource.RLIMIT_NPROC, processes)
    with contextlib.suppress(
        OSError
    ):  # when memory runs out, the kernel should take a worker first
        Path("/proc/self/oom_score_adj").write_text("500")


def _lower(which: int, value: int) -> None:
    soft, hard = resource.getrlimit(which)
    ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
    if soft == resource.RLIM_INFINITY or soft > ceiling:
        soft = ceiling
    resource.setrlimit(which, (soft, ceiling))


class CpuAllowance:
    """RLIMIT_CPU counts from a process's birth, so each job moves it forward."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0
        self._hard = resource.getrlimit(resource.RLIMIT_CPU)[1]

    def renew(self) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        needed = int(usage.ru_utime + usage.ru_stime + self._seconds) + 1
        if needed > self._until and (self._hard == resource.RLIM_INFINITY or needed < self._hard):
            self._until = needed
            resource.setrlimit(resource.RLIMIT_CPU, (needed, self._hard))

"""How much one jailed program may use, and the kernel limits that follow from it."""

from __future__ import annotations

import math
import resource
from dataclasses import dataclass, replace

MEGABYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """All of one program and everything it starts, but `memory_mb`, which also bounds each process alone."""

    seconds: float = 4.0  # wall clock
    memory_mb: int = 512
    disk_mb: int = 64
    inodes: int = 4096  # files and folders
    processes: int = 64  # and threads
    descriptors: int = 64

    def within(self, seconds: float) -> Limits:
        return replace(self, seconds=seconds)


def apply(limits: Limits) -> None:
    """Set the kernel's limits in this process. Never raises a limit that is already lower."""
    for which, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory_mb * MEGABYTE),
        (resource.RLIMIT_FSIZE, limits.disk_mb * MEGABYTE),
        (resource.RLIMIT_NOFILE, limits.descriptors),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, 256),
    ):
        hard = resource.getrlimit(which)[1]
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (ceiling, ceiling))


def apply_time(seconds: float) -> None:
    """Processor time of this process: a little above the wall clock's limit."""
    hard = math.ceil(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))

"""The layers around one judged program, put together per tier. Runs in the server and its children only.

Not covered in tier `landlock`: total disk use is watched, not capped; programs see the host's process numbers and file
names. Not covered in tier `rlimits`: everything but time, memory, file size and the system-call filter.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

from rlvr.verifiers.sandbox import folder, kernel, landlock, limits, namespaces, seccomp
from rlvr.verifiers.sandbox.limits import Limits

NAMESPACES, LANDLOCK, RLIMITS = "namespaces", "landlock", "rlimits"  # strongest first
SPARE = 0x7F000000  # user numbers that nobody owns a file under; one for each server
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Walls:
    """What this server can put between a program and the machine.

    `mode` is what to try: "root" (namespaces by privilege), "user" (by a user namespace), "landlock" or "rlimits".
    """

    mode: str
    readable: list[str]
    number: int  # makes the user number of this server's programs its own: limits count per user
    off: dict[str, str] = field(default_factory=dict)  # layer -> why it is not there
    _used: list[str] = field(default_factory=list)  # folders to remove
    spare: int | None = None  # user number of the programs, when the server may choose it

    @property
    def tier(self) -> str:
        return NAMESPACES if self.mode in ("root", "user") else self.mode

    def raise_up(self) -> None:
        """Once, in the server. Raises OSError when this machine does not give what the mode needs."""
        self._landlock = landlock.abi()
        if not self._landlock:
            self.off["landlock"] = "this kernel has none"
            if self.mode == LANDLOCK:
                raise OSError("no Landlock")
        if os.geteuid() == 0 and self.mode != "user":
            self.spare = self._unowned()
        self._processes: int | None = None
        if self.tier == NAMESPACES:
            self._processes = namespaces.build_root(self.readable)
            own = "/proc/self/ns/pid" if self._processes is None else "self/ns/pid"
            self._own = os.open(own, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._processes)
        else:
            self.off["namespaces"] = "not used in this tier"
            folder.remove_abandoned()
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
            self._processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if self._processes is None:
            self.off["memory guard"] = "no /proc inside: only the limit of each process"
        self._filter = self._filter_program()

    def _filter_program(self) -> bytes:
        if kernel.MACHINE not in seccomp.AUDIT_ARCH:
            self.off["seccomp"] = f"no list for {kernel.MACHINE}"
            if self.tier != RLIMITS:
                raise OSError(self.off["seccomp"])
            return b""
        strangers = self.tier != NAMESPACES and self._landlock < 6 and self.spare is None
        return seccomp.assemble(signals=strangers)

    def _unowned(self) -> int | None:
        """A user number that may be taken: an unused one, nobody, or none."""
        for number in (SPARE + self.number, 65534):
            pid = os.fork()
            if pid == 0:
                try:
                    os.setresuid(number, number, number)
                    if self.tier != NAMESPACES:
                        os.close(os.open(os.__file__, os.O_RDONLY))
                except OSError:
                    os._exit(1)
                os._exit(0)
            if os.waitpid(pid, 0)[1] == 0:
                return number
        self.off["user"] = "no other user number can be taken here, or it cannot read this Python"
        return None

    def fork(self) -> tuple[int, str]:
        """Like os.fork, and the folder in which the child works; the child must call `enter`."""
        if self.tier == NAMESPACES:
            namespaces.next_child_apart(self._own)
            return os.fork(), "/tmp"
        home = folder.make()
        if self.spare is not None:
            os.chown(home, self.spare, self.spare)
        return os.fork(), home

    def enter(self, bounds: Limits, keep: set[int], home: str) -> None:
        """In the child: every layer, in the order in which each still allows the next. Raises OSError."""
        os.setsid()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if self.tier == NAMESPACES:
            namespaces.private_tmp(bounds, self.readable)
        else:
            os.chdir(home)
        _close_others(keep)
        limits.apply(bounds)
        if self.spare is not None:
            os.setgroups([])
            os.setresgid(self.spare, self.spare, self.spare)
            os.setresuid(self.spare, self.spare, self.spare)
        kernel.drop_capabilities()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user clears it
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        if self._landlock and self.tier != RLIMITS:
            readable = ["/"] if self.tier == NAMESPACES else self.readable
            landlock.restrict(self._landlock, readable, [home], namespaces.DEVICES)
        if self._filter:
            seccomp.install(self._filter)

    def kill(self, child: int, others: set[int]) -> bool:
        """Kill the program. True when that is all there was of it, so that nothing of it runs any more.

        `others`: processes in here that are none of the program's.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        if self.tier != NAMESPACES or self._processes is None:
            return False
        return self._inside() <= {str(pid) for pid in (child, *others)}

    def end(self, child: int, home: str) -> tuple[int, float]:
        """Kill the program and all it started, and wait. Returns wait status and CPU seconds."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        if self.tier != NAMESPACES:
            self._sweep()
            self._used.append(home)
        return status, usage.ru_utime + usage.ru_stime

    def clean(self) -> None:
        """Remove the folders of the programs that have ended; a verdict does not wait for this."""
        while self._used:
            with contextlib.suppress(OSError):  # left to `remove_abandoned`
                folder.remove(self._used.pop())

    def _sweep(self) -> None:
        """Descendants that outlived the program became children of this server. None is left behind."""
        while True:
            for pid in list(self._descendants(os.getpid())):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return

    def _descendants(self, pid: int) -> Iterator[int]:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as children:
                    for child in map(int, children.read().split()):
                        yield child
                        yield from self._descendants(child)

    def used_memory(self, child: int, others: set[int]) -> int:
        """Resident bytes of the program and all it started; pages shared after a fork count for each.

        `others`: processes in here that are none of the program's.
        """
        if self._processes is None:
            return 0
        if self.tier == NAMESPACES:
            names = self._inside() - {str(pid) for pid in others}
        else:
            names = {str(child), *map(str, self._descendants(child))}
        return sum(map(self._resident, names))

    def _inside(self) -> set[str]:
        """Numbers of the processes in this server's namespace, the server's own left out."""
        return {name for name in os.listdir(self._processes) if name.isdigit()} - {"1"}

    def _resident(self, pid: str) -> int:
        try:
            descriptor = os.open(f"{pid}/statm", os.O_RDONLY, dir_fd=self._processes)
        except OSError:  # it just ended
            return 0
        try:
            return int(os.read(descriptor, 256).split()[1]) * PAGE
        except (OSError, IndexError):
            return 0
        finally:
            os.close(descriptor)

    def overfull(self, home: str, bounds: Limits) -> bool:
        """The program's folder holds too much; in tier `namespaces` the kernel sees to that."""
        if self.tier == NAMESPACES:
            return False
        size, entries = folder.used(home, bounds.inodes)
        return size > bounds.disk_mb * limits.MEGABYTE or entries > bounds.inodes


def _close_others(keep: set[int]) -> None:
    low = 3
    for descriptor in sorted(keep):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, 65536)

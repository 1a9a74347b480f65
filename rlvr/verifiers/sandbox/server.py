"""The fork server of the sandbox: started clean, single-threaded, one program at a time.

It never holds a test, a gold, a secret or a program: it forks, and the child reads its own work from its own channel.
It is executed with an empty environment, imports nothing of the trainer, and ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any

from rlvr.verifiers.sandbox import kernel, limits, probe
from rlvr.verifiers.sandbox.limits import MEGABYTE, Limits
from rlvr.verifiers.sandbox.walls import NAMESPACES, Walls

ORPHAN = (
    1.0  # seconds after which the end of the caller is noticed though its children hold the channel
)
HURRY = 0.015  # seconds between two programs that leave no time to make a child ready in between
WATCH = 0.02  # seconds between two looks at memory
PACKET = 65536


def main(descriptor: int) -> None:
    """Entered by a fresh interpreter. `descriptor` is the control socket; its first message says what to be."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's; it closes the channel
    control = socket.socket(fileno=descriptor)
    order = json.loads(control.recv(PACKET))
    walls = Walls(order["mode"], order["readable"], order["number"])
    try:
        for name in order["preload"]:
            importlib.import_module(name)
        entry, rehearse = _function(order["entry"]), _function(order["rehearse"])
        sys.path[:] = [path for path in sys.path if path] + order["sites"]
        if walls.tier == NAMESPACES:
            _become_first(walls, descriptor)
        walls.raise_up()
        layers = probe.inside(walls)
    except OSError as error:
        control.send(json.dumps({"failed": str(error)}).encode())
        return
    kernel.drop_bounding_set()
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"ready": layers, "tier": walls.tier}).encode())
    Server(control, walls, entry, rehearse).run()


def _function(name: str) -> Any:
    """`module:function`; a function that does nothing for ""."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function) if module else lambda: None


def _become_first(walls: Walls, control: int) -> None:
    """Into the namespaces; what returns is the first process in them. The other one only waits for its end."""
    from rlvr.verifiers.sandbox import namespaces

    parent = os.getppid()
    namespaces.leave(user=walls.mode == "user")
    child = os.fork()
    if child:
        os.close(control)
        poll = select.poll()
        poll.register(os.pidfd_open(child), select.POLLIN)
        while not poll.poll(1000 * ORPHAN) and os.getppid() == parent:
            pass
        os._exit(0)  # takes the first process along, and that one everything in its namespaces
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()


@dataclass(frozen=True)
class Child:
    """A process behind its walls that waits for its descriptors, and then for nothing more from here."""

    pid: int
    link: socket.socket
    home: str
    limits: Limits


class Server:
    """The next child is made ready after this one has run; when one follows on the other, while it runs.

    Never while it runs in the weaker tiers: the next child would be among the processes that its end sweeps away.
    """

    def __init__(self, control: socket.socket, walls: Walls, entry: Any, rehearse: Any) -> None:
        self._control = control
        self._walls = walls
        self._entry = entry
        self._rehearse = rehearse
        self._spare: Child | None = None
        self._graves: set[int] = set()  # killed, not yet waited for
        self._reported = 0.0  # when the last program's end was, monotonic clock

    def run(self) -> None:
        """Until the other end of the control socket closes, or whoever started this process ends."""
        while (message := self._next()) is not None:
            data, descriptors = message
            order = json.loads(data)
            if "start" not in order:  # a late "stop" for a program that has ended already
                continue
            bounds = Limits(**order["start"])
            try:
                report = self._one(bounds, descriptors)
            except OSError as error:
                report = {"failed": str(error)}
            with contextlib.suppress(OSError):  # nobody is there any more, which `_next` sees
                self._control.send(json.dumps(report).encode())
            self._reported = time.monotonic()
            self._walls.clean()
            self._prepare(bounds)
            self._bury()
        if self._spare is not None:
            self._end(self._spare)
            self._walls.clean()

    def _prepare(self, bounds: Limits) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):  # then the next start tries, and reports
                self._spare = self._make(bounds)

    @property
    def _others(self) -> set[int]:
        """Processes in here that are none of the running program's."""
        return self._graves | ({self._spare.pid} if self._spare else set())

    def _no_wait(self) -> bool:
        """Whether who stops the program only needs to know that it runs no more."""
        message = self._next()
        return message is not None and json.loads(message[0]).get("stop") == "kill"

    def _bury(self) -> None:
        self._graves -= {pid for pid in self._graves if os.waitpid(pid, os.WNOHANG)[0]}

    def _next(self) -> tuple[bytes, list[int]] | None:
        parent = os.getppid()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while not poll.poll(1000 * ORPHAN):
            if os.getppid() != parent:
                return None
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, PACKET, 8)
        except OSError:  # it closed and had not read everything
            return None
        return (data, descriptors) if data else None

    def _one(self, bounds: Limits, descriptors: list[int]) -> dict[str, object]:
        """Run one program to its end, whatever that is."""
        try:
            child = self._ready(bounds)
            socket.send_fds(child.link, [str(bounds.seconds).encode()], descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        hurried = time.monotonic() - self._reported < HURRY
        if hurried and self._walls.tier == NAMESPACES:
            self._prepare(bounds)
        try:
            why = self._watch(child, bounds)
        except BaseException:
            self._end(child)
            raise
        if why == "stop" and self._no_wait() and self._walls.kill(child.pid, self._others):
            child.link.close()
            self._graves.add(child.pid)
            return {"killed": True}
        status, cpu = self._end(child)
        killed = os.WIFSIGNALED(status)
        return {
            "why": why,
            "signal": os.WTERMSIG(status) if killed else None,
            "code": None if killed else os.WEXITSTATUS(status),
            "cpu": cpu,
        }

    def _ready(self, bounds: Limits) -> Child:
        """The spare child where it has these limits (whatever its time), or a new one. Raises OSError."""
        child, self._spare = self._spare, None
        if child is not None and child.limits.within(bounds.seconds) != bounds:
            self._end(child)
            child = None
        child = child or self._make(bounds)
        if not child.link.recv(1):
            self._end(child)
            raise OSError("a layer failed for this program")
        return child

    def _make(self, bounds: Limits) -> Child:
        ours, theirs = socket.socketpair()
        with theirs:
            pid, home = self._walls.fork()
            if pid == 0:
                try:
                    self._child(bounds, theirs, home)
                finally:
                    os._exit(70)  # never back into the server's loop
        return Child(pid, ours, home, bounds)

    def _end(self, child: Child) -> tuple[int, float]:
        child.link.close()
        return self._walls.end(child.pid, child.home)

    def _child(self, bounds: Limits, link: socket.socket, home: str) -> None:
        gc.enable()
        self._walls.enter(bounds, {link.fileno()}, home)
        os.environ.update(PATH="/usr/bin:/bin", HOME=home, TMPDIR=home, LANG="C.UTF-8")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._rehearse()
        link.send(b".")
        seconds, descriptors, _, _ = socket.recv_fds(link, 64, 8)
        link.close()
        if descriptors:
            limits.apply_time(float(seconds))
            self._entry(descriptors, home)

    def _watch(self, child: Child, bounds: Limits) -> str:
        """Until the program ends by itself ("") or must end: "time", "memory", "disk" or "stop"."""
        deadline = time.monotonic() + bounds.seconds
        ended = os.pidfd_open(child.pid)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        try:
            while (left := deadline - time.monotonic()) > 0:
                ready = dict(poll.poll(min(left, WATCH) * 1000))
                if ended in ready:
                    return ""
                if ready:
                    return "stop"  # asked to, or the other side is gone
                if self._walls.used_memory(child.pid, self._others) > bounds.memory_mb * MEGABYTE:
                    return "memory"
                if self._walls.overfull(child.home, bounds):
                    return "disk"
            return "time"
        finally:
            os.close(ended)

"""The fork server: started clean, loads the verifier once, forks workers on request, kills and
reaps them.

It is single-threaded and never sees a case, so nothing a response holds can reach it. It ends with
the process that started it, however that ends, and takes every worker and every worker's descendant
along.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from rlvr.verifiers import limits
from rlvr.verifiers.calling import Call, Traits
from rlvr.verifiers.spec import Spec
from rlvr.verifiers.worker import brief, work

PREPARE_SECONDS = (
    300  # for imports and probes; a verifier that hangs here would never notice its parent's death
)
PACKET = 2**20


def main(descriptor: int) -> None:
    """Entered by a fresh interpreter; `descriptor` is the control socket."""
    Server(socket.socket(fileno=descriptor)).run()


class Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._parent = os.getppid()
        self._workers: dict[int, int] = {}  # pid -> worker number
        self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # written by the handler of SIGCHLD
        self._tasks = Path(f"/proc/self/task/{os.getpid()}/children")

    def run(self) -> None:
        limits.adopt_orphans()
        signal.alarm(PREPARE_SECONDS)
        try:
            order = json.loads(self._control.recv(PACKET))
            verifier = Spec.from_json(order["spec"]).build()
            if hasattr(verifier, "prepare"):
                verifier.prepare()
            self._call = Call(verifier)
            self._traits = Traits(**order["traits"])
        except BaseException as error:  # noqa: BLE001 - whatever it is must reach the user
            self._say(failed=brief(error))
            return
        signal.alarm(0)
        self._processes = limits.own_tasks() + limits.SPARE_PROCESSES
        gc.collect()
        gc.freeze()  # the workers share these pages for as long as nobody touches them
        self._say(ready=os.getpid())
        try:
            self._loop()
        finally:
            self._end()

    def _loop(self) -> None:
        wake_read, wake_write = self._wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        while os.getppid() == self._parent:
            watched: list[socket.socket | int] = [self._control, wake_read]
            ready, _, _ = select.select(watched, [], [], 1.0)
            if wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 4096)
                self._reap()
            if self._control in ready and not self._order():
                return

    def _order(self) -> bool:
        """Obey one message; False when the pool is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, PACKET, 1)
        except OSError:
            return False
        if not data:
            return False
        order: dict[str, Any] = json.loads(data)
        if "fork" in order:
            self._fork(order["fork"], descriptors[0])
        else:
            for pid, number in self._workers.items():
                if number == order["kill"]:
                    _kill_group(pid)
        return True

    def _fork(self, number: int, channel: int) -> None:
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(channel)
            self._say(exit=number, code=None, signal=None, reason=f"no process: {error}")
            return
        if pid == 0:
            try:
                os.setsid()
                limits.die_with_parent(server)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for descriptor in (*self._wake, self._control.fileno()):
                    os.close(descriptor)
                limits.adopt_orphans()
                work(channel, self._call, self._traits, self._processes)
            finally:
                os._exit(70)  # never back into the server's loop
        os.close(channel)
        self._workers[pid] = number

    def _reap(self) -> None:
        """Report who died. A group is killed before its leader is reaped and its number free."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                break
            if found.si_pid in self._workers:
                _kill_group(found.si_pid)
            _, status = os.waitpid(found.si_pid, 0)
            number = self._workers.pop(found.si_pid, None)
            if number is not None:
                killed = os.WIFSIGNALED(status)
                self._say(
                    exit=number,
                    code=None if killed else os.WEXITSTATUS(status),
                    signal=os.WTERMSIG(status) if killed else None,
                    reason="",
                )
        self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Children that are not workers lost theirs: whatever session they fled to, they end."""
        with contextlib.suppress(OSError):
            for pid in map(int, self._tasks.read_text().split()):
                if pid not in self._workers:
                    with contextlib.suppress(OSError):
                        if os.getpgid(pid) == pid:
                            _kill_group(pid)
                        os.kill(pid, signal.SIGKILL)

    def _say(self, **message: object) -> None:
        with contextlib.suppress(OSError):  # the pool is gone; the loop notices next
            self._control.send(json.dumps(message).encode())

    def _end(self) -> None:
        for pid in self._workers:
            _kill_group(pid)
        signal.alarm(5)  # a process in uninterruptible sleep must not keep this one
        while True:
            self._kill_orphans()
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                return
            self._workers.pop(pid, None)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from rlvr.verifiers.server import main; main(int(sys.argv[1]))"
)


def command(descriptor: int) -> list[str]:
    """Starts a server that looks for modules where this process does, and nowhere else."""
    path = [str(Path(each or ".").resolve()) for each in sys.path]
    return [sys.executable, "-s", "-P", "-c", BOOT, str(descriptor), json.dumps(path)]


INSIDE = "RLVR_INSIDE_POOL"  # set in the server and its workers
KEPT = ("PATH", "HOME", "USER", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


def environment() -> dict[str, str]:
    """Nothing of the trainer's but where things are: no token or key is in reach of a worker."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or name.startswith("RLVR_")
    }
    return {
        **kept,
        INSIDE: "1",
        "PYTHONHASHSEED": "0",  # a verdict must not depend on the order of a set
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "SYMPY_GROUND_TYPES": "python",  # gmpy2 aborts the process on a number too large
    }

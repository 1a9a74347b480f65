"""The near side of a sandbox server: start it, give it one program at a time, learn how the program ended."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr.verifiers.sandbox.limits import Limits
from rlvr.verifiers.sandbox.walls import LANDLOCK, NAMESPACES, RLIMITS

START_SECONDS = 20.0
END_SECONDS = (
    0.6  # a killed program is gone within milliseconds, a swollen tree of them within a few hundred
)
SERVER_SECONDS = 0.2  # after a program's time, in which the server ends it by itself
CLOSE_SECONDS = 5.0  # for a server to end its program and clean up after it
PACKET = 65536
TIERS = (NAMESPACES, LANDLOCK, RLIMITS)  # strongest first

# A package tree without the code of its `__init__` files: the server must not load the trainer.
BOOT = """
import sys, types
root, descriptor = sys.argv[1:]
for name in ("", ".verifiers", ".verifiers.sandbox", ".verifiers.code"):
    package = types.ModuleType("rlvr" + name)
    package.__path__ = [root + name.replace(".", "/")]
    sys.modules["rlvr" + name] = package
del sys.argv[1:]
from rlvr.verifiers.sandbox.server import main
main(int(descriptor))
"""


class SandboxError(Exception):
    """The sandbox itself failed, or this machine gives less isolation than was asked for."""


@dataclass(frozen=True)
class Ending:
    """How a program ended. `why` is "" when it ended by itself, else what ended it: time, memory, disk or stop."""

    why: str
    signal: int | None
    code: int | None
    cpu: float  # seconds, of the program's first process and the children it waited for


@dataclass(frozen=True)
class Start:
    """What a server is: which function its children run, and what they find imported."""

    entry: str  # "module:function", called with (descriptors, home) in the jail
    preload: tuple[str, ...] = ()
    rehearse: str = (
        ""  # "module:function", called in a child that waits, so that its first work is not slow
    )


class Server:
    """One fork server. Use from one thread at a time."""

    def __init__(self, start: Start, mode: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                _command(theirs.fileno()),
                env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd="/",
            )
        self._control = ours
        self.lost = False  # not to be used again
        try:
            self._send(
                {
                    "mode": mode,
                    "readable": readable_paths(),
                    "number": secrets.randbelow(2**22),
                    "sites": site_folders(),
                    "entry": start.entry,
                    "preload": start.preload,
                    "rehearse": start.rehearse,
                }
            )
            hello = self._receive(START_SECONDS)
            if "failed" in hello:
                raise SandboxError(f"{mode}: {hello['failed']}")
        except BaseException:
            self.close()
            raise
        self.tier: str = hello["tier"]
        self.layers: dict[str, str] = hello["ready"]

    def _send(self, order: dict[str, object], descriptors: tuple[int, ...] = ()) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(order).encode()], descriptors)
        except OSError as error:
            raise SandboxError(f"the sandbox server is gone: {error}") from None

    def _receive(self, seconds: float) -> dict[str, Any]:
        if not _readable(self._control, time.monotonic() + seconds):
            raise SandboxError("the sandbox server does not answer")
        try:
            data = self._control.recv(PACKET)
        except OSError as error:
            raise SandboxError(f"the sandbox server is gone: {error}") from None
        if not data:
            raise SandboxError("the sandbox server is gone")
        message: dict[str, Any] = json.loads(data)
        return message

    def start(self, limits: Limits, *descriptors: int) -> None:
        """Start one program with these descriptors; they stay open here. Raises SandboxError."""
        self._send({"start": dataclasses.asdict(limits)}, descriptors)
        self._until = time.monotonic() + limits.seconds + SERVER_SECONDS

    def ended(self) -> int:
        """A descriptor that becomes readable when the program has ended."""
        return self._control.fileno()

    def finish(self) -> Ending:
        """How it ended, by itself or at its limits. Raises SandboxError."""
        if not _readable(self._control, self._until):
            return self.stop()
        return self._ending()

    def stop(self) -> Ending:
        """End it now if it has not ended, and wait until it is gone. Raises SandboxError.

        Where the machine is too busy to confirm that in time, the ending is `stop` and the server is `lost`.
        """
        self._send({"stop": "wait"})
        if not _readable(self._control, time.monotonic() + END_SECONDS):
            self.lost = True
            return Ending("stop", None, None, 0.0)
        return self._ending()

    def kill(self) -> None:
        """End it now. When this returns nothing of it runs any more, unless the server is `lost`."""
        try:
            self._send({"stop": "kill"})
            self._receive(END_SECONDS)
        except SandboxError:
            self.lost = True

    def _ending(self) -> Ending:
        report = self._receive(0)
        if "failed" in report:
            raise SandboxError(f"no program could be started: {report['failed']}")
        return Ending(**report)

    def close(self) -> None:
        """The server kills its program, cleans up and ends: waited for by a thread of its own."""
        self._control.close()
        with contextlib.suppress(RuntimeError):  # no new threads while the interpreter ends
            threading.Thread(target=self.wait, daemon=True).start()

    def wait(self) -> None:
        """After `close`: until the process is gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)
            return
        self._process.kill()
        self._process.wait()


def _readable(control: socket.socket, until: float) -> bool:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    return bool(poll.poll(max(0.0, until - time.monotonic()) * 1000))


def _command(descriptor: int) -> list[str]:
    root = str(Path(__file__).resolve().parents[2])
    return [_interpreter(), "-s", "-S", "-P", "-B", "-c", BOOT, root, str(descriptor)]


def _interpreter() -> str:
    """The Python below a virtual environment: the jail has no environment's folder."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _interpreter_files() -> list[str]:
    """The interpreter, and libpython where it is a small program that loads that."""
    library = os.path.join(
        *(sysconfig.get_config_var(name) or "" for name in ("LIBDIR", "INSTSONAME"))
    )
    return [_interpreter(), *([os.path.realpath(library)] if os.path.isfile(library) else [])]


def site_folders() -> list[str]:
    """Where installed packages lie; programs may import them."""
    found = dict.fromkeys(
        os.path.realpath(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")
    )
    return [path for path in found if os.path.isdir(path)]


def readable_paths() -> list[str]:
    """What a program can read: the standard library, installed packages, the system's libraries and programs."""
    wanted = [
        *("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/bin", "/lib", "/lib32", "/lib64", "/bin"),
        *("/usr/share/zoneinfo", "/etc/ld.so.cache"),
        *(os.path.realpath(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")),
        *site_folders(),
        *_interpreter_files(),
    ]
    chosen: list[str] = []
    for path in wanted:
        inside = any(path == other or path.startswith(other + "/") for other in chosen)
        if os.path.exists(path) and not inside:
            chosen.append(path)
    return chosen

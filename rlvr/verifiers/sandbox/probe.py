"""Whether the walls stand, found out by trying them from inside: what is not seen to hold counts as off."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable

from rlvr.verifiers.sandbox.limits import Limits
from rlvr.verifiers.sandbox.walls import LANDLOCK, NAMESPACES, Walls

_PROBE = Limits(seconds=2, memory_mb=512, disk_mb=1)


def inside(walls: Walls) -> dict[str, str]:
    """layer -> "" when it holds, else why not. Raises OSError when a layer that the tier needs does not hold."""
    reader, writer = os.pipe()
    child, home = walls.fork()
    if child == 0:
        try:
            walls.enter(_PROBE, {writer}, home)
            os.write(writer, json.dumps(_look(walls)).encode())
        except OSError as error:
            os.write(writer, json.dumps({"failed": str(error)}).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    walls.end(child, home)
    walls.clean()
    found: dict[str, str] = json.loads(text) if text else {"failed": "the probe died"}
    if "failed" in found:
        raise OSError(found["failed"])
    needed = {
        NAMESPACES: ("namespaces", "files", "capabilities", "seccomp"),
        LANDLOCK: ("files", "capabilities", "seccomp"),
    }.get(walls.tier, ())
    for layer in needed:
        if found[layer]:
            raise OSError(f"{layer}: {found[layer]}")
    return {**found, **walls.off}


def _look(walls: Walls) -> dict[str, str]:
    return {
        "rlimits": "",
        "namespaces": "" if os.getpid() == 1 else "no process-id namespace",
        "files": _files(walls),
        "capabilities": _refused("chown", _give_away),
        "seccomp": _filtered(),
        "landlock": walls.off.get("landlock", ""),
        "memory guard": walls.off.get("memory guard", ""),
        "user": _user(walls),
    }


def _files(walls: Walls) -> str:
    with open("probe", "w") as file:  # its own folder must work
        file.write("x")
    for path in ("/etc/passwd", "/proc/1/environ", "/proc/self/environ"):
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDONLY))
            return f"{path} can be read"
    for path in ("/probe", f"{os.path.dirname(os.__file__)}/probe"):
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            os.unlink(path)
            return f"{path} can be written"
    return ""


def _give_away() -> None:
    os.chown("probe", 1, 1)  # needs CAP_CHOWN


def _refused(what: str, act: Callable[[], None]) -> str:
    try:
        act()
    except OSError:
        return ""
    return f"{what} was allowed"


def _filtered() -> str:
    """A network socket must end the process that asks for it."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS
    return "" if killed else "a network socket was allowed"


def _user(walls: Walls) -> str:
    if walls.spare is not None or walls.mode == "user":
        return "" if os.getuid() != 0 else "still root"
    return walls.off.get("user", "the programs run under your own user number")

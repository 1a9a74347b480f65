"""The strong walls: a world of its own with a read-only root, no network, no other processes, nothing of the host.

Made once by a server: user (unless root), mount, network, ipc, uts, cgroup and process-id namespaces, and a root that
holds the Python installation and the system's libraries. Made for every program: a process-id namespace inside, whose
first process is the program (when it dies the kernel ends all the others), and a private, capped /tmp. There is no
/proc.
"""

from __future__ import annotations

import os
from pathlib import Path

from rlvr.verifiers.sandbox import kernel
from rlvr.verifiers.sandbox.limits import Limits

INSIDE = 65534  # the user's number inside a user namespace
DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))
HELD = "/held"  # where what is readable below /tmp waits for each program's own /tmp
_BASE = "/tmp"  # hidden by the first mount in this namespace only
_APART = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWCGROUP
    | kernel.CLONE_NEWPID
)


def leave(user: bool) -> None:
    """Into new namespaces; the next child of this process is the first of its process-id namespace.

    `user`: through a user namespace, for a caller without privileges. Raises OSError where the machine refuses.
    """
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(_APART | (kernel.CLONE_NEWUSER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{INSIDE} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{INSIDE} {gid} 1")


def build_root(readable: list[str]) -> int | None:
    """Replace the root by one that holds only `readable`, all of it read-only.

    Returns a descriptor of this namespace's /proc, which is mounted nowhere, or None where the machine refuses one.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", _BASE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    os.mkdir(f"{_BASE}/old")
    os.mkdir(f"{_BASE}/new")
    kernel.pivot_root(_BASE, f"{_BASE}/old")
    os.chdir("/")
    processes = _open_proc()
    kernel.mount("tmpfs", "/new", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    os.mkdir("/new/tmp")
    os.makedirs("/new/dev")
    os.makedirs("/new/var")
    os.symlink("/tmp", "/new/dev/shm")
    os.symlink("/tmp", "/new/var/tmp")
    for path in readable:
        _bring(path)
    for path in below_tmp(readable):
        _bind(path, held=True)
    for path in DEVICES:
        _bind(path, devices=True)
    kernel.unmount("/old")
    os.chdir("/new")
    kernel.pivot_root(".", ".")
    kernel.unmount(".")
    os.chdir("/")
    kernel.make_read_only("/", devices=True)
    return processes


def _open_proc() -> int | None:
    os.mkdir("/proc")
    try:
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    except OSError:
        return None
    descriptor = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    kernel.unmount("/proc")
    return descriptor


def _bring(path: str) -> None:
    source = f"/old{path}"
    if os.path.islink(source):
        os.makedirs(os.path.dirname(f"/new{path}"), exist_ok=True)
        os.symlink(os.readlink(source), f"/new{path}")
    elif os.path.exists(source):
        _bind(path)


def _bind(path: str, devices: bool = False, held: bool = False) -> None:
    source, target = f"/old{path}", f"/new{HELD if held else ''}{path}"
    _place(source, target)
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    kernel.make_read_only(target, devices)


def _place(source: str, target: str) -> None:
    """An empty folder or file to mount `source` on."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def below_tmp(readable: list[str]) -> list[str]:
    """Of an environment that lies there, say."""
    return [path for path in readable if path.startswith("/tmp/")]


def next_child_apart(own: int) -> None:
    """The next fork starts a process-id namespace. `own` is a descriptor of this process's own one.

    The kernel allows a second unshare only after the first was taken back by setns.
    """
    kernel.setns(own, kernel.CLONE_NEWPID)
    kernel.unshare(kernel.CLONE_NEWPID)


def private_tmp(limits: Limits, readable: list[str]) -> None:
    """In the child: a mount namespace with its own /tmp that holds no more than the limits say.

    It is empty but for what of `readable` lies below it, which stays read-only.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(
        "tmpfs",
        "/tmp",
        "tmpfs",
        kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC,
        f"size={limits.disk_mb}m,nr_inodes={limits.inodes},mode=1777",
    )
    for path in below_tmp(readable):
        _place(f"{HELD}{path}", path)
        kernel.mount(f"{HELD}{path}", path, None, kernel.MS_BIND | kernel.MS_REC)
    os.chdir("/tmp")

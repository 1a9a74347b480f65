"""A program's own folder in the tiers without a private /tmp: made, measured, removed whatever it holds."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat

_BASE, _PREFIX = "/tmp", "rlvr-program-"
_LONGEST = 2000  # bytes of a path; the kernel refuses 4096


def make() -> str:
    """A new empty folder that only this user can enter; its name tells which process will remove it."""
    path = f"{_BASE}/{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
    os.mkdir(path, 0o700)
    return path


def used(path: str, most_entries: int) -> tuple[int, int]:
    """Bytes on disk and entries in it; stops counting above `most_entries`, or where paths get too long."""
    total, entries, pending = 0, 0, [path]
    while pending and entries <= most_entries:
        at = pending.pop()
        if len(at) > _LONGEST:
            return total, most_entries + 1
        with contextlib.suppress(OSError), os.scandir(at) as found:
            for entry in found:
                entries += 1
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    return total, entries


def remove(path: str) -> None:
    """With all it holds; follows no link, and no depth of folders is too deep: they are lifted to the top first.

    The processes that wrote there must have ended. Raises OSError.
    """
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while names := os.listdir(top):
            for name in names:
                if _is_folder(name, top):
                    _empty(name, top)
                    os.rmdir(name, dir_fd=top)
                else:
                    os.unlink(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)


def _is_folder(name: str, parent: int) -> bool:
    if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
        return False
    os.chmod(name, 0o700, dir_fd=parent)
    return True


def _empty(name: str, top: int) -> None:
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        for each in os.listdir(inner):
            if _is_folder(each, inner):
                os.rename(each, secrets.token_hex(12), src_dir_fd=inner, dst_dir_fd=top)
            else:
                os.unlink(each, dir_fd=inner)
    finally:
        os.close(inner)


def remove_abandoned() -> None:
    """Folders of processes that were killed before they could remove them."""
    for name in os.listdir(_BASE):
        owner = name.removeprefix(_PREFIX).split("-")[0]
        if name.startswith(_PREFIX) and owner.isdigit() and not _alive(int(owner)):
            with contextlib.suppress(OSError):
                remove(f"{_BASE}/{name}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""File and signal rules that a process puts on itself (Linux 5.13 and later), no privilege needed.

Not covered: stat, chmod, chdir and other calls that open nothing; they see names and sizes, no content.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

from rlvr.verifiers.sandbox import kernel

EXECUTE, WRITE, READ, READ_DIR, TRUNCATE = 1, 2, 4, 8, 1 << 14
_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: TRUNCATE, 5: 1 << 15}  # ABI -> file rights it added
_TCP = 3  # bind, connect: ABI 4
_SCOPES = 3  # abstract sockets, signals: ABI 6
_FILE_RIGHTS = EXECUTE | WRITE | READ | TRUNCATE | 1 << 15  # the ones that a plain file can have
_IOCTL_DEV = 1 << 15


def abi() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    try:
        return kernel.syscall("landlock", kernel.LANDLOCK_CREATE_RULESET, 0, 0, 1)
    except OSError:
        return 0


def _all_rights(version: int) -> int:
    return sum(rights for since, rights in _RIGHTS.items() if version >= since)


def restrict(
    version: int, readable: Iterable[str], writable: Iterable[str], devices: Iterable[str]
) -> None:
    """Only these trees (and what they hold) from here on. Raises OSError; needs no_new_privs."""
    every = _all_rights(version)
    fields = [every, *([_TCP] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = kernel.syscall(
        "landlock", kernel.LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0
    )
    try:
        for paths, rights in (
            (readable, EXECUTE | READ | READ_DIR),
            (writable, every & ~EXECUTE & ~_IOCTL_DEV),
            (devices, READ | WRITE | TRUNCATE),
        ):
            for path in paths:
                _allow(ruleset, path, rights & every)
        kernel.syscall("landlock", kernel.LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        kernel.syscall("landlock rule", kernel.LANDLOCK_ADD_RULE, ruleset, 1, rule, 0)
    finally:
        os.close(descriptor)

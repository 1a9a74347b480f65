"""The system-call filter: a list of what is refused, as classic BPF, installed for good in the calling process.

Not covered: what is not on the list. It is the second wall behind namespaces or Landlock; it closes kernel interfaces
that a judged program has no use for, and the network.

Refusal comes in three strengths. KILL ends the process with SIGSYS: nobody calls these by accident. DENY gives EPERM.
ABSENT gives ENOSYS, so that libraries fall back to older calls whose arguments the filter can read.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Mapping, Sequence

from rlvr.verifiers.sandbox import kernel

KILL = 0x80000000
ALLOW = 0x7FFF0000
DENY = 0x00050000 | errno.EPERM
ABSENT = 0x00050000 | errno.ENOSYS
NO_FAMILY = 0x00050000 | errno.EAFNOSUPPORT

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000  # x86_64 numbers from here on are the x32 ABI

# name: (x86_64, aarch64); None where the architecture has no such call
KILLED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "quotactl": (179, 60),
    "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
DENIED = {
    "userfaultfd": (323, 282),
    "personality": (135, 92),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "shmget": (29, 194),  # shared memory that no process owns would outlive the memory guard
    "semget": (64, 190),
    "msgget": (68, 186),
    "memfd_create": (319, 279),  # files in memory that the disk limit does not see
    "memfd_secret": (447, 447),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
}
MISSING = {
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
SOCKET = {"x86_64": 41, "aarch64": 198}
CLONE = {"x86_64": 56, "aarch64": 220}
IOCTL = {"x86_64": 16, "aarch64": 29}
PRLIMIT = {"x86_64": 302, "aarch64": 261}
# without a process-id namespace a program must not signal strangers
SIGNALS = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}
AF_INET, AF_PACKET = 2, 17
TIOCSTI = 0x5412

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data


def _argument(index: int) -> int:
    return 16 + 8 * index  # the low half of argument `index`, little endian


def program(machine: str, signals: bool) -> list[tuple[int, int, int, int]]:
    """The filter as (code, jump if true, jump if false, operand). `signals`: refuse to signal others as well."""
    column = list(AUDIT_ARCH).index(machine)
    lines = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        lines += [(_AT_LEAST, 0, 1, X32), (_RETURN, 0, 0, KILL)]
    refused: list[tuple[Mapping[str, Sequence[int | None]], int]] = [
        (KILLED, KILL),
        (DENIED, DENY),
        (MISSING, ABSENT),
    ]
    for table, answer in [*refused, *([(SIGNALS, DENY)] if signals else [])]:
        for numbers in table.values():
            number = numbers[column]
            if number is not None:
                lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]
    lines += [  # a new network socket, of any family; socketpair stays, asyncio needs it
        (_EQUAL, 0, 5, SOCKET[machine]),
        (_LOAD, 0, 0, _argument(0)),
        (_EQUAL, 1, 0, AF_INET),
        (_EQUAL, 0, 1, AF_PACKET),
        (_RETURN, 0, 0, KILL),
        (_RETURN, 0, 0, NO_FAMILY),
        (_EQUAL, 0, 4, CLONE[machine]),
        (_LOAD, 0, 0, _argument(0)),
        (_ANY_BIT, 0, 1, kernel.CLONE_NEW_ANY),
        (_RETURN, 0, 0, KILL),
        (_RETURN, 0, 0, ALLOW),
        (_EQUAL, 0, 4, IOCTL[machine]),
        (_LOAD, 0, 0, _argument(1)),
        (_EQUAL, 0, 1, TIOCSTI),
        (_RETURN, 0, 0, KILL),
        (_RETURN, 0, 0, ALLOW),
        (_EQUAL, 0, 3, PRLIMIT[machine]),  # one's own limits only
        (_LOAD, 0, 0, _argument(0)),
        (_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, DENY),
        (_RETURN, 0, 0, ALLOW),
    ]
    return lines


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def assemble(signals: bool) -> bytes:
    return b"".join(struct.pack("=HBBI", *line) for line in program(kernel.MACHINE, signals))


def install(assembled: bytes) -> None:
    """From here on, for this process and all it starts. Needs no_new_privs. Raises OSError."""
    filter_mode = 2
    code = _Program(len(assembled) // 8, assembled)
    kernel.prctl(kernel.PR_SET_SECCOMP, filter_mode, ctypes.byref(code))

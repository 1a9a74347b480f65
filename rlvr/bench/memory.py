"""How much memory a piece of work takes at its peak, beyond what was there before."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from rlvr.errors import UserError


@dataclass
class Peak:
    """Bytes; what is still there at the end counts too."""

    extra: int = 0


@contextmanager
def peak(device: torch.device) -> Iterator[Peak]:
    """On a GPU what PyTorch allocates; elsewhere the resident memory of the whole process."""
    measured = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield measured
        measured.extra = torch.cuda.max_memory_allocated(device) - before
        return
    _give_back()
    before = _status("VmRSS")
    _restart()
    yield measured
    measured.extra = max(_status("VmHWM") - before, 0)


def _give_back() -> None:
    """Freed memory that the C library holds would hide later growth."""
    name = ctypes.util.find_library("c")
    library = ctypes.CDLL(name) if name else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _restart() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise UserError(f"peak memory cannot be measured here: {error}") from None


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise UserError(f"peak memory cannot be measured here: no {field} in /proc/self/status")

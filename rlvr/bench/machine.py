"""What numbers must be read with."""

from __future__ import annotations

import os


def machine() -> str:
    """Versions, processors and load, in a line."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"torch {torch.__version__}, {torch.get_num_threads()} threads on {cores} processors, "
        f"{name}; load before the start {load:.1f}"
    )

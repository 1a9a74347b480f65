"""A jail for model-written programs on one Linux machine, without Docker and without privileges.

Not covered: bugs of the kernel itself (for that, use a virtual machine), timing side channels, and use of the CPU
within the time limit. A tier is never assumed: each layer is tried from inside when a server starts, and what does
not hold is reported as off. `report()` says what this machine gives.
"""

from __future__ import annotations

import functools
import os

from rlvr.verifiers.sandbox.client import TIERS, Ending, SandboxError, Server, Start
from rlvr.verifiers.sandbox.limits import Limits

__all__ = ["TIERS", "Ending", "Limits", "SandboxError", "Server", "Start", "modes", "report"]

_NOTHING = Start("rlvr.verifiers.sandbox.idle:nothing")


@functools.cache
def modes() -> dict[str, str]:
    """mode -> "" where it works here, else why not; strongest first, up to the first that works. Tries each once."""
    found: dict[str, str] = {}
    for mode in (*(("root",) if os.geteuid() == 0 else ()), "user", "landlock", "rlimits"):
        try:
            Server(_NOTHING, mode).close()
        except SandboxError as error:
            found[mode] = str(error)
        else:
            found[mode] = ""
            break
    return found


def best(weakest: str) -> str:
    """The strongest mode that works here. Raises SandboxError when its tier is below `weakest`."""
    tried = modes()
    mode = list(tried)[-1]
    if tried[mode]:
        raise SandboxError("no sandbox works here: " + "; ".join(tried.values()))
    tier = "namespaces" if mode in ("root", "user") else mode
    if TIERS.index(tier) > TIERS.index(weakest):
        reasons = "; ".join(reason for reason in tried.values() if reason)
        raise SandboxError(
            f"this machine gives isolation '{tier}', less than min_isolation '{weakest}' ({reasons})"
        )
    return mode


def report() -> dict[str, str]:
    """What stands between a judged program and this machine: layer -> "on", or "off" and why, and the tier."""
    try:
        mode = best(TIERS[-1])
        server = Server(_NOTHING, mode)
    except SandboxError as error:
        return {"tier": f"none: {error}"}
    server.close()
    layers = {
        layer: f"off: {reason}" if reason else "on" for layer, reason in server.layers.items()
    }
    refused = {f"mode {mode}": f"off: {reason}" for mode, reason in modes().items() if reason}
    return {"tier": server.tier, **layers, **refused}

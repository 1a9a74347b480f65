"""`rlvr bench`: tables of time and memory."""

from __future__ import annotations

import importlib.util
import json as encoder

from rlvr.errors import UserError, unknown

KINDS = ("loss", "step", "verify")


def bench(
    what: str,
    *,
    rows: int | None = None,
    width: int | None = None,
    vocabulary: int | None = None,
    rounds: int = 3,
    device: str = "auto",
    dtype: str = "auto",
    json: bool = False,
) -> int:
    """Time the loss, a step or the verifiers, and print a table.

    Parameters
    ----------
    what
        loss, step or verify.
    rows
        Tokens in the loss (a multiple of 64).
    width
        Hidden size.
    vocabulary
        Size of the vocabulary.
    rounds
        How often each contestant has its turn; medians are shown.
    device
        cpu, cuda or auto.
    dtype
        float32, bfloat16 or auto.
    json
        Print one JSON object instead of a table.
    """
    if what not in KINDS:
        raise unknown("benchmark", what, KINDS)
    if rounds < 1:
        raise UserError("--rounds must be at least 1")
    if what != "loss":
        raise UserError(f"bench {what} is not there")
    from rlvr.bench import loss

    of = loss.sizes(rows, width, vocabulary, device, dtype)
    conditions = loss.machine()
    measured = loss.measure(of, rounds)
    if json:
        print(encoder.dumps({"sizes": vars(of), "machine": conditions, "rows": measured}))
    else:
        print(loss.table(of, measured, conditions))
        for name, module in loss.NEEDS.items():
            if importlib.util.find_spec(module) is None:
                print(f"{name}: not installed")
    return 0

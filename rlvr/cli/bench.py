"""`rlvr bench`: tables of time and memory."""

from __future__ import annotations

import json as encoder
from typing import Any

from rlvr.errors import UserError, unknown

KINDS = ("loss", "step", "verify")


def bench(
    what: str,
    *,
    rows: int | None = None,
    width: int | None = None,
    vocabulary: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    model: str = "demo",
    workers: int = 2,
    rounds: int = 3,
    json: bool = False,
) -> int:
    """Time the loss, a step or the verifiers, and print a table.

    Parameters
    ----------
    what
        loss, step or verify.
    rows
        loss: tokens, a multiple of 64.
    width
        loss: hidden size.
    vocabulary
        loss: size of the vocabulary.
    device
        loss: cpu, cuda or auto.
    dtype
        loss: float32, bfloat16 or auto.
    model
        step: the model that is updated.
    workers
        verify: processes that judge.
    rounds
        How often each is measured; medians are shown.
    json
        Print one JSON object instead of a table.
    """
    if what not in KINDS:
        raise unknown("benchmark", what, KINDS)
    if rounds < 1 or workers < 1:
        raise UserError("--rounds and --workers must be at least 1")
    from rlvr.bench.machine import machine

    conditions = machine()
    more: dict[str, Any] = {}
    if what == "loss":
        from rlvr.bench import loss

        of = loss.sizes(rows, width, vocabulary, device, dtype)
        more = {"sizes": vars(of), "not_installed": loss.missing()}
        measured = loss.measure(of, rounds)
        text = loss.table(of, measured, conditions)
    elif what == "step":
        from rlvr.bench import step

        measured = step.measure(model, rounds)
        text = step.table(measured, conditions)
    else:
        from rlvr.bench import verify

        measured = verify.measure(rounds, workers)
        text = verify.table(measured, conditions)
    if json:
        text = encoder.dumps({"machine": conditions, **more, "rows": measured})
    print(text)
    return 0

"""`rlvr eval`: how good a model is at a task, with standard errors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rlvr import config
from rlvr.errors import UserError


def eval_(
    *,
    model: str,
    task: str,
    split: str = "test",
    samples: int = 16,
    k: str | None = None,
    limit: int | None = None,
    output: Path | None = None,
    seed: int = 0,
    flags: Annotated[tuple[str, ...], Parameter(parse=False)] = (),
) -> None:
    """Measure a model on a task: greedy and pass@k by the unbiased estimator, with standard errors.

    Settings of the model, task, sampler and verifier are flags as for `rlvr train`.

    Parameters
    ----------
    model
        A folder (a checkpoint is one), a name on the hub, or demo.
    task
        A task's name, or module:Name.
    split
        Which part of its problems.
    samples
        Responses a problem at the sampler's temperature.
    k
        pass@k for these k, with commas between; without it, 1, 4 and 16 as far as samples go.
    limit
        Only the first so many problems; generated tasks give 256 where this is not set.
    output
        A JSON file for the numbers and what became of each problem.
    """
    ks = _ks(k, samples)
    if limit is not None and limit < 1:
        raise UserError("--limit must be at least 1")
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise UserError(f"--output {output}: not a file in a folder that is there")
    tree = config.flags_to_tree(flags)
    tree.setdefault("model", {})["name"] = model
    tree.setdefault("task", {})["name"] = task
    from rlvr.measure import measure

    numbers, results = measure(tree, split, samples, ks, limit, seed)
    for key, value in numbers.items():
        print(f"{key:<16} {value:.4f}" if isinstance(value, float) else f"{key:<16} {value}")
    if output is not None:
        body = {**numbers, "problems_detail": [asdict(each) for each in results]}
        try:
            output.write_text(json.dumps(body, indent=1) + "\n")
        except OSError as error:
            raise UserError(f"--output {output}: {error.strerror}") from None


def _ks(text: str | None, samples: int) -> list[int]:
    if samples < 1:
        raise UserError("--samples must be at least 1")
    if text is None:
        return [k for k in (1, 4, 16) if k <= samples]
    try:
        ks = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UserError(f"--k takes whole numbers with commas between, not '{text}'") from None
    if ks[0] < 1 or ks[-1] > samples:
        raise UserError(f"--k {text} needs 1 <= k <= --samples {samples}")
    return ks

"""The commands from Python: the same settings, the same errors, results as objects."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rlvr import config


@dataclass(frozen=True)
class Finished:
    """A training run on disk."""

    folder: Path
    step: int  # the last step that was done

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The objects of metrics.jsonl in order, steps and evaluations."""
        return [
            json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()
        ]

    @property
    def model(self) -> Path:
        """The last checkpoint, a model folder."""
        return self.folder / "checkpoints" / f"step-{self.step}"


def train(
    recipe: str | Path | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    preset: str | None = None,
    **settings: Any,
) -> Finished:
    """Train as `rlvr train` does. Stages are names, or mappings with their settings:

    train(steps=9, task="gsm8k", advantage={"name": "riskpo", "alpha": 0.2})

    Raises UserError for what the command line would refuse, SafetyStop where it would exit with 3.
    """
    from rlvr import assemble, loop
    from rlvr.report.html import reporting

    flags = {
        key: dict(value) if isinstance(value, Mapping) else {"name": value}
        for key, value in settings.items()
    }
    folder = Path(out) if out is not None else new_run_folder()
    tree = config.recipe(str(recipe) if recipe is not None else None, folder if resume else None)
    plan = assemble.resolve(tree, flags, preset)
    with assemble.job(plan.resolved, folder, resume=resume) as job, reporting(folder):
        step = loop.train(job, lambda metrics: None)
    return Finished(folder, step)


def evaluate(
    model: str | Path,
    task: str | Mapping[str, Any],
    *,
    split: str = "test",
    samples: int = 4,
    k: tuple[int, ...] = (1,),
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The numbers of `rlvr eval`: accuracy, its standard error, greedy accuracy, pass@k."""
    from rlvr.measure import measure

    tree = {
        "model": {"name": str(model)},
        "task": {"name": task} if isinstance(task, str) else dict(task),
    }
    return measure(tree, split, samples, k, limit, seed)[0]


def new_run_folder() -> Path:
    return Path("runs") / time.strftime("%Y%m%d-%H%M%S")

"""What can be compared: a run at one of its evaluations, or the file of `rlvr eval --output`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlvr.errors import UserError
from rlvr.report import origins, read
from rlvr.report.headline import best
from rlvr.report.read import Metrics, Row, number

Task = tuple[str, str]  # task, split


@dataclass(frozen=True)
class Score:
    """What became of one problem."""

    rate: float | None  # share of its responses that were right; None: none was judged
    greedy: bool | None


@dataclass(frozen=True)
class Side:
    """One model: where it comes from and how it did, by problem where that is known."""

    label: str  # A, B, ...
    name: str  # as the user gave it
    step: int | None
    metrics: Metrics  # up to `step`
    scores: dict[Task, dict[str, Score]]
    summaries: dict[Task, Row]  # task -> the evaluation's own numbers
    settings: dict[str, str]


def sides(names: Sequence[str]) -> list[Side]:
    """One side a name: `RUN`, `RUN@STEP`, `RUN@best`, `RUN@first` or `FILE.json`. Raises UserError."""
    return [_side(_label(index), name) for index, name in enumerate(names)]


def _label(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"R{index + 1}"


def _side(label: str, name: str) -> Side:
    if Path(name).is_file():
        return _file(label, name)
    folder, at = Path(name), "last"
    if not folder.exists() and "@" in name:
        before, _, at = name.rpartition("@")
        folder = Path(before)
    if not folder.is_dir():
        raise UserError(f"no run directory {folder}")
    metrics = read.metrics(folder)
    if not metrics.steps and not metrics.evals:
        raise UserError(f"{folder} is no run directory: its metrics.jsonl is missing or empty")
    step = _step(folder, metrics, at)
    done = Metrics(
        [row for row in metrics.steps if row["step"] <= step],
        [row for row in metrics.evals if row["step"] <= step],
    )
    summaries = {(row["task"], row["split"]): row for row in done.evals if row["step"] == step}
    scores = _scores(read.problems(folder, step) or [])
    return Side(label, name, step, done, scores, summaries, origins.flat(folder))


def _step(folder: Path, metrics: Metrics, at: str) -> int:
    """The evaluated step that `at` names; the last step of a run without evaluations."""
    evaluated: list[int] = sorted({row["step"] for row in metrics.evals})
    if at == "last":
        return evaluated[-1] if evaluated else int(metrics.steps[-1]["step"])
    if not evaluated:
        raise UserError(f"{folder} was never evaluated, so there is no @{at}")
    if at == "first":
        return evaluated[0]
    if at == "best":
        row = best(metrics.of(*metrics.tasks()[0]))
        return int(row["step"]) if row else evaluated[-1]
    if not at.isdecimal() or int(at) not in evaluated:
        known = ", ".join(map(str, evaluated))
        raise UserError(f"{folder} was not evaluated at @{at}; first, best, last or one of {known}")
    return int(at)


def _file(label: str, name: str) -> Side:
    """The file of `rlvr eval --output`."""
    try:
        body = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{name} is not the JSON file of an evaluation: {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("problems_detail"), list):
        raise UserError(f"{name} is not the file of rlvr eval --output: no problems_detail")
    task = str(body.get("task", "")), str(body.get("split", ""))
    rows = [row for row in body["problems_detail"] if isinstance(row, dict)]
    scores = _scores([{**row, "task": task[0], "split": task[1]} for row in rows])
    return Side(label, name, None, Metrics([], []), scores, {task: body}, {})


def _scores(rows: list[Row]) -> dict[Task, dict[str, Score]]:
    found: dict[Task, dict[str, Score]] = {}
    for row in rows:
        task = str(row.get("task", "")), str(row.get("split", ""))
        correct, samples = number(row.get("correct")), number(row.get("samples"))
        rate = correct / samples if correct is not None and samples else None
        greedy = row.get("greedy") if isinstance(row.get("greedy"), bool) else None
        found.setdefault(task, {})[str(row.get("problem"))] = Score(rate, greedy)
    return found

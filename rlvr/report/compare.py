"""Runs side by side: a verdict for every pair and task, end points, cost, settings that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rlvr.report.headline import late, total
from rlvr.report.paired import Difference, holm, paired, unpaired
from rlvr.report.read import number
from rlvr.report.sides import Side, Task

# run's own settings that say where and not how
WHERE = frozenset(("workers", "tracker.name"))


@dataclass(frozen=True)
class Comparison:
    """Two sides on one task: sampled accuracy, which decides, and greedy beside it."""

    a: Side
    b: Side
    task: Task
    sampled: Difference
    greedy: Difference | None
    only: int  # problems that just one side has

    @property
    def verdict(self) -> str:
        winner = {"a": self.a.label, "b": self.b.label}.get(self.sampled.better or "")
        return f"{winner} better" if winner else "not distinguishable"


def compare(sides: Sequence[Side]) -> list[Comparison]:
    """Every pair on every task that both were measured on; p-values corrected for all of them."""
    found = [
        comparison
        for a, b in combinations(sides, 2)
        for task in dict.fromkeys([*a.scores, *a.summaries])
        if (comparison := _comparison(a, b, task))
    ]
    corrected = holm([each.sampled for each in found])
    return [
        Comparison(each.a, each.b, each.task, sampled, each.greedy, each.only)
        for each, sampled in zip(found, corrected, strict=True)
    ]


def _comparison(a: Side, b: Side, task: Task) -> Comparison | None:
    ours, theirs = a.scores.get(task, {}), b.scores.get(task, {})
    common = [problem for problem in ours if problem in theirs]
    rates = [
        (x, y)
        for problem in common
        if (x := ours[problem].rate) is not None and (y := theirs[problem].rate) is not None
    ]
    if not rates:
        return _of_summaries(a, b, task)
    greedy = [
        (float(x), float(y))
        for problem in common
        if (x := ours[problem].greedy) is not None and (y := theirs[problem].greedy) is not None
    ]
    return Comparison(
        a,
        b,
        task,
        paired([x for x, _ in rates], [y for _, y in rates]),
        paired([x for x, _ in greedy], [y for _, y in greedy]) if greedy else None,
        only=len(ours) + len(theirs) - 2 * len(common),
    )


def _of_summaries(a: Side, b: Side, task: Task) -> Comparison | None:
    """Without results by problem: the two means and their standard errors."""
    means = [number(side.summaries.get(task, {}).get("accuracy")) for side in (a, b)]
    if means[0] is None or means[1] is None:
        return None
    errors = [number(side.summaries[task].get("stderr")) for side in (a, b)]
    return Comparison(a, b, task, unpaired((means[0], errors[0]), (means[1], errors[1])), None, 0)


def differing(sides: Sequence[Side]) -> dict[str, list[str]]:
    """Setting -> its value on every side, where they are not all the same."""
    known = [side for side in sides if side.settings]
    names = dict.fromkeys(name for side in known for name in side.settings if name not in WHERE)
    values = {name: [side.settings.get(name, "") for side in sides] for name in names}
    return {
        name: row
        for name, row in values.items()
        if len({value for value, side in zip(row, sides, strict=True) if side.settings}) > 1
    }


def as_json(sides: Sequence[Side], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Everything the command prints, for machines; accuracies and differences in [0, 1]."""
    return {
        "runs": [
            {
                "label": side.label,
                "name": side.name,
                "step": side.step,
                "evaluations": [
                    {"task": task, "split": split, "accuracy": number(row.get("accuracy"))}
                    for (task, split), row in side.summaries.items()
                ],
                **endpoints(side),
            }
            for side in sides
        ],
        "comparisons": [
            {
                "a": each.a.label,
                "b": each.b.label,
                "task": each.task[0],
                "split": each.task[1],
                "verdict": each.verdict,
                **_numbers(each.sampled),
                "greedy": _numbers(each.greedy) if each.greedy else None,
                "problems_not_shared": each.only,
            }
            for each in comparisons
        ],
        "settings": differing(sides),
    }


def endpoints(side: Side) -> dict[str, float | None]:
    """Means over the last tenth of the steps, then totals; None where a side does not know."""
    metrics = side.metrics
    return {
        "steps_done": float(metrics.steps[-1]["step"]) if metrics.steps else None,
        "reward": late(metrics.numbers("reward_mean")),
        "entropy": late(metrics.numbers("entropy")),
        "response_tokens": late(metrics.numbers("response_tokens_mean")),
        "informative_groups": late(metrics.numbers("informative_groups")),
        "seconds": total(metrics, "seconds"),
        "tokens_sampled": total(metrics, "tokens_sampled"),
        "tokens_trained": total(metrics, "tokens_trained"),
        "broken_verdicts": total(metrics, "broken_verdicts"),
    }


def _numbers(each: Difference) -> dict[str, Any]:
    return {
        "accuracy_a": each.a,
        "accuracy_b": each.b,
        "difference": each.difference,
        "low": each.low,
        "high": each.high,
        "p": each.p,
        "p_adjusted": each.adjusted,
        "detectable": each.detectable,
        "problems": each.problems,
        "paired": each.paired,
    }

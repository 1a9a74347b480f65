"""Which curves a run's page shows, as plain data for the page to draw.

A panel is a chart; its series share an axis of steps with two other measures of progress beside it,
seconds and tokens sampled. More than POINTS steps are drawn as means of equal stretches, with the
lowest and the highest value of each.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from rlvr.report.read import Metrics, Row, interval, number
from rlvr.report.responses import Ended
from rlvr.report.wording import marked
from rlvr.types import Status

POINTS = 600
EXTRAS = 60  # further keys drawn at most

STAGES = ("sample", "verify", "learn", "sync")

# (title, unit, note, {key of metrics.jsonl: name in the legend})
Panel = tuple[str, str, str, Mapping[str, str]]

OUTCOME: tuple[Panel, ...] = (
    (
        "Reward",
        "plain",
        "mean over the step's responses, on training problems",
        {"reward_mean": "reward", "correct_rate": "judged correct"},
    ),
)
LEARNING: tuple[Panel, ...] = (
    (
        "Informative groups",
        "share",
        "groups whose rewards differ; the others teach nothing",
        {"informative_groups": "informative"},
    ),
    ("Entropy", "plain", "nats a token; a fall to zero ends exploration", {"entropy": "entropy"}),
    ("Response length", "count", "tokens, mean", {"response_tokens_mean": "tokens"}),
    (
        "Truncated responses",
        "share",
        "ran into the token limit",
        {"truncated_rate": "truncated"},
    ),
    (
        "Clip fraction",
        "share",
        "trained tokens whose ratio was clipped",
        {"clip_fraction": "clipped"},
    ),
    ("Gradient norm", "plain", "before clipping", {"grad_norm": "norm"}),
    ("KL", "plain", "to the reference, nats a token", {"kl": "KL"}),
    ("Learning rate", "exact", "", {"learning_rate": "learning rate"}),
    (
        "Sampler gap",
        "plain",
        "difference of log-probabilities, sampled and trained; 0 is exact",
        {"sampler_gap": "gap"},
    ),
    ("Broken verdicts", "count", "our side failed to judge", {"broken_verdicts": "broken"}),
)
COST: tuple[Panel, ...] = (
    (
        "Tokens a step",
        "count",
        "what is sampled and not trained on carried no weight",
        {"tokens_sampled": "sampled", "tokens_trained": "trained"},
    ),
)

# keys that have a place of their own, or say nothing as a curve
PLACED = {"step", "policy_version", "seconds", "tokens", "kind", *(f"seconds_{s}" for s in STAGES)}


@dataclass
class Curves:
    """`axes`: name -> {"step", "seconds", "tokens"}; `panels` as the page's script reads them."""

    axes: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    panels: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # titles of curves the run has no numbers for
    constant: dict[str, float] = field(default_factory=dict)  # further keys that never changed


def curves(metrics: Metrics, ended: Sequence[Ended]) -> Curves:
    """Everything there is to draw; empty for a run without a step and without an evaluation."""
    found = Curves()
    spent = _spent(metrics.steps)
    for task, split in metrics.tasks():
        _accuracy(found, metrics.of(task, split), f"{task}, {split}", spent)
    if not metrics.steps:
        return found
    stretches = _stretches(len(metrics.steps))
    found.axes["steps"] = {
        measure: [_last(spent[measure], stretch) for stretch in stretches]
        for measure in ("step", "seconds", "tokens")
    }
    _panels(found, OUTCOME, metrics, stretches)
    _endings(found, ended, spent)
    _panels(found, (*LEARNING, *COST), metrics, stretches)
    _time(found, metrics, stretches)
    drawn = {key for *_, keys in (*OUTCOME, *LEARNING, *COST) for key in keys}
    _extras(found, metrics, stretches, PLACED | drawn)
    return found


def _panels(
    found: Curves, panels: Sequence[Panel], metrics: Metrics, stretches: Sequence[range]
) -> None:
    for title, unit, note, keys in panels:
        values = {name: metrics.numbers(key) for key, name in keys.items()}
        if len(values) > 1 and len({tuple(each) for each in values.values()}) == 1:
            values = {" = ".join(values): next(iter(values.values()))}
        series = [_series(name, each, stretches) for name, each in values.items()]
        _panel(found, title, unit, note, [each for each in series if each])


def _spent(steps: Sequence[Row]) -> dict[str, list[float]]:
    """What the run had spent after each step: seconds (of training) and tokens sampled."""
    return {
        "step": [float(row["step"]) for row in steps],
        "seconds": list(accumulate(number(row.get("seconds")) or 0.0 for row in steps)),
        "tokens": list(accumulate(number(row.get("tokens_sampled")) or 0.0 for row in steps)),
    }


def _stretches(steps: int) -> list[range]:
    """The steps by position, cut into at most POINTS stretches of equal length."""
    size = math.ceil(steps / POINTS)
    return [range(first, min(first + size, steps)) for first in range(0, steps, size)]


def _last(values: Sequence[float], stretch: range) -> float:
    return values[stretch[-1]]


def _series(
    name: str, values: Sequence[float | None], stretches: Sequence[range]
) -> dict[str, Any] | None:
    """None where there is nothing to draw."""
    parts = [[v for i in stretch if (v := values[i]) is not None] for stretch in stretches]
    if not any(parts):
        return None
    series: dict[str, Any] = {
        "name": name,
        "axis": "steps",
        "y": [_round(math.fsum(part) / len(part)) if part else None for part in parts],
    }
    if len(stretches[0]) > 1:
        series["low"] = [_round(min(part)) if part else None for part in parts]
        series["high"] = [_round(max(part)) if part else None for part in parts]
    return series


def _panel(
    found: Curves, title: str, unit: str, note: str, series: list[dict[str, Any]], **more: Any
) -> None:
    if not series:
        found.missing.append(title)
        return
    series = [{**each, "name": marked(each["name"])} for each in series]
    found.panels.append(
        {"title": marked(title), "unit": unit, "note": note, "series": series, **more}
    )


def _accuracy(
    found: Curves, evals: Sequence[Row], name: str, spent: Mapping[str, Sequence[float]]
) -> None:
    """Held-out accuracy with its interval, greedy beside it, and pass@k."""
    axis = f"evaluations of {name}"
    found.axes[axis] = _axis([row["step"] for row in evals], spent)
    bounds = [interval(row) or (None, None) for row in evals]
    sampled: dict[str, Any] = {
        "name": "sampled (pass@1)",
        "axis": axis,
        "y": [number(row.get("accuracy")) for row in evals],
        "low": [low for low, _ in bounds],
        "high": [high for _, high in bounds],
    }
    greedy = [number(row.get("accuracy_greedy")) for row in evals]
    series = [sampled, {"name": "greedy", "axis": axis, "y": greedy, "dashed": True}]
    series = [each for each in series if any(y is not None for y in each["y"])]
    note = "held-out problems; the band is the 95% interval over problems"
    _panel(
        found,
        f"Accuracy: {name}",
        "share",
        note,
        series,
        main=True,
        tall=True,
        full=True,
        dots=True,
    )
    ks = sorted({k for row in evals for key in row if (k := _k(key)) is not None and k > 1})
    chances = [
        {"name": f"pass@{k}", "axis": axis, "y": [number(row.get(f"pass@{k}")) for row in evals]}
        for k in ks
    ]
    if chances:
        note = "chance that one of k responses is right"
        _panel(found, f"pass@k: {name}", "share", note, chances, tall=True, full=True, dots=True)


def _k(key: str) -> int | None:
    word, _, k = key.partition("@")
    return int(k) if word == "pass" and k.isdecimal() else None


def _axis(steps: Sequence[int], spent: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """What belongs to step N stands where step N ended."""
    axis: dict[str, list[float]] = {"step": [float(step) for step in steps]}
    done = [bisect_right(spent["step"], step) for step in steps]
    for measure in ("seconds", "tokens"):
        axis[measure] = [_round(spent[measure][n - 1]) if n else 0.0 for n in done]
    return axis


def _time(found: Curves, metrics: Metrics, stretches: Sequence[range]) -> None:
    """Seconds a step, stacked by stage; what no stage accounts for is "other"."""
    columns = {name: metrics.numbers(f"seconds_{name}") for name in STAGES}
    totals = metrics.numbers("seconds")
    known = [math.fsum(columns[name][i] or 0.0 for name in STAGES) for i in range(len(totals))]
    columns["other"] = [
        max((total or 0.0) - sum_, 0.0) for total, sum_ in zip(totals, known, strict=True)
    ]
    series = [
        each
        for name, values in columns.items()
        if any(value is not None and value > 0 for value in values)
        and (each := _series(name, values, stretches))
    ]
    _panel(found, "Time by stage", "seconds", "seconds a step", series, stacked=True)


def _endings(found: Curves, ended: Sequence[Ended], spent: Mapping[str, Sequence[float]]) -> None:
    """Shares of the responses' statuses, stacked."""
    ended = [each for each in ended if each.responses]
    if not ended:
        return
    stretches = _stretches(len(ended))
    found.axes["responses"] = _axis([ended[stretch[-1]].step for stretch in stretches], spent)
    present = {status for each in ended for status in each.status}
    order = [*(s.value for s in Status if s.value in present), *sorted(present - {*Status})]
    series = [
        {
            "name": status,
            "axis": "responses",
            "status": True,
            "y": [
                _round(
                    sum(ended[i].status[status] for i in stretch)
                    / sum(ended[i].responses for i in stretch)
                )
                for stretch in stretches
            ],
        }
        for status in order
    ]
    _panel(found, "How responses ended", "share", "", series, stacked=True, full=True)


def _extras(
    found: Curves, metrics: Metrics, stretches: Sequence[range], drawn: Iterable[str]
) -> None:
    """Any other numeric key, by the word before its first underscore; constants are only named."""
    skip = set(drawn)
    keys = sorted({key for row in metrics.steps for key in row if key not in skip})
    shown = 0
    for key in keys:
        values = metrics.numbers(key)
        if len(values) > 1 and values[0] is not None and set(values) == {values[0]}:
            found.constant[key] = values[0]
        elif shown < EXTRAS and (series := _series(key, values, stretches)):
            group = key.partition("_")[0] if "_" in key else "other"
            _panel(found, key, "plain", "", [series], group=marked(group))
            shown += 1


def _round(value: float) -> float:
    """Six significant digits are more than a screen shows."""
    return float(f"{value:.6g}")

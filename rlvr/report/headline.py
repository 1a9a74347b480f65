"""The few numbers that say how a run went."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.report import wording
from rlvr.report.origins import Setting
from rlvr.report.read import Metrics, Row, interval, number


@dataclass(frozen=True)
class Tile:
    """One number with its name above and a remark below."""

    label: str
    value: str
    note: str = ""
    wide: bool = False


def tiles(metrics: Metrics, settings: list[Setting]) -> list[Tile]:
    """Held-out accuracy of every task first, then steps, time and tokens."""
    found = [tile for task in metrics.tasks() if (tile := _accuracy(metrics.of(*task), *task))]
    if not metrics.steps:
        return found
    last = metrics.steps[-1]
    wanted = next((s.value for s in settings if s.name == "steps"), None)
    seconds = total(metrics, "seconds")
    found.append(Tile("Steps", f"{last['step']:,}", f"of {wanted}" if wanted else ""))
    reward = wording.plain(number(last.get("reward_mean")))
    found.append(Tile("Reward, last step", reward, _first(metrics)))
    evals = math.fsum(number(row.get("seconds")) or 0.0 for row in metrics.evals)
    note = f"and {wording.duration(evals)} evaluating" if evals else ""
    found.append(Tile("Training time", wording.duration(seconds), note))
    sampled, trained = total(metrics, "tokens_sampled"), total(metrics, "tokens_trained")
    if sampled is not None:
        rate = f"{wording.count(sampled / seconds)} a second" if seconds else ""
        found.append(Tile("Tokens sampled", wording.count(sampled), rate))
    if trained is not None and sampled:
        share = f"{wording.percent(trained / sampled, 0)} of those sampled"
        found.append(Tile("Tokens trained on", wording.count(trained), share))
    return found


def total(metrics: Metrics, key: str) -> float | None:
    """Sum over the steps; None where no step has the key."""
    values = [value for value in metrics.numbers(key) if value is not None]
    return math.fsum(values) if values else None


def tenth(length: int) -> int:
    """How many steps are the beginning or the end of a run."""
    return max(length // 10, 1)


def early(values: Sequence[float | None]) -> float | None:
    return mean(values[: tenth(len(values))])


def late(values: Sequence[float | None]) -> float | None:
    return mean(values[-tenth(len(values)) :])


def mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def best(evals: list[Row]) -> Row | None:
    """The evaluation with the highest accuracy, the earliest of equals."""
    judged = [row for row in evals if number(row.get("accuracy")) is not None]
    return max(judged, key=lambda row: row["accuracy"], default=None)


def _first(metrics: Metrics) -> str:
    first = metrics.steps[0]
    return f"{wording.plain(number(first.get('reward_mean')))} at step {first['step']}"


def _accuracy(evals: list[Row], task: str, split: str) -> Tile | None:
    """From the first to the last evaluation, greedy and the best below."""
    first, last, top = evals[0], evals[-1], best(evals)
    if top is None:
        return None
    ends = [first] if first is last else [first, last]
    greedy = [number(row.get("accuracy_greedy")) for row in ends]
    remarks = ["step " + " \u2192 ".join(str(row["step"]) for row in ends)]
    if any(value is not None for value in greedy):
        remarks.append("greedy " + " \u2192 ".join(map(wording.percent, greedy)))
    if top["step"] != last["step"]:
        remarks.append(f"best {wording.percent(top['accuracy'])} at step {top['step']}")
    label = f"Held-out accuracy: {task}, {split}"
    return Tile(label, " \u2192 ".join(map(with_error, ends)), "; ".join(remarks), wide=True)


def with_error(row: Row) -> str:
    """45.2% ± 3.1%: half the width of the 95% interval; 99% to 100% at an end of the scale."""
    mean, bounds = number(row.get("accuracy")), interval(row)
    if mean is None or bounds is None:
        return wording.percent(mean)
    if mean in (0.0, 1.0):
        low, high = (wording.percent(bound, 0) for bound in bounds)
        return f"{wording.percent(mean, 0)} ({low} to {high})"
    return f"{wording.percent(mean)} ± {wording.percent(1.96 * row['stderr'])}"

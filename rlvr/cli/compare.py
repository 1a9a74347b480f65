"""`rlvr compare`: which of several runs is better, if that can be said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from rlvr.errors import UserError

if TYPE_CHECKING:
    from rlvr.report.compare import Comparison
    from rlvr.report.paired import Difference
    from rlvr.report.sides import Side


def compare(
    *runs: str, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """Compare runs, paired by problem: A better, B better, or not distinguishable.

    Parameters
    ----------
    runs
        Run directories, at their last evaluation; RUN@STEP, RUN@first and RUN@best name another.
        The JSON file of rlvr eval --output is one too.
    as_json
        Print one JSON object.
    """
    if len(runs) < 2:
        raise UserError("rlvr compare needs two runs or more (RUN@first is one as well)")
    from rlvr.report import compare as comparing
    from rlvr.report.sides import sides

    found = sides(runs)
    comparisons = comparing.compare(found)
    if as_json:
        print(json.dumps(comparing.as_json(found, comparisons), indent=1, allow_nan=False))
        return
    for line in _page(found, comparisons):
        print(line)


def _page(sides: Sequence[Side], comparisons: Sequence[Comparison]) -> Iterator[str]:
    for side in sides:
        yield f"{side.label}  {side.name}" + ("" if side.step is None else f"  (step {side.step})")
    for each in comparisons:
        yield ""
        yield from _verdict(each, len(comparisons))
    if not comparisons:
        yield ""
        yield "not distinguishable: no two of them have an evaluation of the same task and split"
    yield ""
    yield from _ends(sides)
    if comparisons:
        yield ""
        yield "A verdict is about these models on these problems; another seed may decide otherwise."
    if any(side.name.endswith("@best") for side in sides):
        yield "@best was picked by these very problems, which flatters it."


def _verdict(each: Comparison, comparisons: int) -> Iterator[str]:
    a, b, sampled = each.a.label, each.b.label, each.sampled
    yield f"{a} and {b} on {' '.join(word for word in each.task if word)}: {each.verdict}"
    yield f"  sampled  {_difference(sampled, a, b)}"
    if each.greedy:
        yield f"  greedy   {_difference(each.greedy, a, b)}"
    if sampled.adjusted is not None and comparisons > 1:
        yield f"  {_p(sampled.adjusted)} after correction for {comparisons} comparisons"
    if sampled.detectable is not None:
        points = f"{100 * sampled.detectable:.1f}"
        yield f"  minimum detectable difference {points} points (level 5%, power 80%)"
    if sampled.paired:
        rest = f", {each.only} more on one side only" if each.only else ""
        yield f"  paired over {sampled.problems} problems{rest}"
    else:
        yield "  not paired: the results by problem (evals/step-N.jsonl) are not on both sides"


def _difference(each: Difference, a: str, b: str) -> str:
    text = f"{a} {100 * each.a:.1f}%  {b} {100 * each.b:.1f}%  {b} - {a} = {_points(each.difference)} points"
    if each.low is None or each.high is None or each.p is None:
        return f"{text}, no interval"
    return f"{text}, 95% interval {_points(each.low)} to {_points(each.high)}, {_p(each.p)}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _ends(sides: Sequence[Side]) -> Iterator[str]:
    """Where the curves ended, what it cost, and the settings that differ."""
    from rlvr.report.compare import differing, endpoints

    ends = [endpoints(side) for side in sides]
    known = [name for name in ends[0] if any(end[name] is not None for end in ends)]
    rows = [("", [side.label for side in sides]), *_accuracies(sides)]
    rows += [(name.replace("_", " "), [_worded(name, end[name]) for end in ends]) for name in known]
    if different := differing(sides):
        rows += [("", []), ("settings that differ", []), *different.items()]
    first = max(len(name) for name, _ in rows)
    wide = [max(len(row[i]) for _, row in rows if row) for i in range(len(sides))]
    for name, row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, wide, strict=False))
        yield f"{name:<{first}}  {'  '.join(cells)}".rstrip()


def _accuracies(sides: Sequence[Side]) -> list[tuple[str, list[str]]]:
    from rlvr.report.headline import with_error

    tasks = dict.fromkeys(task for side in sides for task in side.summaries)
    return [
        (" ".join(task), [with_error(side.summaries.get(task, {})) for side in sides])
        for task in tasks
    ]


def _worded(name: str, value: float | None) -> str:
    from rlvr.report.wording import count, duration, percent, plain

    if name == "seconds":
        return duration(value)
    if name in ("reward", "entropy", "response_tokens"):
        return plain(value)
    return percent(value) if name == "informative_groups" else count(value)

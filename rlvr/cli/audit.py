"""`rlvr audit`: how often a verifier is wrong."""

from __future__ import annotations

import json as json_module
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import cyclopts

from rlvr import config, registry
from rlvr.cli.progress import Progress
from rlvr.errors import UserError
from rlvr.tasks.task import Task
from rlvr.types import Problem
from rlvr.verifiers import audit_trials
from rlvr.verifiers.audit import Report, Trial
from rlvr.verifiers.audit import audit as judge
from rlvr.verifiers.pool import Pool
from rlvr.verifiers.spec import Spec

SHOWN = 10  # failures printed
SPLITS = ("train", "test")


def audit(
    verifier: str | None = None,
    /,
    *,
    cases: Path | None = None,
    task: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    workers: int = 2,
    timeout: float | None = None,
    max_false_accepts: float = 0.0,
    max_false_rejects: float = 0.01,
    json: bool = False,
    flags: Annotated[tuple[str, ...], cyclopts.Parameter(parse=False)] = (),
) -> int:
    """How often a verifier is wrong: false accepts, false rejects, hangs, with 95 % intervals.

    Exit code 1 when a limit is passed. Without --cases and --task, our own labelled cases for math, code and sql.

    Parameters
    ----------
    verifier
        A name (see rlvr list verifier) or ./file.py:Name; with --task, by default the task's own.
    cases
        JSONL, a labelled case a line: response, reference and other fields as for rlvr verify, accept (true or false),
        optional category.
    task
        Check every gold of this task before training on it; its settings are --task.FIELD VALUE.
    split
        Only this split of the task; by default train and test.
    limit
        Only the first so many problems of a split.
    workers
        Processes that judge.
    timeout
        Seconds one verdict may take; without it, what the verifier says.
    max_false_accepts
        The largest allowed share of cases accepted that should not be.
    max_false_rejects
        The largest allowed share of cases not accepted that should be.
    json
        One JSON object on stdout, with every failure.
    """
    if cases is not None and task is not None:
        raise UserError("--cases and --task exclude each other")
    if limit is not None and limit < 1:
        raise UserError("--limit must be at least 1")
    if not (0 <= max_false_accepts <= 1 and 0 <= max_false_rejects <= 1):
        raise UserError("--max-false-accepts and --max-false-rejects are shares between 0 and 1")
    tree = config.flags_to_tree(flags)
    for word in tree:
        if word not in ("verifier", "task"):
            raise UserError(f"audit does not take '--{word}' (see rlvr audit --help)")
    if task is not None:
        tree.setdefault("task", {})["name"] = task
    elif "task" in tree:
        raise UserError("--task.FIELD needs --task NAME")
    if verifier is not None:
        tree.setdefault("verifier", {})["name"] = verifier
    name, spec = _verifier(tree)
    with tempfile.TemporaryDirectory() as folder:
        if cases is not None:
            trials = audit_trials.from_file(cases)
        elif task is not None:
            trials = _golds(tree, name, split, limit)
        else:
            trials = audit_trials.own(name, Path(folder))
        report = _run(trials, spec, name, workers, timeout)
    beyond = report.beyond(max_false_accepts, max_false_rejects)
    if json:
        body = {**report.to_json(), "beyond_limits": beyond, "passed": not beyond}
        print(json_module.dumps(body))
    else:
        _show(report, beyond)
    return 1 if beyond else 0


def _verifier(tree: config.Tree) -> tuple[str, Spec]:
    """The verifier's name and how to build it: the one given, else the task's."""
    given = tree.get("verifier", {})
    if "name" not in given:
        if "task" not in tree:
            raise UserError("audit needs a verifier (math, code, sql, ./file.py:Name) or --task")
        target = registry.load("task", tree["task"]["name"]).target
        own = getattr(target, "verifier", None)
        if own is None:
            raise UserError(f"task '{tree['task']['name']}' names no verifier: give one")
        given = {**given, "name": own}
    name = str(given["name"])
    stage = config.resolve({"verifier": name}, {}, flags={"verifier": given}).stages["verifier"]
    return name, Spec(stage.plugin.spec, stage.values())


def _golds(
    tree: config.Tree, verifier: str, split: str | None, limit: int | None
) -> Iterator[Trial]:
    stage = config.resolve({"task": tree["task"]["name"]}, {}, flags={"task": tree["task"]})
    task = stage.stages["task"].build()
    parts: list[Iterator[Trial]] = []
    for each in (split,) if split else SPLITS:
        problems = _problems(task, each, required=split is not None)
        if problems:
            parts.append(audit_trials.golds(problems, verifier, limit))
    if not parts:
        raise UserError(f"task '{tree['task']['name']}' has neither a train nor a test split")
    return chain(*parts)


def _problems(task: Task, split: str, required: bool) -> Sequence[Problem]:
    try:
        return task.problems(split)
    except UserError:
        if required or split == SPLITS[0]:
            raise
        return []


def _run(
    trials: Iterator[Trial], spec: Spec, name: str, workers: int, timeout: float | None
) -> Report:
    report = None
    with (
        Pool(spec, workers=workers, timeout=timeout, max_broken=1.0) as pool,
        Progress("audit", None) as progress,
    ):
        for report in judge(trials, pool, name):
            progress.advance(1, f"{report.cases} judged, {len(report.failures)} not as labelled")
    if report is None:
        raise UserError("there is nothing to audit")
    return report


def _show(report: Report, beyond: list[str]) -> None:
    print(f"{'category':<44} {'cases':>6}  {'wrongly accepted':<34} wrongly refused")
    for tally in report.tallies.values():
        row = tally.row()
        print(
            f"{tally.category[:44]:<44} {row['cases']:>6}  {_share(tally.accepted, tally.rejects):<34} "
            f"{_share(tally.refused, tally.accepts)}"
        )
    print(f"{'all':<44} {report.cases:>6}  {report.false_accepts!s:<34} {report.false_rejects}")
    seconds = report.seconds
    print(
        f"time: p50 {1e3 * seconds['p50']:.3g} ms, p99 {1e3 * seconds['p99']:.3g} ms, "
        f"max {1e3 * seconds['max']:.3g} ms; hangs: {report.hangs}"
    )
    for failure in report.failures[:SHOWN]:
        detail = f" ({failure.detail})" if failure.detail else ""
        print(f"  {failure.id}: should {failure.expected}, got {failure.status}{detail}")
        print(f"    reference {failure.reference!r}, response {failure.response!r}")
    if len(report.failures) > SHOWN:
        print(f"  and {len(report.failures) - SHOWN} more; --json lists all")
    for limit in beyond:
        print(f"beyond the limit: {limit}")


def _share(count: int, of: int) -> str:
    from rlvr.verifiers.audit import Rate

    return str(Rate.wilson(count, of))

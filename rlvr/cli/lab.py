"""`rlvr lab`: what a choice of stages would do with saved groups."""

from __future__ import annotations

import contextlib
import json as json_module
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from rlvr import config
from rlvr.errors import UserError

if TYPE_CHECKING:
    from rlvr.lab.stages import Stages


def lab(
    *,
    input: Path,
    output: Path | None = None,
    json: bool = False,
    step: int | None = None,
    compare: str | None = None,
    plot: Path | None = None,
    flags: Annotated[tuple[str, ...], Parameter(parse=False)] = (),
) -> int:
    """What a choice of stages would do with saved groups. Needs no model.

    Stages are flags: --advantage --filter --select --clip --aggregate, with their settings:
    --advantage riskpo --advantage.quantiles 1.5,4. With --budget the input is a history of
    successes. `rlvr list` shows the names.

    Parameters
    ----------
    input
        One response a line: prompt, reward (null: broken verdict), tokens, and where a stage reads
        them logprobs, old_logprobs, entropies. Also a run directory, or its rollouts file. For
        --budget: prompt, successes, attempts.
    output
        Where the weights go, one object a response in the same order.
    json
        Print the diagnostics as one JSON object.
    step
        Of a run: only this step.
    compare
        Several estimators instead, separated by commas: a table, and with --plot a picture.
    plot
        Where the picture of --compare goes (.png, .svg, .pdf).
    """
    if plot and not compare:
        raise UserError("--plot belongs to --compare")
    source = _source(input)
    if compare:
        if output:
            raise UserError("--compare writes no weights: leave --output out")
        return _compare(source, compare.split(","), config.flags_to_tree(flags), step, plot, json)
    from rlvr.lab import allocation
    from rlvr.lab.stages import choose

    tree = config.flags_to_tree(flags)
    stages = choose(tree)
    _warn(stages)
    if "budget" in tree and allocation.is_history(source):
        rows, report = allocation.allocate(source, stages["budget"])
        with _output(output) as write:
            for row in rows:
                write(row)
        _show({"budget": report}, json)
        return 0
    return _weigh(source, stages, step, output, json)


def _weigh(source: Path, stages: Stages, step: int | None, output: Path | None, json: bool) -> int:
    from rlvr.lab import saved, weights

    reports = []
    with _output(output) as write:
        for batch in saved.batches(source):
            weighed = weights.through(batch, stages)  # every step: a stage may learn from it
            if step is not None and batch.step != step:
                continue
            for row in weights.rows(weighed):
                write(row)
            numbered = {} if batch.step is None else {"step": batch.step}
            reports.append({**numbered, **weighed.report})
    if not reports:
        raise UserError(f"{source} has no step {step}")
    whole = reports[0] if len(reports) == 1 else {**reports[-1], "steps": reports}
    _show(whole, json)
    return 0


def _compare(
    source: Path,
    names: list[str],
    flags: Mapping[str, Any],
    step: int | None,
    plot: Path | None,
    json: bool,
) -> int:
    from rlvr.lab import saved, weights
    from rlvr.lab.compare import Compared, table
    from rlvr.lab.compare import plot as draw
    from rlvr.lab.stages import choose

    given = flags.get("advantage", {})
    chosen = {
        name: choose({**flags, "advantage": {**_own(given, name), "name": name}})
        for name in dict.fromkeys(name for name in names if name)
    }
    if not chosen:
        raise UserError("--compare needs names of estimators")
    found: dict[str, list[weights.Weighed]] = {name: [] for name in chosen}
    for stages in chosen.values():
        _warn(stages)
    for batch in saved.batches(source):
        for name, stages in chosen.items():
            weighed = weights.through(batch, stages)
            if step is None or batch.step == step:
                found[name].append(weighed)
    if not any(found.values()):
        raise UserError(f"{source} has no step {step}")
    compared = [Compared(name, batches) for name, batches in found.items()]
    if json:
        reports = {each.name: each.batches[-1].report for each in compared}
        print(json_module.dumps(_plain(reports)))
    else:
        print(table(compared))
    if plot:
        draw(compared, plot)
    return 0


def _own(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Settings of --advantage apply to the estimator it names."""
    return dict(given) if given.get("name") == name else {}


def _source(path: Path) -> Path:
    """The file to read: a run directory stands for its rollouts."""
    if not path.is_dir():
        return path
    for name in ("rollouts.jsonl.zst", "rollouts.jsonl"):
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path} has no rollouts.jsonl.zst")


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[Any]:
    """A function that writes one object as a line.

    The file appears only when all went well; what is no plain file (a pipe, a terminal) is written
    to directly.
    """
    if path is None:
        yield lambda row: None
        return
    direct = path.exists() and not path.is_file()
    target = path if direct else path.with_name(path.name + ".part")
    try:
        file: IO[str] = target.open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    try:
        with file:
            yield lambda row: file.write(json_module.dumps(_plain(row)) + "\n")
        if not direct:
            target.replace(path)
    finally:
        if not direct:
            target.unlink(missing_ok=True)


def _warn(stages: Stages) -> None:
    for warning in stages.warnings:
        print(f"rlvr: warning: {warning}", file=sys.stderr)


def _show(report: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json_module.dumps(_plain(report)))
        return
    for section, values in report.items():
        if not isinstance(values, Mapping):
            continue
        print(section)
        for key, value in _flat(values):
            print(f"  {key:<28} {_short(value)}")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(_short, value)) if isinstance(value, list) else str(value)


def _plain(value: Any) -> Any:
    """JSON knows no infinity: such a number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value

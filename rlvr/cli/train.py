"""`rlvr train`: from a recipe and flags to a run directory with a report."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from cyclopts import Parameter

from rlvr import config
from rlvr.api import new_run_folder
from rlvr.errors import UserError


def train(
    recipe: str | None = None,
    /,
    *,
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    preset: str | None = None,
    flags: Annotated[tuple[str, ...], Parameter(parse=False)] = (),
) -> int:
    """Train a model; with nothing else, the embedded default.

    Every stage is a flag: --task --model --sampler --verifier --budget --filter --advantage
    --select --correct --clip --aggregate --kl --tracker, and every setting of the one chosen is
    one too: --advantage bnpo --advantage.eps 0. So are the run's own: --steps --problems --responses --seed
    --optimizer.lr --eval.every --checkpoint.every and more. `rlvr list` shows the names, --dry-run
    all settings with their values.

    Parameters
    ----------
    recipe
        A TOML file, or the name of a recipe that comes along (demo, ...).
    out
        The run directory; default runs/DATE-TIME.
    resume
        Go on from the newest checkpoint of --out.
    dry_run
        Show every setting with its origin and what follows from it, and stop.
    preset
        Stages that are known to go together (baseline, stable-offpolicy, ...).
    """
    if resume and out is None:
        raise UserError("--resume needs --out, the run directory to go on with")
    tree = config.recipe(recipe, out if resume else None)
    given = config.flags_to_tree(flags)
    from rlvr import assemble

    plan = assemble.resolve(tree, given, preset)
    resolved = plan.resolved
    for warning in plan.warnings:
        print(f"rlvr: warning: {warning}", file=sys.stderr)
    if dry_run:
        print(resolved.to_toml(), end="")
        print(assemble.consequences(resolved))
        return 0
    folder = out or new_run_folder()
    return _run(resolved, folder, resume)


def _run(resolved: config.Resolved, folder: Path, resume: bool) -> int:
    from rlvr import assemble, loop
    from rlvr.report.html import reporting

    with assemble.job(resolved, folder, resume=resume) as job, stopping(job) as stopped:
        print(f"rlvr: run directory {folder}", file=sys.stderr)
        if job.step:
            print(f"rlvr: going on after step {job.step}", file=sys.stderr)
        elif job.held_out:
            print(f"rlvr: measuring {len(job.held_out)} held-out problems first", file=sys.stderr)
        with assemble.tracking(resolved, folder) as track, progress(job) as show:

            def on_step(metrics: dict[str, object]) -> None:
                show(metrics)
                track(metrics)

            with reporting(folder):
                reached = loop.train(job, on_step)
    finished = reached == job.settings.steps
    print(f"rlvr: {'done' if finished else f'stopped after step {reached}'}: {job.summary()}")
    print(f"rlvr: report {folder / 'report.html'}")
    return 0 if finished else 128 + (stopped() or signal.SIGINT)


@contextmanager
def stopping(job: Any) -> Iterator[Any]:
    """SIGINT and SIGTERM ask the loop to end after this step; a second one ends it at once."""
    caught: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        job.stop_requested = True
        print("rlvr: finishing this step, then saving (again: stop at once)", file=sys.stderr)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: caught[0] if caught else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(job: Any) -> Iterator[Any]:
    """A bar on a terminal, a line a step elsewhere."""
    steps = job.settings.steps
    if not sys.stderr.isatty():

        def line(metrics: dict[str, Any]) -> None:
            print(
                f"step {metrics['step']}/{steps}  reward {metrics['reward_mean']:.3f}  "
                f"entropy {metrics['entropy']:.3f}  {metrics['seconds']:.1f} s  "
                f"best held-out {job.best_text()}",
                file=sys.stderr,
                flush=True,
            )

        yield line
        return
    from tqdm import tqdm

    with tqdm(total=steps, initial=job.step, unit="step", dynamic_ncols=True) as bar:

        def move(metrics: dict[str, Any]) -> None:
            bar.set_postfix_str(
                f"reward {metrics['reward_mean']:.3f}, held-out {job.best_text()}", refresh=False
            )
            bar.update()

        yield move

"""`rlvr report`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path

from rlvr.errors import UserError


def report(
    run_dir: Path,
    /,
    *,
    responses: int = 2000,
) -> None:
    """Write RUN_DIR/report.html: curves, warnings, settings, responses, in one file.

    Parameters
    ----------
    run_dir
        What `rlvr train` wrote.
    responses
        How many responses the file holds at most.
    """
    if responses < 0:
        raise UserError("--responses cannot be negative")
    if not run_dir.is_dir():
        raise UserError(f"no run directory {run_dir}")
    if not any((run_dir / name).is_file() for name in ("metrics.jsonl", "config.toml")):
        raise UserError(f"{run_dir} is no run directory: it has no metrics.jsonl")
    from rlvr.report.html import write_report

    print(write_report(run_dir, responses))

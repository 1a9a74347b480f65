"""Run directories as the contract describes them, without a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from .synthetic import CONFIG, lines, write_frames

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make_run(name, metrics, rollouts=..., problems={step: rows}) -> the folder."""

    def make(
        name: str,
        metrics: Iterable[Mapping[str, Any]],
        *,
        rollouts: Iterable[Iterable[Mapping[str, Any]]] = (),
        problems: Mapping[int, Iterable[Mapping[str, Any]]] | None = None,
        steps: int = 2,
    ) -> Path:
        folder = tmp_path / name
        (folder / "evals").mkdir(parents=True)
        (folder / "config.toml").write_text(CONFIG.format(steps=steps))
        (folder / "metrics.jsonl").write_text(lines(metrics))
        write_frames(folder / "rollouts.jsonl.zst", rollouts)
        for step, rows in (problems or {}).items():
            (folder / "evals" / f"step-{step}.jsonl").write_text(lines(rows))
        return folder

    return make

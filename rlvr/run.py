"""The run directory: settings, metrics, rollouts, evaluations, checkpoints. Append-only files and atomic folders."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import zstandard
from safetensors import SafetensorError
from torch import Tensor

from rlvr import checkpoint
from rlvr.errors import UserError
from rlvr.types import Group

FILES = (
    "metrics.jsonl",
    "rollouts.jsonl.zst",
)  # append-only, cut back to a checkpoint's sizes on resume


class RunDirectory:
    """One training run on disk."""

    def __init__(self, folder: Path, *, resume: bool) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        if (folder / "metrics.jsonl").exists() and not resume:
            raise UserError(
                f"{folder} holds a run already: --resume continues it, --out names another"
            )
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--out {folder} is not a folder")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            (folder / "evals").mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {folder}: {error.strerror}") from None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else trains here meanwhile. The system lets go of the lock when the process ends, however it ends."""
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"--out {self.folder}: another process is training there") from None
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A disk that is full or gone is one line; what was saved before stays whole."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"{self.folder} cannot be written: {reason} (what was saved before is whole: --resume goes on)"
            ) from error

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def write_config(self, text: str) -> None:
        aside = self.folder / ".config.toml"
        aside.write_text(text)
        aside.rename(self.folder / "config.toml")

    def resume(self) -> checkpoint.Checkpoint | None:
        """The newest whole checkpoint, with the files cut back to its moment; None: start afresh."""
        for path in checkpoint.leftovers(self.checkpoints):
            shutil.rmtree(path)
        found = checkpoint.latest(self.checkpoints)
        for name in FILES:
            path = self.folder / name
            if path.exists():
                os.truncate(path, found.state["sizes"][name] if found else 0)
        last = found.step if found else -1
        for path in (self.folder / "evals").glob("step-*.jsonl"):
            if int(path.stem.removeprefix("step-")) > last:
                path.unlink()
        return found

    def record(self, metrics: Mapping[str, Any]) -> None:
        """Append one object to metrics.jsonl; numbers that are not finite become null."""
        line = json.dumps({key: _plain(value) for key, value in metrics.items()}, allow_nan=False)
        with self.writing(), (self.folder / "metrics.jsonl").open("a") as file:
            file.write(line + "\n")

    def record_rollouts(
        self,
        step: int,
        groups: Sequence[Group],
        advantage: Tensor,
        kept: Tensor,
        entropy: Tensor | None,
        trainer: Tensor | None,
    ) -> None:
        """Append the step's responses, one object each, as one compressed frame.

        `entropy`, `trainer` [T]: the old policy's entropies and log-probabilities, where it was asked.
        """
        lines, index, first = [], 0, 0
        for number, group in enumerate(groups):
            for rollout in group.rollouts:
                verdict, last = rollout.verdict, first + rollout.length
                row = {
                    "step": step,
                    "problem": group.problem.id,
                    "prompt": group.problem.prompt,
                    "text": rollout.text,
                    "status": str(verdict.status) if verdict else None,
                    "detail": verdict.detail if verdict else "",
                    "extracted": verdict.extracted if verdict else None,
                    "reward": verdict.reward if verdict else None,
                    "parts": dict(verdict.parts) if verdict and verdict.parts else None,
                    "isolation": verdict.isolation or None if verdict else None,
                    "reference": group.problem.reference,
                    "advantage": float(advantage[index]),
                    "kept": bool(kept[index]),
                    "policy_version": rollout.version,
                    "tokens": rollout.length,
                    "finish": str(rollout.finish),
                    "group": number,
                    "index": index,
                    "token_ids": rollout.tokens.tolist(),
                    "logprobs": _rounded(rollout.logprobs),
                }
                if rollout.versions is not None:  # several policies wrote it, each token its own
                    row["token_versions"] = rollout.versions.tolist()
                if entropy is not None:
                    row["entropies"] = _rounded(entropy[first:last])
                if trainer is not None:
                    row["trainer_logprobs"] = _rounded(trainer[first:last])
                lines.append(json.dumps(row, default=str))
                index, first = index + 1, last
        if not lines:
            return
        frame = zstandard.ZstdCompressor(level=3).compress(("\n".join(lines) + "\n").encode())
        with self.writing(), (self.folder / "rollouts.jsonl.zst").open("ab") as file:
            file.write(frame)

    def record_problems(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """evals/step-N.jsonl: what became of every problem of an evaluation."""
        with self.writing(), (self.folder / "evals" / f"step-{step}.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def save(
        self, step: int, write_model: Any, state: Mapping[str, Any], *, keep: int, best: int | None
    ) -> None:
        """checkpoints/step-N, then delete what is no longer kept."""
        with self.writing():
            for name in FILES:
                path = self.folder / name
                path.touch()
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sizes = {name: (self.folder / name).stat().st_size for name in FILES}
            state = {"step": step, "sizes": sizes, **state}
            checkpoint.save(self.checkpoints / f"step-{step}", write_model, state)
        checkpoint.prune(self.checkpoints, keep, best)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _rounded(values: Tensor) -> list[float]:
    """Seven significant digits: what a float32 holds."""
    return [float(f"{value:.7g}") for value in values.to(torch.float32).tolist()]

"""Read a run directory: metrics, rollouts, evaluations. Not read: checkpoints.

A run that was killed leaves a torn last line or a torn last frame; what stands before it is read.
Unknown keys are ignored by everything that reads here, and missing ones are tolerated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

Row = dict[str, Any]

CHUNK = 1 << 17  # bytes read at a time
TOKEN_ARRAYS = ("token_ids", "logprobs", "entropies")  # most of a rollout's bytes; no text in them


class Records:
    """The JSON objects of a .jsonl or .jsonl.zst file, one at a time, in order.

    `drop` names keys whose arrays of numbers are read as null, which saves most of the time on long
    responses. After reading, `unreadable` counts lines that hold no JSON object; a torn end is not
    one of them.
    """

    def __init__(self, path: Path, drop: Sequence[str] = ()) -> None:
        self.path = path
        self.unreadable = 0
        self._drop = [f'"{key}": ['.encode() for key in drop]

    def __iter__(self) -> Iterator[Row]:
        self.unreadable = 0
        doubtful = 0  # a bad line is only counted once another line follows: the last may be torn
        for line in _lines(self.path):
            if not line.strip():
                continue
            self.unreadable += doubtful
            row = self._parse(line)
            doubtful = row is None
            if row is not None:
                yield row

    def _parse(self, line: bytes) -> Row | None:
        short = line
        for key in self._drop:
            # inside a JSON string every quote has a backslash before it: this is a key, never text
            start = short.find(key)
            if start >= 0 and (end := short.find(b"]", start)) >= 0:
                short = short[: start + len(key) - 1] + b"null" + short[end + 1 :]
        row = _object(short)
        return _object(line) if row is None and short is not line else row


def _object(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _lines(path: Path) -> Iterator[bytes]:
    begun: list[bytes] = []  # pieces of a line that goes on in the next chunk
    for chunk in _packed(path) if path.suffix == ".zst" else _plain(path):
        first, *more = chunk.split(b"\n")
        begun.append(first)
        if more:
            yield b"".join(begun)
            yield from more[:-1]
            begun = [more[-1]]
    yield b"".join(begun)


def _plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _packed(path: Path) -> Iterator[bytes]:
    """What zstandard frames one after the other hold; of a damaged file, what is before the damage."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    for data in _plain(path):
        while data:
            try:
                yield frame.decompress(data)
            except zstandard.ZstdError:
                return
            data = frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()


def rollouts(folder: Path) -> Records | None:
    """The run's responses without their token arrays; None where none were written."""
    for name in ("rollouts.jsonl.zst", "rollouts.jsonl"):
        path = folder / name
        if path.is_file() and path.stat().st_size:
            return Records(path, drop=TOKEN_ARRAYS)
    return None


@dataclass(frozen=True)
class Metrics:
    """metrics.jsonl: steps and evaluations, each ascending in step, the last word on each kept."""

    steps: list[Row]
    evals: list[Row]
    unreadable: int = 0

    def numbers(self, key: str) -> list[float | None]:
        """One value a step; None where the step has none."""
        return [number(row.get(key)) for row in self.steps]

    def tasks(self) -> list[tuple[str, str]]:
        """(task, split) of the evaluations, by first appearance."""
        return list(dict.fromkeys((row["task"], row["split"]) for row in self.evals))

    def of(self, task: str, split: str) -> list[Row]:
        return [row for row in self.evals if (row["task"], row["split"]) == (task, split)]


def metrics(folder: Path) -> Metrics:
    """Empty where there is no metrics.jsonl."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return Metrics([], [])
    steps: dict[int, Row] = {}
    evals: dict[tuple[int, str, str], Row] = {}
    records = Records(path)
    for row in records:
        step = number(row.get("step"))
        if step is None:
            continue
        kind = row.get("kind") or "step"
        if kind == "step":
            steps[int(step)] = {**row, "step": int(step)}
        elif kind == "eval":
            task, split = str(row.get("task", "")), str(row.get("split", ""))
            key = (int(step), task, split)
            evals[key] = {**row, "step": int(step), "task": task, "split": split}
    return Metrics(
        [steps[step] for step in sorted(steps)],
        sorted(evals.values(), key=lambda row: row["step"]),
        records.unreadable,
    )


def problems(folder: Path, step: int) -> list[Row] | None:
    """evals/step-N.jsonl, one object a problem; None where that evaluation left no file."""
    path = folder / "evals" / f"step-{step}.jsonl"
    return list(Records(path)) if path.is_file() else None


def interval(evaluation: Row) -> tuple[float, float] | None:
    """95% interval of held-out accuracy over problems, from its standard error; None without one.

    All right or all wrong has no spread: the far end is then 3/n away (the rule of three).
    """
    mean, error = number(evaluation.get("accuracy")), number(evaluation.get("stderr"))
    if mean is None or error is None:
        return None
    half = 1.96 * error
    if error == 0 and mean in (0.0, 1.0):
        half = min(3 / max(number(evaluation.get("problems")) or 1, 1), 1.0)
    return max(mean - half, 0.0), min(mean + half, 1.0)


def number(value: object) -> float | None:
    """A finite number, or None. Truth values are not numbers here."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None

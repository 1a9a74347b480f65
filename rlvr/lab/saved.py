"""Saved responses, from a file of groups or a run's rollouts, as the numbers estimators take."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores
from rlvr.errors import UserError

ARRAYS = ("logprobs", "old_logprobs", "trainer_logprobs", "entropies")


@dataclass(frozen=True)
class Saved:
    """One response. Arrays have `tokens` entries or are None."""

    line: int
    prompt: Any
    key: str  # what makes a group
    step: int | None  # of a run, None in a plain file
    reward: float | None  # None: a broken verdict
    correct: bool
    tokens: int | None
    truncated: bool
    arrays: dict[str, Tensor | None]  # [tokens] float64
    index: int  # place among its step's responses
    raw: dict[str, Any]  # the object as it was, without its arrays


@dataclass(frozen=True)
class Batch:
    """The responses of one step (or of a whole file) with their scores."""

    step: int | None
    responses: Sequence[Saved]
    scores: Scores
    logp: Tensor | None  # [T] float64, new policy
    old_logp: Tensor | None  # [T]


def batches(path: Path) -> Iterator[Batch]:
    """A run's file step by step, any other file as one batch. Raises UserError naming the line."""
    waiting: list[Saved] = []
    for saved in responses(path):
        if waiting and waiting[0].step != saved.step:
            yield batch(waiting)
            waiting = []
        waiting.append(saved)
    if not waiting:
        raise UserError(f"{path} holds no responses")
    yield batch(waiting)


def responses(path: Path) -> Iterator[Saved]:
    for number, record in lines(path):
        yield _response(number, record)


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number, from 1, and object of a JSONL file, compressed or not; no blank lines."""
    with ExitStack() as stack:
        for number, line in enumerate(_open(path, stack), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise UserError(f"line {number}: not JSON ({error})") from None
            if not isinstance(record, dict):
                raise UserError(f"line {number}: not a JSON object")
            yield number, record


def _open(path: Path, stack: ExitStack) -> Iterator[str]:
    try:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if path.suffix == ".zst":
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        file = stack.enter_context(io.BufferedReader(reader))
    text = stack.enter_context(io.TextIOWrapper(file, encoding="utf-8-sig"))
    try:
        yield from text
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason}") from error


def _response(number: int, record: dict[str, Any]) -> Saved:
    run = "problem" in record and "step" in record
    if not run and "prompt" not in record:
        raise UserError(f"line {number}: no prompt")
    if "reward" not in record:
        raise UserError(f"line {number}: no reward (null for a broken verdict)")
    reward = number_of(record, "reward", number)
    tokens = count(record, "tokens", number) if record.get("tokens") is not None else None
    arrays = {name: _array(record, name, tokens, number) for name in ARRAYS}
    if tokens is None:  # arrays say it too, if they agree
        sizes = {len(each) for each in arrays.values() if each is not None}
        if len(sizes) > 1:
            raise UserError(f"line {number}: arrays of different lengths")
        tokens = sizes.pop() if sizes else None
    correct = record.get("correct")
    if run:
        correct = record.get("status") == "correct"
    if correct is None:
        correct = reward is not None and reward > 0
    if not isinstance(correct, bool):
        raise UserError(f"line {number}: correct must be true or false, not {correct!r}")
    prompt = record["problem" if run else "prompt"]
    step = count(record, "step", number) if run else None
    key = f"{record.get('group', '')}:{prompt}" if run else json.dumps(prompt, sort_keys=True)
    truncated = record.get("finish") == "length"
    index = record.get("index", -1)
    rest = {name: value for name, value in record.items() if name not in ARRAYS}
    return Saved(number, prompt, key, step, reward, correct, tokens, truncated, arrays, index, rest)


def number_of(record: dict[str, Any], name: str, line: int) -> float | None:
    """A finite number or null."""
    value = record[name]
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"line {line}: {name} must be a number, not {value!r}")
    return float(value)


def count(record: dict[str, Any], name: str, line: int) -> int:
    """A whole number, not negative."""
    value = record.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"line {line}: {name} must be a whole number, not {value!r}")
    return value


def _array(record: dict[str, Any], name: str, tokens: int | None, line: int) -> Tensor | None:
    values = record.get(name)
    if values is None:
        return None
    if not isinstance(values, list) or not all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in values
    ):
        raise UserError(f"line {line}: {name} must be a list of numbers")
    if tokens is not None and len(values) != tokens:
        raise UserError(f"line {line}: {name} has {len(values)} entries for {tokens} tokens")
    tensor = torch.tensor(values, dtype=torch.float64)
    if not bool(tensor.isfinite().all()):
        raise UserError(f"line {line}: {name} holds a number that is not finite")
    return tensor


def batch(saved: Sequence[Saved]) -> Batch:
    """One batch: prompts are numbered by first appearance."""
    numbers: dict[str, int] = {}
    group = [numbers.setdefault(each.key, len(numbers)) for each in saved]
    logp = _joined(saved, "logprobs")
    scores = Scores(
        reward=torch.tensor([each.reward or 0.0 for each in saved], dtype=torch.float64),
        correct=torch.tensor([each.correct for each in saved], dtype=torch.bool),
        group=torch.tensor(group, dtype=torch.int64),
        length=torch.tensor([each.tokens or 0 for each in saved], dtype=torch.int64),
        valid=torch.tensor([each.reward is not None for each in saved], dtype=torch.bool),
        prompts=len(numbers),
        truncated=torch.tensor([each.truncated for each in saved], dtype=torch.bool),
        logprob=_joined(saved, "trainer_logprobs", instead="logprobs"),
        sampled=logp,
        entropy=_joined(saved, "entropies"),
        parts=_parts(saved),
    )
    old = _joined(saved, "old_logprobs", instead="logprobs")
    return Batch(saved[0].step, saved, scores, logp, old)


def _joined(saved: Sequence[Saved], name: str, instead: str = "") -> Tensor | None:
    """Arrays end to end, [T]; None when a judged response with tokens lacks its own."""
    pieces = []
    for each in saved:
        found = each.arrays[name]
        if found is None and instead:
            found = each.arrays[instead]
        if found is None:
            if each.tokens and each.reward is not None:
                return None
            found = torch.zeros(each.tokens or 0, dtype=torch.float64)
        pieces.append(found)
    return torch.cat(pieces)


def _parts(saved: Sequence[Saved]) -> dict[str, Tensor]:
    """Component rewards, for those every judged response has."""
    rows = [each.raw.get("parts") or {} for each in saved]
    judged = [row for row, each in zip(rows, saved, strict=True) if each.reward is not None]
    names = set.intersection(*(set(row) for row in judged)) if judged else set()
    return {
        name: torch.tensor([float(row.get(name, 0.0)) for row in rows], dtype=torch.float64)
        for name in sorted(names)
    }

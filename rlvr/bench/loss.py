"""`rlvr bench loss`: time, peak memory and errors of the token-level loss, ours and others'."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rlvr.errors import UserError

# not imported from rlvr.bench.contestants: this process needs no torch
ORDER = ("naive", "rlvr", "rlvr two-pass", "trl", "liger", "three products")
NEEDS = {"trl": "trl", "liger": "liger_kernel"}
NOTES = {
    "trl": "the chunked head of its trainer with its tile of 4096 x 32768, made for GPUs",
    "liger": "LigerFusedLinearGRPOLoss, made for GPUs; no entropy bonus, no log-probabilities out",
}
FEWER = (0.5, 0.2)  # shares of tokens with a say that naive and rlvr are also timed with


@dataclass(frozen=True)
class Sizes:
    """Of the problem, and where it is computed."""

    rows: int
    width: int
    vocabulary: int
    device: str
    dtype: str


def sizes(
    rows: int | None, width: int | None, vocabulary: int | None, device: str, dtype: str
) -> Sizes:
    """What is not given suits the device: a small model on a CPU, 1.5 B parameters on a GPU."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no CUDA device")
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"--device is cpu, cuda or auto, not {device}")
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in ("float32", "bfloat16"):
        raise UserError(f"--dtype is auto, float32 or bfloat16, not {dtype}")
    usual = (16384, 1536, 151936) if device.startswith("cuda") else (2048, 512, 32000)
    rows, width, vocabulary = (
        default if given is None else given
        for given, default in zip((rows, width, vocabulary), usual, strict=True)
    )
    if rows < 1 or rows % 64 or width < 1 or vocabulary < 2:
        raise UserError("--rows must be a multiple of 64, --width at least 1, --vocabulary 2")
    return Sizes(rows, width, vocabulary, device, dtype)


def measure(of: Sizes, rounds: int) -> list[dict[str, Any]]:
    """One row a contestant and share of kept tokens; medians over rounds taken in turns.

    A peer that fails is a row with nothing but `failed`.
    """
    entries: list[tuple[str, float]] = [(name, 1.0) for name in ORDER if name not in missing()]
    entries += [(name, keep) for keep in FEWER for name in ("naive", "rlvr")]
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(name, keep, of)) for name, keep in entries]
        errors, failed = [], []
        for entry, worker in zip(list(entries), list(workers), strict=True):
            try:  # processes start together, but warm-ups would slow each other down
                errors.append(worker.turn())
            except UserError as error:
                if worker.name not in NEEDS:
                    raise
                failed.append({"contestant": worker.name, "failed": str(error)})
                entries.remove(entry)
                workers.remove(worker)
        turns = [[worker.turn() for worker in workers] for _ in range(rounds)]
    rows = []
    for at, (name, keep) in enumerate(entries):
        mine = [turn[at] for turn in turns]
        base = entries.index(("naive", keep))
        row: dict[str, Any] = {
            "contestant": name,
            "keep": keep,
            **{
                kind: statistics.median(each[kind] for each in mine)
                for kind in ("seconds", "processor_seconds", "bytes")
            },
            "time_to_naive": _ratio(turns, at, base, "seconds"),
            "processor_time_to_naive": _ratio(turns, at, base, "processor_seconds"),
            **errors[at],
        }
        row["memory_to_naive"] = row["bytes"] / max(
            statistics.median(turn[base]["bytes"] for turn in turns), 1
        )
        if keep == 1.0:
            floor = [turn[entries.index(("three products", 1.0))]["seconds"] for turn in turns]
            row["share_of_floor"] = statistics.median(floor) / row["seconds"]
        rows.append(row)
    return rows + failed


def missing() -> list[str]:
    """Contestants that are not installed."""
    return [name for name, module in NEEDS.items() if importlib.util.find_spec(module) is None]


def _ratio(turns: Sequence[Sequence[dict[str, float]]], at: int, base: int, kind: str) -> float:
    """Median of the ratios within a round: neighbours in time."""
    return statistics.median(turn[at][kind] / turn[base][kind] for turn in turns)


class _Worker:
    """A process that holds one contestant."""

    def __init__(self, name: str, keep: float, of: Sizes) -> None:
        self.name = name
        asked = {**vars(of), "contestant": name, "keep": keep, "errors": keep == 1.0}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlvr.bench.loss_worker", json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MALLOC_TRIM_THRESHOLD_": "0"},
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # its input ends, and with it the process

    def turn(self) -> dict[str, float]:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, float]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise UserError(f"{self.name} ended with exit code {self.process.wait()}, see above")
        said: dict[str, float] = json.loads(line)
        return said


def table(of: Sizes, rows: Sequence[dict[str, Any]], machine: str) -> str:
    """For people."""
    lines = [
        f"loss, forward and backward: {of.rows} tokens, hidden size {of.width}, "
        f"vocabulary {of.vocabulary}, {of.dtype} on {of.device}",
        machine,
        "",
        f"{'':<16}{'keep':>5}{'seconds':>9}{'/naive':>8}{'cpu s':>8}{'/naive':>8}"
        f"{'peak MiB':>10}{'/naive':>8}{'of floor':>9}{'dH error':>10}"
        f"{'dW error':>10}{'logp max':>10}{'logp p99':>10}{'flips':>7}",
    ]
    for row in rows:
        if "failed" in row:
            lines.append(f"{row['contestant']:<16}{row['failed']}")
            continue
        floor = f"{row['share_of_floor']:.0%}" if "share_of_floor" in row else ""
        errors = "".join(
            f"{row[name]:>10.1e}" if name in row else f"{'':>10}"
            for name in ("hidden_error", "weight_error", "logp_error", "logp_error_p99")
        )
        if "clip_flips" in row:
            errors += f"{row['clip_flips']:>7.2%}"
        lines.append(
            f"{row['contestant']:<16}{row['keep']:>5.0%}{row['seconds']:>9.3f}"
            f"{row['time_to_naive']:>8.2f}{row['processor_seconds']:>8.2f}"
            f"{row['processor_time_to_naive']:>8.2f}{row['bytes'] / 2**20:>10.0f}"
            f"{row['memory_to_naive']:>8.3f}{floor:>9}{errors}"
        )
    lines += ["", *(f"{name}: not installed" for name in missing())]
    lines += [f"{name}: {note}" for name, note in NOTES.items() if name not in missing()]
    return "\n".join(line.rstrip() for line in lines)

"""Run directories as the contract describes them, without a run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import zstandard

CONFIG = """steps = {steps}  # flag
seed = 0  # default

[task]
name = "arithmetic"  # recipe
levels = [
    1,
    2,
]  # default

[optimizer]
# lr is not set  # default
note = "a  # flag"  # derived
"""


def step_row(step: int, **more: Any) -> dict[str, Any]:
    """One object of metrics.jsonl."""
    return {
        "step": step,
        "reward_mean": 0.4,
        "correct_rate": 0.4,
        "informative_groups": 0.6,
        "entropy": 0.5,
        "kl": None,
        "clip_fraction": 0.01,
        "grad_norm": 1.0,
        "response_tokens_mean": 30.0,
        "broken_verdicts": 0,
        "tokens_trained": 700,
        "tokens_sampled": 1000,
        "seconds": 2.0,
        "seconds_sample": 0.5,
        "seconds_verify": 0.25,
        "seconds_learn": 1.0,
        "seconds_sync": 0.0,
        "policy_version": step,
        "learning_rate": 1e-3,
        **more,
    }


def eval_row(step: int, accuracy: float, **more: Any) -> dict[str, Any]:
    return {
        "kind": "eval",
        "step": step,
        "task": "arithmetic",
        "split": "test",
        "accuracy": accuracy,
        "accuracy_greedy": accuracy,
        "samples": 400,
        "stderr": 0.02,
        "pass@1": accuracy,
        "pass@4": min(accuracy + 0.2, 1.0),
        **more,
    }


def response(step: int, group: int = 0, **more: Any) -> dict[str, Any]:
    """One object of rollouts.jsonl."""
    return {
        "step": step,
        "problem": f"p{group}",
        "prompt": "1+1=",
        "text": "it is #### 2",
        "status": "correct",
        "detail": "",
        "reward": 1.0,
        "advantage": 0.5,
        "kept": True,
        "policy_version": step - 1,
        "tokens": 3,
        "finish": "stop",
        "extracted": "2",
        "group": group,
        "token_ids": [5, 6, 7],
        "logprobs": [-0.1, -0.2, -0.3],
        **more,
    }


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_frames(path: Path, steps: Iterable[Iterable[Mapping[str, Any]]]) -> None:
    """rollouts.jsonl.zst, one zstandard frame a step."""
    packer = zstandard.ZstdCompressor()
    path.write_bytes(b"".join(packer.compress(lines(rows).encode()) for rows in steps))


def problem_rows(rates: Iterable[float], samples: int = 4, seed: int = 0) -> list[dict[str, Any]]:
    """evals/step-N.jsonl for problems that are solved with these chances."""
    rng = random.Random(seed)
    return [
        {
            "task": "arithmetic",
            "split": "test",
            "problem": f"p{index}",
            "correct": sum(rng.random() < rate for _ in range(samples)),
            "samples": samples,
            "greedy": rate > 0.5,
        }
        for index, rate in enumerate(rates)
    ]

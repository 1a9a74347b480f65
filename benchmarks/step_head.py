"""A whole training step (sample, judge, weigh, update) with our loss and with a naive one that holds every logit,
in one run on the same responses.

    python benchmarks/step_head.py                                     # the demo
    python scripts/make_gsm8k_model.py --data DIR --out models/gsm8k-32k --vocabulary 32000 --steps 1
    python benchmarks/step_head.py --model models/gsm8k-32k --task gsm8k --data DIR --problems 4 --tokens 128 --every

The learning rate is 0, so that both losses meet the same policy; which goes first alternates. With --every each
response gets a weight (its sign alternates); otherwise groups without spread in their rewards never reach the model,
as in a run. The figure to quote is the median of the step-by-step ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rlvr import assemble, learn
from rlvr.bench.machine import machine
from rlvr.bench.memory import peak
from rlvr.clock import Clock
from rlvr.loss import reference

LOSSES = {"rlvr": learn.policy_loss, "naive": reference.policy_loss}


@contextlib.contextmanager
def using(loss: Any) -> Iterator[None]:
    """The update's loss is the only thing that changes."""
    ours, learn.policy_loss = learn.policy_loss, loss
    try:
        yield
    finally:
        learn.policy_loss = ours


def every(weights: Any, lengths: list[int]) -> Any:
    """Weights with an advantage of +-1 for each response."""
    advantage = torch.ones(len(lengths), dtype=torch.float64)
    advantage[1::2] = -1
    scale = torch.full_like(weights.scale, 1 / sum(lengths))
    weight = advantage.repeat_interleave(torch.tensor(lengths)) * scale
    return replace(weights, advantage=advantage, scale=scale, weight=weight.float())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo")
    parser.add_argument("--task", default="arithmetic")
    parser.add_argument("--data", type=Path, help="the task's folder, where it needs one")
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--responses", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=60, help="of a response, at most")
    parser.add_argument("--every", action="store_true", help="give each response a weight")
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    task = {"name": options.task} | ({"path": options.data} if options.data else {})
    flags = {
        "task": task,
        "model": {"name": options.model},
        "steps": {"name": options.steps + 1},
        "problems": {"name": options.problems},
        "responses": {"name": options.responses},
        "sampler": {"max_tokens": options.tokens},
        "optimizer": {"lr": 0.0},
        "eval": {"problems": 0},
    }
    conditions = machine()
    rows: list[dict[str, dict[str, float]]] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        assemble.job(
            assemble.resolve({}, flags).resolved, Path(scratch) / "run", resume=False
        ) as job,
    ):
        tokens = 0
        for step in range(1, options.steps + 2):
            started = time.perf_counter()
            gathered = job.gather(step, Clock())
            weighed = job.weigh(gathered, step)
            before = time.perf_counter() - started
            if options.every:
                lengths = [each.length for each in gathered.rollouts]
                weighed = replace(weighed, weights=every(weighed.weights, lengths))
            row = {}
            for name in sorted(LOSSES, reverse=step % 2 == 0):
                with using(LOSSES[name]), peak(job.policy.device) as memory:
                    started = time.perf_counter()
                    learned = job.learn(gathered, weighed, step)
                    seconds = time.perf_counter() - started
                row[name] = {"update": seconds, "step": before + seconds, "bytes": memory.extra}
            rows.append(row)
            tokens += learned.tokens
        vocabulary, width = job.policy.head.weight.shape
    print(conditions)
    print(
        f"{options.task}; model {Path(options.model).name}, {job.policy.parameters / 1e6:.1f} M "
        f"parameters, vocabulary {vocabulary}, hidden size {width}"
    )
    print(
        f"{options.problems} problems x {options.responses} responses of at most {options.tokens} "
        f"tokens, {tokens / len(rows):.0f} tokens with a weight a step; {len(rows) - 1} steps\n"
    )
    print(f"{'':8}{'update s':>10}{'step s':>10}{'peak MiB of the update':>24}")
    for name in LOSSES:
        update, step, size = (_median(rows, name, each) for each in ("update", "step", "bytes"))
        print(f"{name:8}{update:10.2f}{step:10.2f}{size / 2**20:24.0f}")
    ratios = [
        {each: row["rlvr"][each] / max(row["naive"][each], 1e-9) for each in row["rlvr"]}
        for row in rows
    ]
    update, step, size = (
        statistics.median(each[kind] for each in ratios[1:]) for kind in ("update", "step", "bytes")
    )
    print(f"{'ratio':8}{update:10.2f}{step:10.2f}{size:24.2f}")


def _median(rows: list[dict[str, dict[str, float]]], name: str, kind: str) -> float:
    """Of all steps but the first, which warms up."""
    return statistics.median(row[name][kind] for row in rows[1:])


if __name__ == "__main__":
    main()

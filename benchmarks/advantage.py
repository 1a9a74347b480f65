"""How long the advantage module takes on large steps, CPU only.

    python benchmarks/advantage.py [--json]

Each line: what, how much of it, the best of five runs by the clock and by the processor (which other
programs do not disturb), and the time it is meant to stay under. Not covered: the loss itself,
reading and writing.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

import torch

from rlvr.advantage.aggregate.token import TokenMean
from rlvr.advantage.bnpo import BNPO
from rlvr.advantage.budget.knapsack import Knapsack
from rlvr.advantage.grpo import GRPO
from rlvr.advantage.riskpo import RiskPO
from rlvr.advantage.scores import Scores
from rlvr.advantage.select.all import All
from rlvr.advantage.select.d3s import D3S
from rlvr.advantage.weigh import weigh
from rlvr.loss.clip.bapo import BAPO
from rlvr.loss.clip.inputs import TokenInputs


def best(work: Callable[[], object], runs: int = 5) -> tuple[float, float]:
    """Seconds by the clock, and of the processor over all threads."""
    clock, processor = [], []
    for _ in range(runs):
        start = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return min(clock), min(processor)


def scores(prompts: int, size: int, length: int) -> Scores:
    generator = torch.Generator().manual_seed(0)
    n = prompts * size
    rate = torch.rand(prompts, generator=generator).repeat_interleave(size)
    right = torch.rand(n, generator=generator) < rate
    return Scores(
        reward=right.double(),
        correct=right,
        group=torch.arange(prompts).repeat_interleave(size),
        length=torch.full((n,), length),
        valid=torch.ones(n, dtype=torch.bool),
        prompts=prompts,
        truncated=torch.zeros(n, dtype=torch.bool),
        entropy=torch.rand(n * length, generator=generator),
    )


def knapsack() -> tuple[float, float]:
    draw = random.Random(0)
    budget, ids = Knapsack(total=65_536), [str(i) for i in range(4096)]
    for problem in ids:
        rate = draw.random()
        budget.observe([problem], [[draw.random() < rate for _ in range(16)]])
    return best(lambda: budget.allocate(ids, 0))


def bapo() -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(4_000_000, generator=generator)
    moved = old + 0.3 * torch.randn(len(old), generator=generator)
    tokens = TokenInputs(
        logp=moved,
        old_logp=old,
        weight=torch.randn(len(old), generator=generator) - 0.5,
        scale=torch.ones_like(old),
        segment=torch.zeros(len(old), dtype=torch.int64),
    )
    return best(lambda: BAPO(target=0.9).fit(tokens))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    many, deep = scores(4096, 16, 1), scores(512, 16, 512)
    advantage = GRPO()(many)
    cases = [
        ("knapsack", "4,096 problems, 65,536 responses", knapsack, 1.0),
        ("d3s responses", "65,536 responses", lambda: best(
            lambda: D3S(tokens=1)(many, advantage, 1.0)), 0.2),
        ("d3s in each prompt", "4,096 prompts x 16", lambda: best(
            lambda: D3S(tokens=1, mode="intra")(many, advantage, 1.0)), 0.2),
        ("d3s tokens", "8,192 responses x 512 tokens", lambda: best(
            lambda: D3S()(deep, GRPO()(deep), 1.0)), None),
        ("bapo bounds", "4,000,000 tokens", bapo, 0.5),
        ("grpo, whole step", "8,192 responses x 512 tokens", lambda: best(
            lambda: weigh(deep, GRPO(), All(), TokenMean())), None),
        ("bnpo", "65,536 responses", lambda: best(lambda: BNPO()(many)), None),
        ("riskpo", "65,536 responses", lambda: best(lambda: RiskPO()(many)), None),
    ]  # fmt: skip
    rows = [(name, size, *measure(), limit) for name, size, measure, limit in cases]
    if as_json:
        keys = ("name", "size", "seconds", "cpu_seconds", "limit")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
        return
    print(f"torch {torch.__version__}, threads: {torch.get_num_threads()}")
    print(f"{'what':<20}{'how much':<36}{'seconds':>9}{'cpu':>9}{'limit':>8}")
    for name, size, seconds, cpu, limit in rows:
        print(f"{name:<20}{size:<36}{seconds:>9.3f}{cpu:>9.3f}{limit or '':>8}".rstrip())


if __name__ == "__main__":
    main()

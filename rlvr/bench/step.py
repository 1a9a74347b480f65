"""`rlvr bench step`: where the time of one update goes, with our loss and with every logit in memory.

Not measured: sampling and judging, which a run's metrics.jsonl has (seconds_sample, seconds_verify).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rlvr.batch import Part, Row
from rlvr.bench.memory import peak
from rlvr.loss import reference
from rlvr.loss.clip.dapo import DAPO
from rlvr.loss.policy_loss import LossResult, policy_loss
from rlvr.policy import Optimizer, Policy
from rlvr.pretrained import Model

PROMPT, RESPONSE, RESPONSES = 32, 96, 32  # tokens, tokens, rows
RULE = DAPO()
Loss = Callable[[Tensor, Any, Part], LossResult]


def _ours(hidden: Tensor, head: Any, part: Part) -> LossResult:
    return policy_loss(hidden, head, part, RULE)


def _naive(hidden: Tensor, head: Any, part: Part) -> LossResult:
    return reference.policy_loss(hidden.to(head.weight.dtype), head, part, RULE)


LOSSES: dict[str, Loss] = {"rlvr": _ours, "naive": _naive}


def measure(model: str, rounds: int) -> list[dict[str, Any]]:
    """One row a loss; medians over rounds taken in turns, after one that is not counted."""
    policy = Policy(Model(name=model), Optimizer(lr=0.0), steps=1)
    part = _part(policy)
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in LOSSES}
    for _ in range(rounds + 1):
        for name, loss in LOSSES.items():
            turns[name].append(_turn(policy, part, loss))
    rows = []
    for name in LOSSES:
        counted = turns[name][1:]
        row: dict[str, Any] = {"loss": name, "tokens": part.input_ids.numel()}
        row |= {each: statistics.median(turn[each] for turn in counted) for each in counted[0]}
        row["tokens_per_second"] = row["tokens"] / row["seconds"]
        rows.append(row)
    return rows


def _part(policy: Policy) -> Part:
    """Random responses of half to full length; the advantage of each is its sign."""
    made = torch.Generator().manual_seed(0)
    size = policy.head.weight.shape[0]
    rows = []
    for number in range(RESPONSES):
        length = int(torch.randint(RESPONSE // 2, RESPONSE + 1, (1,), generator=made))
        scale = torch.full((length,), 1 / (RESPONSES * RESPONSE))
        rows.append(
            Row(
                prompt=torch.randint(size, (PROMPT,), generator=made),
                tokens=torch.randint(size, (length,), generator=made),
                weight=scale * (-1) ** number,
                scale=scale,
                old_logp=torch.zeros(length),
            )
        )
    part = Part.pack(rows).to(policy.device)
    part.old_logp.copy_(policy.score(part, 1.0)[0])
    return part


def _turn(policy: Policy, part: Part, loss: Loss) -> dict[str, float]:
    clock = _Clock(policy.device)
    with peak(policy.device) as memory:
        hidden = policy.hidden(part)
        clock.mark("seconds_trunk_forward")
        states = hidden.detach().requires_grad_()
        result = loss(states, policy.head, part)
        result.loss.backward()
        clock.mark("seconds_head_and_loss")
        hidden.backward(states.grad)
        clock.mark("seconds_trunk_backward")
    policy.step(1)
    clock.mark("seconds_optimizer")
    return {**clock.spans, "seconds": sum(clock.spans.values()), "bytes": memory.extra}


class _Clock:
    """Seconds between marks; waits for the GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spans: dict[str, float] = {}
        self.last = self._now()

    def mark(self, name: str) -> None:
        now = self._now()
        self.spans[name] = now - self.last
        self.last = now

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def table(rows: Sequence[dict[str, Any]], machine: str) -> str:
    """For people."""
    spans = [name for name in rows[0] if name.startswith("seconds_")]
    heads = [name.removeprefix("seconds_").replace("_", " ") for name in spans]
    lines = [
        machine,
        "",
        f"{'':<8}{'seconds':>9}" + "".join(f"{head:>16}" for head in heads) + f"{'tokens/s':>10}"
        f"{'peak MiB':>10}",
    ]
    lines += [
        f"{row['loss']:<8}{row['seconds']:>9.3f}"
        + "".join(f"{row[name]:>16.3f}" for name in spans)
        + f"{row['tokens_per_second']:>10.0f}{row['bytes'] / 2**20:>10.0f}"
        for row in rows
    ]
    return "\n".join(lines)

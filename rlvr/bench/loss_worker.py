"""One contestant in a process of its own: a line in, one forward and backward pass, a line out.

Processes take turns, so that a machine whose speed drifts is as kind to each.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from torch import Tensor

from rlvr.bench.contestants import (
    BETA,
    BONUS,
    CONTESTANTS,
    NO_BONUS,
    NO_LOSS,
    RULE,
    Work,
    work,
)
from rlvr.bench.memory import peak
from rlvr.loss import reference
from rlvr.loss.head import Head
from rlvr.loss.kl import K3
from rlvr.loss.policy_loss import Objective

CHECKED = 256  # rows whose errors against float64 are measured


def main() -> None:
    asked: dict[str, Any] = json.loads(sys.argv[1])
    device, dtype = torch.device(asked["device"]), getattr(torch, asked["dtype"])
    run = CONTESTANTS[asked["contestant"]]
    sizes = asked["rows"], asked["width"], asked["vocabulary"], device, dtype
    sys.stdin.readline()  # the first line: warm up and measure errors
    given = work(*sizes, keep=asked["keep"])
    _once(run, given)
    name = asked["contestant"]
    checked = asked["errors"] and name not in NO_LOSS
    bonus = 0.0 if name in NO_BONUS else BONUS
    answer = _errors(run, work(CHECKED, *sizes[1:]), bonus) if checked else {}
    _give_back(device)
    _say(answer)
    for _ in sys.stdin:
        given.hidden.grad = given.weight_matrix.grad = None
        with peak(device) as memory:
            clock, processor = time.perf_counter(), time.process_time()
            _once(run, given)
            seconds = time.perf_counter() - clock
        processor = time.process_time() - processor
        _give_back(device)
        _say({"seconds": seconds, "processor_seconds": processor, "bytes": memory.extra})


def _give_back(device: torch.device) -> None:
    """The other contestants are on the same GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _say(answer: dict[str, float]) -> None:
    print(json.dumps(answer), flush=True)


def _once(run: Any, given: Work) -> None:
    if given.hidden.is_cuda:
        torch.cuda.synchronize()
    run(given)[0].backward()
    if given.hidden.is_cuda:
        torch.cuda.synchronize()


def _errors(run: Any, given: Work, bonus: float) -> dict[str, float]:
    """Against float64 autograd: the loss; the worst and the 99th percentile of log-probabilities;
    the share of tokens that are clipped on one side only; both gradients, relative by norm."""
    given.hidden.grad = given.weight_matrix.grad = None
    loss, found = run(given)
    loss.backward()
    hidden, matrix = (
        each.detach().double().requires_grad_() for each in (given.hidden, given.weight_matrix)
    )
    logp, entropy = reference.token_logprobs(hidden, Head(matrix), given.tokens)
    wanted = Objective(RULE, K3(BETA), bonus)(given.inputs(logp), entropy).sum()
    wanted.backward()
    errors = {
        "loss_error": abs(float(loss.detach()) - float(wanted.detach())),
        "hidden_error": _relative(given.hidden.grad, hidden.grad),
        "weight_error": _relative(given.weight_matrix.grad, matrix.grad),
    }
    if found is not None:
        off = (found.detach().double() - logp.detach()).abs()
        clipped = [RULE.clipped(given.inputs(each.detach())) for each in (found, logp)]
        errors["logp_error"] = float(off.max())
        errors["logp_error_p99"] = float(off.quantile(0.99))
        errors["clip_flips"] = float((clipped[0] != clipped[1]).double().mean())
    return errors


def _relative(found: Tensor | None, wanted: Tensor | None) -> float:
    assert found is not None
    assert wanted is not None
    return float((found.double() - wanted).norm() / wanted.norm())


if __name__ == "__main__":
    main()

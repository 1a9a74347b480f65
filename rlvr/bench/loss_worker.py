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

from rlvr.bench.contestants import CONTESTANTS, EXACT, Work, work
from rlvr.bench.memory import peak
from rlvr.loss import reference
from rlvr.loss.clip.inputs import TokenInputs
from rlvr.loss.head import Head

CHECKED = 256  # rows whose errors against float64 are measured


def main() -> None:
    asked: dict[str, Any] = json.loads(sys.argv[1])
    device, dtype = torch.device(asked["device"]), getattr(torch, asked["dtype"])
    run = CONTESTANTS[asked["contestant"]]
    sizes = asked["rows"], asked["width"], asked["vocabulary"], device, dtype
    given = work(*sizes, keep=asked["keep"])
    _once(run, given)
    if asked["errors"] and asked["contestant"] in EXACT:
        _say(_errors(run, work(CHECKED, *sizes[1:])))
    else:
        _say({})
    for _ in sys.stdin:
        given.hidden.grad = given.weight_matrix.grad = None
        with peak(device) as memory:
            clock, processor = time.perf_counter(), time.process_time()
            _once(run, given)
            seconds = time.perf_counter() - clock
        processor = time.process_time() - processor
        _say({"seconds": seconds, "processor_seconds": processor, "bytes": memory.extra})


def _say(answer: dict[str, float]) -> None:
    print(json.dumps(answer), flush=True)


def _once(run: Any, given: Work) -> None:
    if given.hidden.is_cuda:
        torch.cuda.synchronize()
    run(given).backward()
    if given.hidden.is_cuda:
        torch.cuda.synchronize()


def _errors(run: Any, given: Work) -> dict[str, float]:
    """Relative errors of the loss and of both gradients, by norm, against float64 autograd."""
    given.hidden.grad = given.weight_matrix.grad = None
    loss = run(given)
    loss.backward()
    hidden, matrix = (
        each.detach().double().requires_grad_() for each in (given.hidden, given.weight_matrix)
    )
    logp, entropy = reference.token_logprobs(hidden, Head(matrix), given.tokens)
    wanted = _objective(given.inputs(logp), entropy)
    wanted.backward()
    return {
        "loss_error": abs(float(loss.detach()) - float(wanted.detach())),
        "hidden_error": _relative(given.hidden.grad, hidden.grad),
        "weight_error": _relative(given.weight_matrix.grad, matrix.grad),
    }


def _objective(tokens: TokenInputs, entropy: Tensor) -> Tensor:
    from rlvr.bench.contestants import BETA, BONUS, RULE
    from rlvr.loss.kl import K3
    from rlvr.loss.policy_loss import Objective

    return Objective(RULE, K3(BETA), BONUS)(tokens, entropy).sum()


def _relative(found: Tensor | None, wanted: Tensor | None) -> float:
    assert found is not None
    assert wanted is not None
    return float((found.double() - wanted).norm() / wanted.norm())


if __name__ == "__main__":
    main()

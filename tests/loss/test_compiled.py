"""In a compiled graph the loss is one node: no break, the numbers and gradients of eager mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlvr.loss.clip.gspo import GSPO
from rlvr.loss.clip.inputs import Rule
from rlvr.loss.clip.ppo import PPO
from rlvr.loss.head import statistics, token_logprobs
from rlvr.loss.kl import K3
from rlvr.loss.policy_loss import policy_loss
from tests.loss.cases import Case, case, worst

OPTIONS: Any = {"entropy_bonus": 0.01, "kl": K3(0.1), "temperature": 0.9, "chunk": 5}


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


def loss(part: Case, rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    """With a trunk before and something behind, so that gradients pass through."""
    found = policy_loss(part.hidden.sin(), part.head, part, rule, **OPTIONS)
    return found.loss * 3, found.logp, found.entropy


def both(compiled: Any, part: Case, rule: Rule) -> tuple[list[Tensor], list[Tensor]]:
    sides = []
    for run in (compiled, loss):
        outputs = run(part, rule)
        slopes = torch.autograd.grad(outputs[0], part.leaves)
        sides.append([*(each.detach() for each in outputs), *slopes])
    return sides[0], sides[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("rule", [PPO(), GSPO(0.1, 0.1)], ids=["one pass", "two passes"])
def test_whole_graph(rule: Rule, backend: str) -> None:
    part = case(bias=True, rank=3, softcap=9.0, dtype=torch.float32)
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    found, wanted = both(compiled, part, rule)
    assert worst(found, wanted) < 1e-6


def test_another_rule_makes_another_graph() -> None:
    """The operator knows its rule by a number: it must not keep the first one's."""
    part = case(dtype=torch.float32)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    losses = []
    for rule in (PPO(0.2), PPO(0.01), PPO(0.2), GSPO(0.1, 0.1)):
        found, wanted = both(compiled, part, rule)
        assert worst(found, wanted) < 1e-6
        losses.append(float(found[0]))
    assert losses[0] == losses[2] != losses[1]


def test_a_rule_made_inside_the_graph_is_refused() -> None:
    """Its fields do not exist yet while the graph is made; defaults would take their place."""
    part = case(dtype=torch.float32)

    def inside(hidden: Tensor) -> Tensor:
        return policy_loss(hidden, part.head, part, PPO(0.01)).loss

    with pytest.raises(Exception, match="make PPO outside"):
        torch.compile(inside, fullgraph=True, backend="aot_eager")(part.hidden)


def test_other_lengths_use_the_same_graph_code() -> None:
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows in (37, 20, 61):
        part = case(rows, dtype=torch.float32)
        found, wanted = both(compiled, part, PPO())
        assert worst(found, wanted) < 1e-6


def test_the_operator_keeps_its_promises() -> None:
    """PyTorch's own checks: schema, gradient registration, shapes without data, tracing."""
    part = case(bias=True)
    given = (part.tokens, part.scale != 0, part.head.bias, [part.hidden, part.head.weight])
    torch.library.opcheck(statistics, (*given, 0.9, 5.0, None, 4))


def test_the_frozen_head_of_a_compiled_graph_gets_no_gradient() -> None:
    part = case(dtype=torch.float32)
    part = replace(part, head=replace(part.head, weight=part.head.weight.detach()))
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found, wanted = both(compiled, part, PPO())
    assert len(found) == 4
    assert worst(found, wanted) < 1e-6


def test_autocast_leaves_the_loss_alone() -> None:
    part = case(dtype=torch.float32)
    plain = policy_loss(part.hidden, part.head, part, PPO(), chunk=5)
    two = token_logprobs(part.hidden, part.head, part.tokens)[0]
    with torch.autocast("cpu", torch.bfloat16):
        inside = policy_loss(part.hidden, part.head, part, PPO(), chunk=5)
        again = token_logprobs(part.hidden, part.head, part.tokens)[0]
        slopes = torch.autograd.grad(inside.loss + again.sum(), part.leaves)
    wanted = torch.autograd.grad(plain.loss + two.sum(), part.leaves)
    assert torch.equal(inside.logp, plain.logp)
    assert torch.equal(again, two)
    assert worst(list(slopes), list(wanted)) < 1e-6

"""Loss and gradients against the specification in float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from rlvr import registry
from rlvr.loss import reference
from rlvr.loss.clip.inputs import Rule, TokenInputs
from rlvr.loss.clip.ppo import PPO
from rlvr.loss.kl import K3
from rlvr.loss.policy_loss import policy_loss
from tests.loss.cases import Case, case, worst

RULES = registry.builtin("clip")
PENALTIES = registry.builtin("kl")


def made(stage: str, name: str) -> Any:
    return registry.load(stage, name).target()


def fitted(rule: Any, part: Case, temperature: float) -> Rule:
    """The rule with what it finds on this minibatch."""
    if not rule.needs_fit:
        return rule
    logp = reference.token_logprobs(part.hidden, part.head, part.tokens, temperature=temperature)[0]
    known = (part.old_logp, part.weight, part.scale, part.segment)
    return rule.fit(TokenInputs(logp.detach(), *known)).rule


def both(part: Case, rule: Rule, chunk: int = 5, **options: Any) -> tuple[Any, Any, float]:
    """Found and wanted results, and the worst relative error of a gradient."""
    exact = part.to(torch.float64)
    wanted = reference.policy_loss(exact.hidden, exact.head, exact, rule, **options)
    found = policy_loss(part.hidden, part.head, part, rule, chunk=chunk, **options)
    slopes = torch.autograd.grad(found.loss, part.leaves)
    error = worst(list(slopes), list(torch.autograd.grad(wanted.loss, exact.leaves)))
    return found, wanted, error


# bfloat16 rounds a gradient by up to 2^-9 of it; that of hidden states is rounded once more where
# it is added to LoRA's
ALLOWED = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2**-8}


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize(
    ("clip", "kl", "bonus", "softcap", "temperature"),
    list(product(RULES, PENALTIES, (0.0, 0.01), (None, 5.0), (1.0, 0.6))),
)
@pytest.mark.parametrize(("bias", "rank"), [(False, 0), (True, 3)])
def test_every_combination_is_autograds(
    clip: str,
    kl: str,
    bonus: float,
    softcap: float | None,
    temperature: float,
    bias: bool,
    rank: int,
    dtype: torch.dtype,
) -> None:
    """The specification gets the same rounded inputs, so only our own rounding is seen."""
    part = case(
        vocabulary=131, bias=bias, rank=rank, softcap=softcap, temperature=temperature, dtype=dtype
    )
    if dtype == torch.bfloat16:
        part = replace(part, **{name: getattr(part, name).float() for name in PLAIN})
    rule = fitted(made("clip", clip), part, temperature)
    options = {"temperature": temperature, "entropy_bonus": bonus, "kl": made("kl", kl)}
    found, wanted, error = both(part, rule, **options)
    assert error < ALLOWED[dtype]
    exact = 1e-12 if dtype == torch.float64 else 2e-5
    said = part.scale != 0
    size = float(wanted.per_token.abs().sum())
    assert abs(found.loss.item() - wanted.loss.item()) < exact * size
    for name in ("logp", "entropy"):
        a, b = getattr(found, name)[said], getattr(wanted, name)[said]
        assert torch.allclose(a.double(), b, rtol=exact, atol=exact)
        assert a.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose(found.per_token[said].double(), wanted.per_token[said], atol=exact)


PLAIN = ("old_logp", "weight", "scale", "ref_logp")


@pytest.mark.parametrize("vocabulary", [2, 127, 128, 129, 4099])
@pytest.mark.parametrize("chunk", [1, 3, 24, 25, 26, 1000])
@pytest.mark.parametrize("clip", ["dapo", "gspo"])
def test_ragged_chunks_and_vocabularies(vocabulary: int, chunk: int, clip: str) -> None:
    part = case(37, 8, vocabulary, bias=True, rank=2)
    _, _, error = both(part, made("clip", clip), chunk, entropy_bonus=0.02, kl=K3(0.1))
    assert error < 1e-12


def test_parts_add_up_to_the_whole() -> None:
    part = case()
    whole = policy_loss(part.hidden, part.head, part, PPO(), entropy_bonus=0.1, kl=K3(0.1))
    slopes = torch.autograd.grad(whole.loss, part.head.weight)[0]
    total, summed = 0.0, torch.zeros_like(slopes)
    for index in torch.arange(37).split(11):
        names = ("tokens", "old_logp", "weight", "scale", "segment", "ref_logp")
        cut = replace(part, **{name: getattr(part, name)[index] for name in names})
        found = policy_loss(
            part.hidden[index], part.head, cut, PPO(), entropy_bonus=0.1, kl=K3(0.1)
        )
        total += found.loss.item()
        summed += torch.autograd.grad(found.loss, part.head.weight)[0]
    assert total == pytest.approx(whole.loss.item(), abs=1e-14)
    assert worst([summed], [slopes]) < 1e-13


@pytest.mark.parametrize("clip", ["ppo", "gspo"])
def test_tokens_without_a_say_are_not_computed_unless_asked_for(clip: str) -> None:
    part = case()
    quiet = (part.weight == 0) & (part.scale == 0)
    assert quiet.any()
    left = policy_loss(part.hidden, part.head, part, made("clip", clip))
    asked = policy_loss(part.hidden, part.head, part, made("clip", clip), every=True)
    logp, entropy = reference.token_logprobs(part.hidden, part.head, part.tokens)
    assert torch.equal(left.logp[quiet], part.old_logp[quiet])
    assert (left.entropy[quiet] == 0).all()
    assert torch.allclose(asked.logp, logp)
    assert torch.allclose(asked.entropy, entropy)
    slopes = [torch.autograd.grad(each.loss, part.leaves) for each in (left, asked)]
    assert worst(list(slopes[0]), list(slopes[1])) < 1e-13
    assert (slopes[0][0][quiet] == 0).all()


@pytest.mark.parametrize("clip", ["ppo", "gspo"])
def test_no_token_has_a_say(clip: str) -> None:
    part = case()
    mute = replace(part, weight=torch.zeros(37).double(), scale=torch.zeros(37).double())
    found = policy_loss(part.hidden, part.head, mute, made("clip", clip))
    found.loss.backward()
    assert found.loss.item() == 0
    assert all((each.grad == 0).all() for each in part.leaves)


def test_no_token_at_all() -> None:
    part = case(0)
    found = policy_loss(part.hidden, part.head, part, PPO())
    found.loss.backward()
    assert found.loss.item() == 0
    assert part.hidden.grad is not None
    assert part.hidden.grad.shape == (0, 16)


@pytest.mark.parametrize("clip", ["ppo", "gspo"])
def test_the_same_bits_every_time(clip: str) -> None:
    def once() -> list[Tensor]:
        part = case(200, 64, 4099, dtype=torch.float32)
        found = policy_loss(
            part.hidden, part.head, part, made("clip", clip), entropy_bonus=0.01, chunk=64
        )
        found.loss.backward()
        grads = [each.grad for each in part.leaves if each.grad is not None]
        return [found.loss.detach(), found.logp, found.entropy, *grads]

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))


def test_a_frozen_head_gets_no_gradient_and_a_scaled_loss_a_scaled_one() -> None:
    part = case()
    frozen = replace(part.head, weight=part.head.weight.detach())
    slope = torch.autograd.grad(
        policy_loss(part.hidden, frozen, part, PPO()).loss * 3, part.hidden
    )[0]
    single = torch.autograd.grad(policy_loss(part.hidden, part.head, part, PPO()).loss, part.hidden)
    assert worst([slope], [3 * single[0]]) < 1e-13


def test_tied_embeddings_collect_both_gradients() -> None:
    ids = torch.arange(37) % 11
    part = case(vocabulary=101)
    table = part.head.weight
    wanted = reference.policy_loss(table[ids].tanh(), part.head, part, PPO()).loss
    found = policy_loss(table[ids].tanh(), part.head, part, PPO()).loss
    slopes = [torch.autograd.grad(each, table)[0] for each in (found, wanted)]
    assert worst(slopes[:1], slopes[1:]) < 1e-12


def test_a_gradient_is_handed_over_once() -> None:
    part = case()
    loss = policy_loss(part.hidden, part.head, part, PPO()).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="handed over"):
        loss.backward()


def test_no_gradient_is_computed_under_no_grad() -> None:
    part = case()
    with torch.no_grad():
        found = policy_loss(part.hidden, part.head, part, PPO())
    assert not found.loss.requires_grad
    assert found.loss.item() == pytest.approx(
        reference.policy_loss(part.hidden, part.head, part, PPO()).loss.item(), abs=1e-14
    )


def products(part: Case, clip: str, **options: Any) -> int:
    """Multiplications in all matrix products of loss and gradient, as PyTorch's profiler saw them."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        policy_loss(
            part.hidden, part.head, part, made("clip", clip), chunk=7, **options
        ).loss.backward()
    shapes = [
        each.input_shapes[:2] if each.name == "aten::mm" else each.input_shapes[1:3]
        for each in seen.events()
        if each.name in ("aten::mm", "aten::addmm_")
    ]
    return sum(left[0] * left[1] * right[1] for left, right in shapes)


@pytest.mark.parametrize(
    ("clip", "once", "gradient"), [("ppo", 1, 2), ("gspo", 1, 3)], ids=["one pass", "two passes"]
)
def test_rows_without_a_say_cost_no_product(clip: str, once: int, gradient: int) -> None:
    """N rows with a say, n of them with a gradient: N products of H V, and 2 n more (3 n where
    logits are computed again)."""
    part = case(60, 16, 101, dropped=0.5, dtype=torch.float32)
    known = reference.token_logprobs(part.hidden, part.head, part.tokens)[0].detach()
    # half of the tokens far beyond the bounds, on the side where the rule cuts the gradient off
    far = torch.arange(60) % 2 == 0
    part = replace(
        part,
        old_logp=known - 2.0 * far,
        weight=part.weight.abs(),
        segment=torch.arange(60),
    )
    said = (part.weight != 0) | (part.scale != 0)
    moving = (part.weight != 0) & ~far
    size = 16 * 101
    assert 0 < int(moving.sum()) < int(said.sum()) < 60
    assert products(part, clip) == size * int(once * said.sum() + gradient * moving.sum())
    asked = products(part, clip, every=True)
    assert asked == size * int(once * 60 + gradient * moving.sum())
    bonus = products(part, clip, entropy_bonus=0.1)  # gives every said token a gradient
    assert bonus == size * int(once * said.sum() + gradient * (part.scale != 0).sum())


def test_a_frozen_head_costs_two_products() -> None:
    part = case(60, 16, 101, dropped=0.0, dtype=torch.float32)
    part = replace(part, weight=part.scale, old_logp=part.old_logp * 0)
    frozen = replace(part, head=replace(part.head, weight=part.head.weight.detach()))
    moving = int((part.weight != 0).sum())
    assert products(frozen, "loglik") == 2 * moving * 16 * 101
    assert products(part, "loglik") == 3 * moving * 16 * 101

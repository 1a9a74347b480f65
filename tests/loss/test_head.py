"""Log-probabilities and entropies, and both of their gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlvr.loss import reference
from rlvr.loss.head import Head, token_logprobs
from tests.loss.cases import case, worst


@pytest.mark.parametrize("chunk", [1, 4, 37, None])
@pytest.mark.parametrize("softcap", [None, 4.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rank", [0, 3])
def test_both_outputs_and_both_gradients(
    chunk: int | None, softcap: float | None, bias: bool, rank: int
) -> None:
    part = case(softcap=softcap, bias=bias, rank=rank)
    weights = torch.randn(2, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights[:, 5:9] = 0
    found = token_logprobs(part.hidden, part.head, part.tokens, temperature=0.8, chunk=chunk)
    wanted = reference.token_logprobs(part.hidden, part.head, part.tokens, temperature=0.8)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)
    slopes = [
        torch.autograd.grad((weights * torch.stack(each)).sum(), part.leaves)
        for each in (found, wanted)
    ]
    assert worst(list(slopes[0]), list(slopes[1])) < 1e-12


def test_one_output_alone_has_a_gradient() -> None:
    part = case()
    for which in range(2):
        found = token_logprobs(part.hidden, part.head, part.tokens)[which].sum()
        wanted = reference.token_logprobs(part.hidden, part.head, part.tokens)[which].sum()
        slopes = [list(torch.autograd.grad(each, part.leaves)) for each in (found, wanted)]
        assert worst(*slopes) < 1e-12


def test_nothing_is_kept_without_gradient() -> None:
    part = case(dtype=torch.float32)
    with torch.no_grad():
        logp, entropy = token_logprobs(part.hidden, part.head, part.tokens)
    assert logp.grad_fn is None
    assert entropy.grad_fn is None
    assert logp.dtype == entropy.dtype == torch.float32


def test_extreme_rows_stay_finite() -> None:
    """All logits far below zero, a certain token, an impossible one, a uniform row."""
    weight = torch.eye(4)
    hidden = torch.tensor([[-3e4] * 4, [500.0, 0, 0, 0], [500.0, 0, 0, 0], [0.0] * 4])
    tokens = torch.tensor([0, 0, 1, 3])
    hidden.requires_grad_()
    logp, entropy = token_logprobs(hidden, Head(weight), tokens)
    four = torch.tensor(4.0).log()
    assert torch.allclose(logp, torch.stack([-four, four * 0, four * 0 - 500, -four]))
    assert torch.allclose(entropy, torch.stack([four, four * 0, four * 0, four]))
    (slope,) = torch.autograd.grad(logp.sum() + entropy.sum(), hidden)
    assert slope.isfinite().all()


def test_a_token_that_the_bias_forbids() -> None:
    part = case(bias=True)
    assert part.head.bias is not None
    barred = part.head.bias.detach().clone()
    barred[0] = -torch.inf
    part = replace(part, tokens=part.tokens.clamp(min=1), head=replace(part.head, bias=barred))
    found = token_logprobs(part.hidden, part.head, part.tokens)
    wanted = reference.token_logprobs(part.hidden, part.head, part.tokens)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)
    slope = torch.autograd.grad(found[0].sum() + found[1].sum(), part.hidden)[0]
    assert slope.isfinite().all()


def test_operands_in_16_bit_keep_float32_logits() -> None:
    """Rounding operands moves logits a little; rounding logits near 16 would move them by 1/16."""
    part = case(64, 64, 1013, sharpness=1.0, dtype=torch.float32)
    rounded = part.to(torch.bfloat16)
    wanted, _ = reference.token_logprobs(
        rounded.hidden.double(), Head(rounded.head.weight.double()), part.tokens
    )
    found, _ = token_logprobs(
        part.hidden, replace(part.head, dtype=torch.bfloat16), part.tokens, chunk=10
    )
    assert float((found.double() - wanted).detach().abs().max()) < 2e-5
    slope = torch.autograd.grad(found.sum(), part.leaves)
    assert [each.dtype for each in slope] == [torch.float32, torch.float32]


@pytest.mark.parametrize(
    ("hidden", "tokens", "message"),
    [((5, 3), (5,), r"\[N, 4\]"), ((5, 4), (4,), "5 rows"), ((1, 5, 4), (5,), "hidden must be")],
)
def test_shapes_that_do_not_fit_are_named(
    hidden: tuple[int, ...], tokens: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        token_logprobs(torch.zeros(hidden), Head(torch.zeros(9, 4)), torch.zeros(tokens).long())


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    part = case()
    with pytest.raises(ValueError, match="temperature"):
        token_logprobs(part.hidden, part.head, part.tokens, temperature=temperature)

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr.advantage.drpo import DRPO
from rlvr.errors import UserError
from rlvr.loss.clip.inputs import TokenInputs
from rlvr.loss.clip.loglik import LogLikelihood

from .steps import GOLDEN, step, values  # noqa: TID251 (our own neighbour)

CASE = GOLDEN["drpo"]
LENGTHS = CASE["L"]
LOGPROB = [s for s, length in zip(CASE["s"], LENGTHS, strict=True) for _ in range(length)]
SCORES = step(CASE["c"], lengths=LENGTHS, logprob=LOGPROB)


@pytest.mark.parametrize("case", CASE["cases"])
def test_golden(case):
    estimate = DRPO(lambda_=case["lambda"], tau=case["tau"], max_tokens=CASE["C"])(SCORES)
    assert values(estimate) == pytest.approx(case["kappa"], abs=1e-5)
    assert estimate.report["objective"] == pytest.approx(case["J"], abs=1e-5)


def test_limits_are_disco_and_the_plain_mean():
    estimate = DRPO(lambda_=math.inf, tau=math.inf)(SCORES)
    assert values(estimate) == pytest.approx([0.5, 0.5, -0.5, -0.5])
    assert estimate.report["objective"] == pytest.approx(-0.45 + 0.45)
    assert DRPO(lambda_=math.inf)(SCORES).report["objective"] == pytest.approx(-0.001125, abs=1e-6)


def test_small_lambda_does_not_overflow():
    got = values(DRPO(lambda_=1e-3)(SCORES))
    assert got[:2] == pytest.approx([1, 0])


@pytest.mark.parametrize("rewards", [[1, 1], [0, 0], [1], [None, 1]])
def test_a_prompt_without_both_classes_gets_zero_and_still_counts(rewards):
    n = len(rewards)
    scores = step(rewards, [1, 0], lengths=[2] * (n + 2), logprob=[-1.0] * (2 * n + 4))
    estimate = DRPO()(scores)
    assert values(estimate) == [0.0] * n + [1.0, -1.0]
    assert estimate.report["prompts"] == 2
    assert estimate.report["valid_prompts"] == 1


def test_an_empty_response_is_in_neither_class():
    scores = step([1, 1, 0], lengths=[0, 2, 1], logprob=[-1.0] * 3)
    assert values(DRPO()(scores)) == pytest.approx([0, 1, -1])


def test_classes_follow_correctness_not_reward():
    scores = step([0.7, -0.2], lengths=[1, 1], logprob=[-1, -1], correct=[False, True])
    assert values(DRPO()(scores)) == pytest.approx([-1, 1])


def test_needs_logprobs():
    with pytest.raises(UserError, match="log-prob"):
        DRPO()(step([1, 0]))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 5)), min_size=2, max_size=8),
    st.floats(0.01, 5),
    st.floats(0.01, 20),
)
def test_sums_to_nothing_and_never_pushes_a_right_answer_down(responses, lambda_, tau):
    lengths = [length for _, length in responses]
    scores = step(
        [float(c) for c, _ in responses],
        lengths=lengths,
        logprob=[-0.1 * i for i in range(sum(lengths))],
    )
    got = DRPO(lambda_=lambda_, tau=tau, max_tokens=8)(scores).values
    longer = replace(scores, length=scores.length + 3, logprob=None)
    longer = replace(longer, logprob=torch.full((int(longer.length.sum()),), -1.0))
    if scores.correct.all() or not scores.correct.any():
        assert not got.any()
    else:
        assert float(got[scores.correct].sum()) == pytest.approx(1)
        assert float(got[~scores.correct].sum()) == pytest.approx(-1)
        assert bool((got[scores.correct] >= 0).all())
        shifted = DRPO(lambda_=lambda_, max_tokens=8)(longer).values  # lengths only by difference
        assert shifted[scores.correct].tolist() == pytest.approx(got[scores.correct].tolist())


def test_hinge_golden_value_and_gradient():
    hinge = CASE["hinge"]
    logp = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64, requires_grad=True)
    tokens = TokenInputs(
        logp=logp,
        old_logp=logp.detach() + hinge["K"],
        weight=torch.zeros(3, dtype=torch.float64),
        scale=torch.ones(3, dtype=torch.float64),
        segment=torch.zeros(3, dtype=torch.int64),
    )
    fitted = LogLikelihood(delta=hinge["delta"], beta=hinge["beta"]).fit(tokens)
    assert fitted.report["hinge"] == pytest.approx(hinge["value"])
    assert fitted.report["slope"] == pytest.approx(hinge["grad_coef"])
    fitted.rule(tokens).sum().backward()
    assert logp.grad is not None
    assert logp.grad.tolist() == pytest.approx([-hinge["grad_coef"] / 3] * 3)


@pytest.mark.parametrize("distance", ["k1", "k3"])
def test_hinge_gradient_is_that_of_the_penalty(distance):
    old = torch.tensor([-1.0, -2.0, -0.5, -3.0], dtype=torch.float64)
    logp = (old - torch.tensor([0.3, 0.1, -0.1, 0.2], dtype=torch.float64)).requires_grad_()
    scale = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    tokens = TokenInputs(logp, old, torch.zeros_like(old), scale, torch.zeros(4).long())
    fitted = LogLikelihood(distance=distance, delta=0.01, beta=3.0).fit(tokens)
    (got,) = torch.autograd.grad(fitted.rule(tokens).sum(), logp)
    d = (logp - old)[:3]
    moved = (-d if distance == "k1" else d.exp() - d - 1).mean()
    (want,) = torch.autograd.grad(1.5 * (moved - 0.01).clamp(min=0) ** 2, logp)
    assert got.tolist() == pytest.approx(want.tolist())

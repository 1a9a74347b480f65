from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr.advantage.beta import fit, log_weight
from rlvr.advantage.bnpo import BNPO
from rlvr.advantage.dr_grpo import DrGRPO
from rlvr.advantage.grpo import GRPO
from rlvr.errors import UserError

from .steps import GOLDEN, step, values  # noqa: TID251 (our own neighbour)


def groups(rates: list[float], size: int) -> list[list[float]]:
    return [[1.0] * round(p * size) + [0.0] * (size - round(p * size)) for p in rates]


@pytest.mark.parametrize("case", GOLDEN["bnpo"])
def test_golden(case):
    size = 40
    estimate = BNPO()(step(*groups(case["p"], size)))
    for key in ("a", "b", "alpha", "beta", "nu"):
        assert estimate.report[key] == pytest.approx(case[key], abs=1e-4)
    got = estimate.values.reshape(len(case["p"]), size)
    for row, p, right, wrong in zip(
        got.tolist(), case["p"], case["A_correct"], case["A_wrong"], strict=True
    ):
        if right is None:
            assert set(row) == {0.0}
        else:
            assert row[0] == pytest.approx(right, abs=1e-4)
            assert row[round(p * size)] == pytest.approx(wrong, abs=1e-4)


def test_alpha_beta_one_is_centring_and_three_halves_is_grpo():
    scores = step(*groups([0, 0, 1, 1], 4), [1, 0, 0, 0])
    bimodal = BNPO()(scores)
    assert bimodal.report["alpha"] == bimodal.report["beta"] == 1
    assert values(bimodal) == pytest.approx(values(DrGRPO()(scores)))
    p = torch.tensor([0.25], dtype=torch.float64)
    weight = float(log_weight(p, 1.5, 1.5).exp())
    grpo = values(GRPO(eps=0, unbiased=False)(step([1, 0, 0, 0])))[0]
    assert weight * 0.75 == pytest.approx(math.pi / 8 * grpo)
    assert weight * 0.75 == pytest.approx(0.6802, abs=1e-4)


def test_no_variance_is_held_at_the_noise_of_sampling():
    estimate = BNPO()(step(*groups([0.5, 0.5, 0.5], 4)))
    assert estimate.report["nu"] == 3
    assert all(math.isfinite(value) for value in estimate.values.tolist())


def test_single_groups_count_in_the_fit_and_get_zero():
    estimate = BNPO()(step([1, 0, 0, 0], [1], [1, 1, 0, 0]))
    assert estimate.report["mean"] == pytest.approx((0.25 + 1 + 0.5) / 3)
    assert estimate.report["nu"] <= 3 - 1
    assert estimate.values[4] == 0


@pytest.mark.parametrize("rewards", [[[1, 1], [1, 1]], [[0, 0]], [[1]], [[1, 0]], [[None, None]]])
def test_finite_on_edges(rewards):
    estimate = BNPO()(step(*rewards))
    assert bool(estimate.values.isfinite().all())
    assert all(math.isfinite(v) for v in estimate.report.values())


def test_one_prompt_is_centring():
    assert values(BNPO()(step([1, 0, 0]))) == pytest.approx(values(DrGRPO()(step([1, 0, 0]))))


def test_rewards_outside_the_range_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"\[0, 1\]"):
        BNPO()(step([2, 0]))
    assert values(BNPO(low=-1, high=1)(step([1, -1, -1, -1], [1, 1, -1, -1])))[0] > 0


def test_parts_are_fitted_apart_and_dead_ones_left_out():
    accuracy, form = groups([0.25, 0.5, 0.75, 0.5], 8), groups([0.875, 0.5, 0.25, 0.125], 8)
    scores = step(*accuracy)
    parts = {
        "accuracy": torch.tensor(accuracy).double().flatten(),
        "format": torch.tensor(form).double().flatten(),
        "style": torch.zeros(32, dtype=torch.float64),
    }
    estimate = BNPO(parts=True)(replace(scores, parts=parts))
    assert estimate.report["live_parts"] == 2
    alone = [values(BNPO()(replace(scores, reward=parts[name]))) for name in ("accuracy", "format")]
    assert values(estimate) == pytest.approx([(x + y) / 2 for x, y in zip(*alone, strict=True)])


def test_noise_correction_lowers_the_variance():
    scores = step(*groups([0.25, 0.5, 0.75, 0.5], 8))
    plain, corrected = BNPO()(scores), BNPO(correct_noise=True)(scores)
    assert corrected.report["variance"] < plain.report["variance"]


def test_mean_one():
    scores = step(*groups([0.25, 0.5, 0.75, 0.5], 4))
    ratio = torch.tensor(values(BNPO()(scores))) / torch.tensor(values(BNPO(mean_one=True)(scores)))
    assert float(ratio[0]) == pytest.approx(BNPO()(scores).report["mean_weight"])


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=8))
def test_mirror_and_zero_sum(rewards):
    plain = step(*[[float(r) for r in group] for group in rewards])
    mirrored = replace(plain, reward=1 - plain.reward)
    one, other = BNPO()(plain), BNPO()(mirrored)
    assert one.values.tolist() == pytest.approx((-other.values).tolist(), abs=1e-9)
    assert one.report["a"] == pytest.approx(other.report["b"], abs=1e-9)
    assert plain.prompt_sum(one.values).tolist() == pytest.approx([0] * len(rewards), abs=1e-9)


@given(st.floats(0.5, 6), st.floats(0.5, 6))
def test_the_normaliser_has_the_smallest_variance(a, b):
    def variance(alpha: float, beta: float) -> float:
        def log_b(x: float, y: float) -> float:
            return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

        log = 2 * log_b(alpha, beta) + log_b(a + 3 - 2 * alpha, b + 3 - 2 * beta) - log_b(a, b)
        return math.exp(log)

    alpha, beta = 1 + a / 3, 1 + b / 3
    best = variance(alpha, beta)
    for d in (-0.05, 0.05):
        assert variance(alpha + d, beta) >= best
        assert variance(alpha, beta + d) >= best


def test_fit_recovers_the_mean():
    found = fit(torch.tensor([0.1, 0.2, 0.4, 0.7], dtype=torch.float64), 100)
    assert found.a / (found.a + found.b) == pytest.approx(found.mean)

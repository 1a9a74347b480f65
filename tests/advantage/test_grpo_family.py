from __future__ import annotations

import itertools
import math

import pytest

from rlvr.advantage.dr_grpo import DrGRPO
from rlvr.advantage.grpo import GRPO
from rlvr.advantage.reinforce_pp import ReinforcePP
from rlvr.advantage.rloo import RLOO

from .steps import GOLDEN, step, values  # noqa: TID251 (our own neighbour)

VECTORS = GOLDEN["grpo"]
ONE = step([1, 0, 0, 0])
RAGGED = step([1, 0], [1, 0, 0])
TWO = step(*GOLDEN["reinforce_pp"]["r"], lengths=[*itertools.chain(*GOLDEN["reinforce_pp"]["L"])])


@pytest.mark.parametrize(
    ("estimator", "scores", "expected"),
    [
        (GRPO(eps=0), ONE, VECTORS["grpo_std_unbiased_eps0"]),
        (GRPO(eps=0, unbiased=False), ONE, VECTORS["grpo_std_population_eps0"]),
        (DrGRPO(), ONE, VECTORS["dr_grpo"]),
        (RLOO(), ONE, VECTORS["rloo"]),
        (RLOO(), RAGGED, VECTORS["ragged"]["rloo"]),
        (GRPO(eps=0), RAGGED, VECTORS["ragged"]["grpo_std"]),
        (GRPO(eps=0, spread="batch"), TWO, GOLDEN["reinforce_pp"]["batch_std_eps0"]),
        (ReinforcePP(), TWO, GOLDEN["reinforce_pp"]["rpp_unbiased"]),
        (ReinforcePP(unbiased=False), TWO, GOLDEN["reinforce_pp"]["rpp_population"]),
        (ReinforcePP(baseline=True), TWO, GOLDEN["reinforce_pp"]["rpp_baseline_unbiased"]),
        (
            ReinforcePP(baseline=True, unbiased=False),
            TWO,
            GOLDEN["reinforce_pp"]["rpp_baseline_population"],
        ),
    ],
)
def test_golden(estimator, scores, expected):
    assert values(estimator(scores)) == pytest.approx(expected, abs=1e-5)


def test_one_success_in_128_and_the_limit():
    lone = step([1] + [0] * 127)
    assert values(GRPO(eps=0)(lone))[0] == pytest.approx(VECTORS["one_success_in_128"], abs=1e-4)
    assert values(GRPO(limit=5)(lone))[0] == 5


@pytest.mark.parametrize("estimator", [GRPO(), DrGRPO(), RLOO()])
@pytest.mark.parametrize("group", [[1, 1, 1], [0, 0], [1], [0], [0.3, 0.3 + 1e-9]])
def test_a_group_that_agrees_gets_exactly_zero(estimator, group):
    assert values(estimator(step(group, [1, 0])))[: len(group)] == [0.0] * len(group)


@pytest.mark.parametrize("estimator", [GRPO(), DrGRPO(), RLOO(), ReinforcePP()])
def test_a_broken_verdict_is_in_no_statistic(estimator):
    without = values(estimator(step([1, 0, 0], [1, 0])))
    broken = values(estimator(step([1, None, 0, 0], [1, 0, None])))
    assert broken == pytest.approx([without[0], 0, *without[1:], 0], abs=1e-12)


def test_reinforce_pp_without_spread_or_tokens_is_zero():
    assert values(ReinforcePP()(step([1, 1], [1]))) == [0, 0, 0]
    empty = step([1, 0], lengths=[0, 0])
    assert all(math.isfinite(value) for value in values(ReinforcePP()(empty)))


def test_group_statistics_do_not_need_adjacent_responses():
    mixed = step([1, 0, 0], [1, 0])
    shuffled = type(mixed)(
        **{**vars(mixed), **{k: getattr(mixed, k)[[3, 0, 4, 1, 2]] for k in ("reward", "group")}}
    )
    assert values(GRPO()(shuffled)) == pytest.approx(
        [values(GRPO()(mixed))[i] for i in (3, 0, 4, 1, 2)]
    )

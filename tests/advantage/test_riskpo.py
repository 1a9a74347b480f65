from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr.advantage.estimate import Estimate
from rlvr.advantage.risk import value
from rlvr.advantage.risk.bundles import draw
from rlvr.advantage.risk.quantiles import LEVELS, Tracker, nearest
from rlvr.advantage.riskpo import RiskPO

from .steps import GOLDEN, step, values  # noqa: TID251 (our own neighbour)

CASE = GOLDEN["riskpo"]
AT = value.Levels(CASE["al"], CASE["be"], CASE["qa"], CASE["qb"])
R = torch.tensor(CASE["R"], dtype=torch.float64)


def test_golden_forms():
    omega = CASE["omega"]
    assert value.paper(R, AT, omega).tolist() == pytest.approx(CASE["A_paper"])
    for natural, key in ((True, "A_released_natural"), (False, "A_released_no_natural")):
        got = value.released(R, AT, omega, natural=natural).tolist()
        assert got == pytest.approx(CASE[key], abs=1e-5)


def test_golden_bundle_and_baselines():
    bundle = CASE["bundle"]
    scores = step(*bundle["rewards"])
    fixed = {"bundle": 2, "quantiles": (bundle["qa"], bundle["qb"]), "permute": False}
    want = bundle["A_paper"]
    assert values(RiskPO(**fixed)(scores)) == pytest.approx(want * 2)
    centred = [0.6875, 0.1875, -1.0625, 0.1875]
    assert values(RiskPO(**fixed, baseline="batch_mean")(scores)) == pytest.approx(centred * 2)
    raised = [a + 1.0 for a in want]
    assert values(RiskPO(**fixed, baseline="none")(scores)) == pytest.approx(raised * 2)
    released = [0.8165, 0.4082, -1.8371, 0.4082]
    got = values(RiskPO(**fixed, variant="released", baseline="none")(scores))
    assert got == pytest.approx(released * 2, abs=1e-4)


def test_golden_tracker():
    case = CASE["tracker"]
    scores = torch.tensor(case["scores"], dtype=torch.float64)
    tracker = Tracker()
    tracker.start(scores)
    assert tracker.read(0.2, 0.8) == pytest.approx(case["warm_start"])
    for level, before, after in zip(case["levels"], case["q0"], case["q1"], strict=True):
        tracker = Tracker(values=[before] * len(LEVELS))
        tracker.update(scores, case["gamma"])
        assert tracker.values[nearest(level)] == pytest.approx(after)


def test_tracked_quantiles_reach_the_next_advantage():
    estimator = RiskPO(bundle=1, permute=False)
    first = estimator(step([1, 0, 0, 0, 0]))
    assert first.report["quantiles"] == pytest.approx([0, 0.2])
    second = estimator(step([1, 1, 1, 1, 1]))
    assert second.report["quantiles"] == pytest.approx([0, 0.2]), "old quantiles first"
    third = estimator(step([1, 1, 1, 1, 1]))
    assert third.report["quantiles"] == pytest.approx([0.02, 0.28])


def test_all_wrong_bundles_keep_a_signal_and_mastered_ones_get_zero():
    scores = step([0, 0], [0, 0], [1, 1], [1, 1])
    got = values(RiskPO(bundle=2, quantiles=(0.5, 1.5), permute=False)(scores))
    assert got == pytest.approx([-1.75] * 4 + [0.0] * 4)


def test_leftovers_short_bundles_and_broken_verdicts():
    scores = step([1, 0, 1], [1, 0], [None, None], [1, 1])
    exams = draw(scores, 2, None)
    assert exams.exam.tolist() == [0, 1, -1, 0, 1, -1, -1, 2, 3]
    assert exams.score.tolist() == [2, 0, 2, 2]  # the last bundle holds one question: doubled
    estimate = RiskPO(bundle=2, permute=False, quantiles=(0.5, 1.5))(scores)
    assert estimate.report["leftover"] == 1
    assert [values(estimate)[i] for i in (2, 5, 6)] == [0, 0, 0]
    assert estimate.unit is not None
    assert estimate.unit.tolist() == exams.exam.tolist()


def test_no_valid_response_is_finite_and_learns_nothing():
    estimator = RiskPO()
    assert values(estimator(step([None, None]))) == [0, 0]
    assert estimator.tracker.values == []


def test_flat_bundle_is_not_divided_by_its_zero_spread():
    got = values(
        RiskPO(bundle=2, variant="released", quantiles=(1.0, 2.0), permute=False)(
            step([0, 0], [0, 0])
        )
    )
    assert max(abs(x) for x in got) < 10


def test_share_never_punishes_the_only_right_answer():
    scores = step([1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1])
    fixed = {"bundle": 3, "quantiles": (1.0, 2.5), "permute": False}
    for credit in ("uniform", "score", "std", "share"):
        got = values(RiskPO(**fixed, credit=credit)(scores))
        right = [got[i] for i in (0, 6, 14)]
        wrong = [got[i] for i in (5, 10, 1)]
        assert min(right) >= min(wrong) - 1e-9, credit


def test_state_survives_a_restart_bit_for_bit():
    steps = [step([1, 0, 1, 0], [0, 0, 1, 0]), step([1, 1, 1, 0], [1, 0, 0, 0])] * 3
    whole, first, second = RiskPO(bundle=2), RiskPO(bundle=2), RiskPO(bundle=2)
    wanted = [values(whole(each)) for each in steps]
    got = [values(first(each)) for each in steps[:3]]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    got += [values(second(each)) for each in steps[3:]]
    assert got == wanted
    assert second.state_dict() == whole.state_dict()


def test_another_bundle_size_starts_tracking_anew():
    one, other = RiskPO(bundle=2), RiskPO(bundle=3)
    one(step([1, 0], [0, 1]))
    other.load_state_dict(one.state_dict())
    assert other.tracker.values == []


@given(st.lists(st.floats(0, 5), min_size=2, max_size=10), st.floats(0, 5), st.floats(0, 5))
def test_concave_non_decreasing_and_equal_to_its_definition(scores, x, y):
    low, high = sorted((x, y))
    at = value.Levels(0.2, 0.8, low, high)
    r = torch.tensor(sorted(scores), dtype=torch.float64)
    a = value.paper(r, at, 0.5)
    assert bool((a.diff() >= -1e-12).all())
    assert bool((a <= 1e-12).all())
    g = (r - low).clamp(min=0) - (r - high).clamp(min=0) + low - high
    assert value.middle(r, at).tolist() == pytest.approx(g.tolist(), abs=1e-9)
    assert value.paper(r, at, 0.0).tolist() == pytest.approx(
        (r.clamp(max=high) - high).tolist(), abs=1e-9
    )


@given(
    st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=7),
    st.integers(1, 4),
    st.integers(0, 5),
)
def test_every_exam_holds_one_response_of_each_question(rewards, size, seed):
    scores = step(*[[float(r) for r in group] for group in rewards])
    exams = draw(scores, size, seed)
    for number in range(len(exams.score)):
        seated = scores.group[exams.exam == number].tolist()
        assert len(seated) == len(set(seated)) == int(exams.size[number])
    assert bool(exams.score.isfinite().all())
    estimate = RiskPO(bundle=size, seed=seed)(scores)
    assert isinstance(estimate, Estimate)
    assert bool(estimate.values.isfinite().all())

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.advantage.budget.greedy import spend, value
from rlvr.advantage.budget.history import Record
from rlvr.advantage.budget.knapsack import Knapsack
from rlvr.advantage.budget.uniform import Uniform
from rlvr.errors import UserError

from .steps import GOLDEN  # noqa: TID251 (our own neighbour)

CASE = GOLDEN["knapsack"]


def known(rates: list[float | None], **settings: object) -> Knapsack:
    """A knapsack that has seen 1000 outcomes at each rate; None is a problem never seen."""
    budget = Knapsack(**settings)
    for i, p in enumerate(rates):
        if p is not None:
            right = round(p * 1000)
            budget.observe([str(i)], [[True] * right + [False] * (1000 - right)])
    return budget


def allocate(rates: list[float | None], total: int, **settings: object) -> list[int]:
    ids = [str(i) for i in range(len(rates))]
    return known(rates, total=total, **settings).allocate(ids, 0)


@pytest.mark.parametrize("case", CASE["exact"], ids=lambda case: str(case["n"])[:24])
def test_golden(case):
    # 0.0625 is not a thousandth: set the rates directly
    counts = [2] * len(case["p"])
    assert spend(case["p"], counts, case["total"] - sum(counts), 128) == 0
    assert counts == case["n"]
    assert sum(map(value, counts, case["p"])) == pytest.approx(case["value"], abs=1e-5)


def test_golden_values():
    for n, p, wanted in CASE["V"]:
        assert value(n, p) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("case", CASE["history"])
def test_golden_history(case):
    record = Record()
    for visit in case["visits"]:
        record = record.after([bool(each) for each in visit])
    assert record.rate == pytest.approx(case["p_hat"])


@pytest.mark.parametrize(
    ("rates", "total", "counts"),
    [
        ([0.05, 0.5, 0.9], 24, [15, 7, 2]),
        ([0, 0, 1, 1], 32, [14, 14, 2, 2]),
        ([0, 0, 0, 0], 32, [8, 8, 8, 8]),
        ([1, 1, 1, 1], 32, [8, 8, 8, 8]),
        ([0, 0.1, 0.5, 1], 32, [2, 21, 7, 2]),
        ([0.5] * 4, 32, [8, 8, 8, 8]),
        ([None] * 3, 25, [9, 8, 8]),
        ([None, 1], 16, [8, 8]),
        ([0, 0.5], 16, [11, 5]),  # 3 can be used at p = 0.5, the rest goes to the hopeless one
    ],
)
def test_allocations(rates, total, counts):
    assert allocate(rates, total) == counts


def test_more_responses_land_where_both_outcomes_show():
    """The share of responses in mixed groups, for success rates that spread (.6426 -> .8328)."""
    rates = [0.02, 0.1, 0.3, 0.6, 0.9]

    def share(counts: list[int]) -> float:
        mixed = [n * (1 - p**n - (1 - p) ** n) for n, p in zip(counts, rates, strict=True)]
        return sum(mixed) / sum(counts)

    assert share([8] * 5) == pytest.approx(0.6426, abs=1e-4)
    assert share(allocate([*rates], 40)) == pytest.approx(0.8328, abs=1e-4)


def test_under_eight_attempts_is_new():
    budget = Knapsack(total=16)
    budget.observe(["a", "b"], [[True] * 7, [True] * 8])
    assert budget.allocate(["a", "b"], 0) == [8, 8]
    assert budget.report()["problems"]["new"] == 1


def test_a_small_budget_scales_the_minima_down_to_one():
    assert allocate([0.5, 0.5, 0.1, 0.9], 6) == [2, 2, 1, 1]
    budget = known([0.5] * 4, total=3)
    assert budget.allocate(["0", "1", "2", "3"], 0) == [1, 1, 1, 1]
    assert budget.report()["overspent"] == 1


def test_what_the_caps_leave_is_reported():
    budget = known([0.5, 0.3], total=100, high=10)
    assert budget.allocate(["0", "1"], 0) == [10, 10]
    assert budget.report()["unspent"] == 80


def test_the_run_gives_the_mean_when_no_total_is_set():
    assert sum(known([0.1, 0.5, 0.7]).allocate(["0", "1", "2"], 8)) == 24
    assert Uniform().allocate(["a", "b"], 5) == [5, 5]


def test_state_survives_a_restart():
    budget, other = known([0.1, 0.5, None, 0.7]), Knapsack()
    other.load_state_dict(json.loads(json.dumps(budget.state_dict())))
    ids = ["0", "1", "2", "3"]
    assert other.allocate(ids, 8) == budget.allocate(ids, 8)
    other.observe(ids, [[True]] * 4)
    budget.observe(ids, [[True]] * 4)
    assert other.state_dict() == budget.state_dict()
    with pytest.raises(UserError, match="schema"):
        other.load_state_dict({"schema": 99})


@given(
    st.lists(st.floats(0.02, 0.98), min_size=1, max_size=3), st.integers(0, 9), st.integers(3, 6)
)
def test_greedy_is_the_best_of_all_allocations(rates, extra, high):
    counts = [2] * len(rates)
    left = spend(rates, counts, extra, high)
    assert left == max(0, extra - (high - 2) * len(rates))
    best = max(
        sum(map(value, each, rates))
        for each in itertools.product(range(2, high + 1), repeat=len(rates))
        if sum(each) == sum(counts)
    )
    assert sum(map(value, counts, rates)) == pytest.approx(best, abs=1e-12)


@given(
    st.lists(st.sampled_from([None, 0, 1, 0.1, 0.5, 0.9]), min_size=1, max_size=8),
    st.integers(1, 200),
    st.integers(2, 4),
    st.sampled_from([4, 16, 128]),
    st.sampled_from(["probability", "expectation", "none"]),
)
def test_the_budget_is_spent_within_bounds(rates, total, low, high, fallback):
    counts = allocate(rates, total, low=low, high=high, fallback=fallback)
    assert all(1 <= n <= high for n in counts)
    assert sum(counts) <= max(total, len(rates))
    mixed = [n for n, p in zip(counts, rates, strict=True) if p is not None and 0 < p < 1]
    if sum(counts) < total:
        assert all(n == high for n in mixed)
    if total >= low * len(rates):
        assert all(n >= low for n in counts)


@pytest.mark.parametrize("settings", [{"low": 1}, {"low": 9, "high": 8}, {"total": 0}])
def test_bad_bounds_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        Knapsack(**settings)

"""The statistics of a paired comparison, against numbers worked out by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlvr.report.paired import Difference, holm, paired, unpaired


def test_all_problems_better_by_one() -> None:
    found = paired([0.0] * 6, [1.0] * 6)
    assert (found.difference, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.p == pytest.approx(2 / 2**6)
    assert found.better == "b"
    assert found.detectable is None


def test_five_problems_cannot_convince() -> None:
    found = paired([0.0] * 5, [1.0] * 5)
    assert found.p == pytest.approx(2 / 2**5)
    assert found.better is None


def test_the_sign_says_who_is_better() -> None:
    a, b = [0.75] * 20 + [0.5] * 10, [0.25] * 20 + [0.5] * 10
    assert paired(a, b).difference == pytest.approx(-1 / 3)
    assert paired(a, b).better == "a"
    assert paired(b, a).better == "b"


def test_the_same_results_are_not_distinguishable() -> None:
    found = paired([0.0, 1.0, 0.5], [0.0, 1.0, 0.5])
    assert (found.difference, found.p, found.better) == (0.0, 1.0, None)


def test_problems_that_do_not_differ_do_not_change_the_test() -> None:
    a, b = [0.0] * 7, [1.0] * 6 + [0.0]
    assert paired(a, b).p == pytest.approx(2 / 2**6)


def test_exact_test_by_hand() -> None:
    # gaps 1, 1, -1, 0.5: |sum| = 1.5; of the 16 sign patterns 8 reach it
    gaps = [1.0, 1.0, -1.0, 0.5]
    sums = [
        abs(sum(g * s for g, s in zip(map(abs, gaps), signs, strict=True)))
        for signs in ((2 * np.indices((2,) * 4).reshape(4, -1).T - 1).tolist())
    ]
    expected = sum(each >= 1.5 for each in sums) / 16
    assert paired([0.0] * 4, gaps).p == pytest.approx(expected)


def test_sampled_test_is_near_the_binomial_one() -> None:
    # 40 problems differ by one, 28 of them for B: two-sided sign test
    b = [1.0] * 28 + [-1.0] * 12
    exact = 2 * sum(math.comb(40, k) for k in range(28, 41)) / 2**40
    assert paired([0.0] * 40, b).p == pytest.approx(exact, abs=0.006)


def test_interval_is_near_the_normal_one() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(400), rng.random(400)
    found = paired(a.tolist(), b.tolist())
    half = 1.96 * float((b - a).std(ddof=1)) / 20
    assert found.low == pytest.approx(found.difference - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.difference + half, abs=0.1 * half)
    assert found.detectable == pytest.approx(half / 1.96 * 2.80, rel=0.01)


def test_the_same_question_has_the_same_answer() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(50).tolist(), rng.random(50).tolist()
    assert paired(a, b) == paired(a, b)


@pytest.mark.parametrize(("problems", "samples"), [(40, 4), (200, 2)])
def test_equal_models_are_rarely_told_apart(problems: int, samples: int) -> None:
    rng = np.random.default_rng(3)
    told = 0
    for _ in range(100):
        rates = rng.random(problems)
        a, b = (rng.binomial(samples, rates) / samples for _ in range(2))
        told += paired(a.tolist(), b.tolist()).better is not None
    assert told <= 11  # 5% of 100, and three standard deviations


def test_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(4)
    sizes, found = [], 0
    for _ in range(100):
        rates = rng.uniform(0.2, 0.6, 150)
        a = rng.binomial(4, rates) / 4
        b = rng.binomial(4, rates + 0.0814) / 4
        outcome = paired(a.tolist(), b.tolist())
        assert outcome.detectable is not None
        sizes.append(outcome.detectable)
        found += outcome.better == "b"
    assert np.mean(sizes) == pytest.approx(0.0814, abs=0.006)
    assert 68 <= found <= 92  # 80% of 100, and three standard deviations


def test_means_alone() -> None:
    found = unpaired((0.5, 0.03), (0.62, 0.04))
    assert found.p == pytest.approx(math.erfc(2.4 / math.sqrt(2)))
    assert (found.low, found.high) == (
        pytest.approx(0.022, abs=1e-4),
        pytest.approx(0.218, abs=1e-4),
    )
    assert (found.better, found.paired) == ("b", False)
    assert unpaired((0.5, None), (0.9, 0.01)).better is None
    assert unpaired((0.5, 0.0), (0.9, 0.0)).better is None


def test_holm() -> None:
    def with_p(p: float | None) -> Difference:
        return Difference(10, 0.0, 0.5, 0.5, 0.1, 0.9, p, 0.1)

    found = holm([with_p(0.04), with_p(None), with_p(0.01), with_p(0.03)])
    assert [each.adjusted for each in found] == [
        pytest.approx(0.06),
        None,
        pytest.approx(0.03),
        pytest.approx(0.06),
    ]
    assert [each.better for each in found] == [None, None, "b", None]

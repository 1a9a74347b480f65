"""pass@k without bias, standard errors over problems."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest

from rlvr.evaluation import ProblemResult, mean_and_error, pass_at_k, summary


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(samples: int) -> None:
    for correct in range(samples + 1):
        outcomes = [True] * correct + [False] * (samples - correct)
        for k in range(1, samples + 1):
            hits = sum(any(each) for each in combinations(outcomes, k))
            assert pass_at_k(samples, correct, k) == pytest.approx(hits / comb(samples, k))


def test_mean_and_error() -> None:
    assert mean_and_error([0.0, 1.0, 1.0, 0.0]) == (0.5, pytest.approx(0.28867513))
    assert mean_and_error([0.5]) == (0.5, None)
    assert mean_and_error([]) == (0.0, None)


def test_summary_leaves_broken_verdicts_out() -> None:
    results = [
        ProblemResult("a", correct=2, samples=4, greedy=True),
        ProblemResult("b", correct=3, samples=3, greedy=None),  # one verdict was broken
        ProblemResult("c", correct=0, samples=0, greedy=False),  # all were
    ]
    numbers = summary(results, (1, 3, 4))
    assert numbers["accuracy"] == numbers["pass@1"] == 0.75
    assert numbers["accuracy_greedy"] == 0.5
    assert (numbers["samples"], numbers["unjudged"]) == (7, 1)
    assert numbers["pass@3"] == 1.0
    assert "pass@4" not in numbers

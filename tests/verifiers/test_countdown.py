"""Countdown: arithmetic is exact, numbers are used once, nothing else is evaluated."""

from __future__ import annotations

import pytest

from rlvr.tasks.countdown import Countdown as Task
from rlvr.types import Status
from rlvr.verifiers.countdown import Countdown

CASES = r"""
so \boxed{3*7+4}                     | correct
\boxed{(3*7)+4 = 25}                 | correct
\boxed{4 + 3 \times 7}               | correct
\boxed{7/3*4}                        | wrong
\boxed{25}                           | wrong
\boxed{4+7*3+3-3}                    | wrong
\boxed{}                             | unparsed
25                                   | unparsed
\boxed{3**7}                         | unparsed
\boxed{__import__('os').getpid()}    | unparsed
\boxed{7/(3-3)}                      | unparsed
\boxed{-(3-28)}                      | unparsed
\boxed{1e3}                          | unparsed
<think>\boxed{3*7+4}</think> no idea | unparsed
"""


@pytest.mark.parametrize("line", [line for line in CASES.splitlines() if line])
def test_cases(line: str) -> None:
    response, status = (part.strip() for part in line.rsplit("|", 1))
    assert Countdown()(response, "25", numbers=[3, 4, 7]).status == status


def test_a_deep_or_long_expression_is_refused() -> None:
    for expression in ("(" * 90 + "3" + ")" * 90, "+".join(["3"] * 10_000)):
        verdict = Countdown()(f"\\boxed{{{expression}}}", "25", numbers=[3])
        assert verdict.status in (Status.UNPARSED, Status.WRONG)


def test_a_problem_without_numbers_is_our_fault() -> None:
    assert Countdown()("\\boxed{1}", "x").status is Status.BROKEN


def test_the_task_hands_over_what_the_verifier_reads() -> None:
    problem = Task().problem("train", 0)
    numbers = problem.fields["numbers"]
    assert isinstance(numbers, list)
    verdict = Countdown()(f"\\boxed{{{numbers[0]}}}", problem.reference, **problem.fields)
    assert verdict.status in (Status.WRONG, Status.CORRECT)

"""Generated tasks: the same problem i everywhere, splits that cannot meet, answers that are right."""

from __future__ import annotations

import ast
import re

import pytest

from rlvr.errors import UserError
from rlvr.tasks.arithmetic import Arithmetic, Chain
from rlvr.tasks.countdown import Countdown


def test_a_problem_is_the_same_on_every_machine() -> None:
    problem, solution = Arithmetic().problem("train", 1)
    assert problem.prompt == "Q: Compute (6+5)*8-16\nA: "
    assert (problem.reference, solution.splitlines()[-1]) == ("72", "#### 72")


def test_solutions_are_worked_and_right() -> None:
    for index in range(300):
        problem, solution = Arithmetic(levels=(1, 2, 3, 6)).problem("test", index)
        *lines, answer = solution.splitlines()
        for line in lines:
            left, right = line.split("=")
            assert eval(compile(ast.parse(left, mode="eval"), "", "eval")) == int(right)
            assert 0 <= int(right) <= 99
        assert answer == f"#### {problem.reference}" == f"#### {lines[-1].split('=')[1]}"
        assert len(lines) == problem.fields["level"] + 1


def test_expressions_say_the_chain() -> None:
    chain = Chain(7, (("+", 5), ("*", 3), ("-", 4)))
    assert chain.expression == "(7+5)*3-4"
    assert chain.values == [7, 12, 36, 32]


def chain_of(solution: str) -> tuple[str, ...]:
    """Start value and operations, from the worked lines."""
    lines = solution.splitlines()[:-1]
    start = re.match(r"\d+", lines[0])
    assert start
    return (start.group(), *(re.sub(r"^\d+|=.*", "", line) for line in lines))


def test_no_chain_is_in_both_splits() -> None:
    task = Arithmetic()
    train = {chain_of(task.problem("train", i)[1]) for i in range(3000)}
    test = {chain_of(task.problem("test", i)[1]) for i in range(3000)}
    assert not train & test
    assert len(train) > 2000


def test_problems_is_a_sequence() -> None:
    problems = Arithmetic(size=10).problems("train")
    assert len(problems) == len(list(problems)) == 10
    assert problems[-1] == problems[9]
    assert [each.id for each in problems[2:4]] == ["arithmetic-train-2", "arithmetic-train-3"]
    with pytest.raises(IndexError):
        problems[10]
    with pytest.raises(UserError, match="splits train and test"):
        Arithmetic().problems("valid")


def test_countdown_targets_can_be_reached() -> None:
    for index in range(50):
        problem = Countdown().problem("train", index)
        numbers = problem.fields["numbers"]
        assert isinstance(numbers, list)
        assert int(str(problem.reference)) in reachable(tuple(numbers))


def reachable(numbers: tuple[int, ...]) -> set[object]:
    """Everything that some of the numbers give, by trying all pairs."""
    from fractions import Fraction

    found: set[object] = set()
    seen: set[tuple[Fraction, ...]] = set()

    def explore(values: tuple[Fraction, ...]) -> None:
        values = tuple(sorted(values))
        if values in seen:
            return
        seen.add(values)
        found.update(values)
        for i, left in enumerate(values):
            for j, right in enumerate(values):
                if i != j:
                    rest = tuple(v for k, v in enumerate(values) if k not in (i, j))
                    results = {left + right, left - right, left * right}
                    results |= {left / right} if right else set()
                    for result in results:
                        explore((*rest, result))

    explore(tuple(Fraction(number) for number in numbers))
    return found

"""Shuffled epochs whose whole state is a number."""

from __future__ import annotations

from rlvr.curriculum import Curriculum
from rlvr.types import Problem

PROBLEMS = [Problem(str(index), "q") for index in range(7)]


def take(curriculum: Curriculum, *counts: int) -> list[list[str]]:
    return [[problem.id for problem in curriculum.next(count)] for count in counts]


def test_an_epoch_holds_every_problem_once() -> None:
    first, second = take(Curriculum(PROBLEMS, seed=1), 7, 7)
    assert sorted(first) == sorted(second) == [each.id for each in PROBLEMS]
    assert first != second


def test_the_position_is_all_there_is_to_know() -> None:
    whole = take(Curriculum(PROBLEMS, seed=1), 3, 3, 3, 3)
    resumed = Curriculum(PROBLEMS, seed=1)
    take(resumed, 3, 3)
    again = Curriculum(PROBLEMS, seed=1, position=resumed.position)
    assert take(again, 3, 3) == whole[2:]


def test_the_problems_of_a_step_are_different() -> None:
    curriculum = Curriculum(PROBLEMS, seed=3)
    for ids in take(curriculum, 5, 5, 5, 5):
        assert len(set(ids)) == 5
    assert len(take(curriculum, 50)[0]) == 7

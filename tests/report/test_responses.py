"""Which responses a page holds, and how all of them ended."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from rlvr.report import responses
from rlvr.report.responses import survey

from .synthetic import response


def step_of(step: int, groups: int, size: int = 4, **more: Any) -> Iterator[dict[str, Any]]:
    for group in range(groups):
        for _ in range(size):
            yield response(step, group, **more)


def test_everything_is_embedded_where_it_fits() -> None:
    found = survey([*step_of(1, 2), *step_of(2, 3)], limit=100)
    assert found.total == found.embedded == 20
    assert [group["step"] for group in found.groups] == [2, 2, 2, 1, 1]
    assert [group["size"] for group in found.groups] == [4] * 5


def test_endings_are_counted_by_step() -> None:
    rows = [
        response(1),
        response(1, status="wrong", finish="length"),
        response(2, status="broken", reward=None, detail="no database"),
        response(2, status=None),
    ]
    found = survey(rows, limit=10)
    assert [dict(each.status) for each in found.ended] == [
        {"correct": 1, "wrong": 1},
        {"broken": 1, "not judged": 1},
    ]
    assert [each.truncated for each in found.ended] == [1, 0]
    assert found.broken == {"no database": 1}


def test_a_long_run_is_sampled_over_its_whole_length_with_the_newest_steps() -> None:
    rows = (row for step in range(1, 1001) for row in step_of(step, 3))
    found = survey(rows, limit=400)
    steps = [group["step"] for group in found.groups]
    assert found.total == 12_000
    assert 380 <= found.embedded <= 400
    assert steps == sorted(steps, reverse=True)
    assert {1, 997, 998, 999, 1000} <= set(steps)
    assert max(a - b for a, b in pairwise(steps)) <= 40


def test_a_small_sample_is_spread_over_the_run_too() -> None:
    rows = (row for step in range(1, 201) for row in step_of(step, 3))
    steps = [group["step"] for group in survey(rows, limit=40).groups]
    assert len(steps) == 10
    assert (steps[0], steps[-1]) == (200, 1)
    assert max(a - b for a, b in pairwise(steps)) <= 60


def test_telling_groups_come_first_and_ordinary_ones_are_not_forgotten() -> None:
    rows = list(step_of(1, 40, reward=1.0))
    rows[130]["reward"] = 0.0  # the one group whose rewards differ
    found = survey(rows, limit=12)
    assert "p32" in [group["problem"] for group in found.groups]
    assert len(found.groups) == 3


def test_a_rare_ending_is_kept_from_any_step() -> None:
    rows = [row for step in range(1, 401) for row in step_of(step, 20)]
    rows[137 * 80 + 70]["status"] = "forbidden"
    found = survey(rows, limit=200)
    kept = [g for g in found.groups if any(r["status"] == "forbidden" for r in g["responses"])]
    assert [(group["step"], group["problem"]) for group in kept] == [(138, "p17")]


def test_long_texts_lose_their_middle_and_big_groups_their_tail() -> None:
    text = "start " + "x" * 50_000 + " the end"
    found = survey([response(1, text=text)] * 100, limit=1000)
    (group,) = found.groups
    assert (group["size"], len(group["responses"])) == (100, responses.IN_GROUP)
    shown = group["responses"][0]["text"]
    assert len(shown) < responses.TEXT + 100
    assert shown.startswith("start x")
    assert shown.endswith("x the end")
    assert "44,014 characters left out" in shown


def test_characters_are_limited_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "CHARACTERS", 10_000)
    found = survey([*step_of(1, 20, text="x" * 900)], limit=1000)
    assert 1 <= len(found.groups) <= 3


def test_one_group_is_shown_however_small_the_limit() -> None:
    assert len(survey(step_of(1, 5), limit=1).groups) == 1


def test_the_same_problem_twice_in_a_step_is_two_groups() -> None:
    rows = [response(1, 0, problem="p"), response(1, 1, problem="p")]
    assert len(survey(rows, limit=10).groups) == 2


def test_missing_and_odd_fields_are_tolerated() -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1},
        {"step": 1, "status": ["odd"], "reward": "x", "prompt": [3, {"content": None}], "parts": 7},
        {"no": "step"},
    ]
    found = survey(rows, limit=10)
    first, second = found.groups[0]["responses"]
    assert found.total == 2
    assert (first["status"], first["reward"], first["text"]) == ("not judged", None, "")
    assert (second["reward"], second["parts"]) == (None, {})


def test_no_responses() -> None:
    found = survey([], limit=10)
    assert (found.total, found.groups, found.ended) == (0, [], [])

"""What responses and tests may look like."""

from __future__ import annotations

import pytest
from code_cases import TextCase, read_cases

from rlvr.types import Status
from rlvr.verifiers.code import Code

VERIFIER = Code(timeout=2.0)


@pytest.mark.parametrize("case", read_cases("features.txt"), ids=lambda case: case.name)
def test_feature(case: TextCase) -> None:
    verdict = VERIFIER(**case.fields)
    assert verdict.status in case.statuses, verdict.detail
    assert (verdict.reward is None) == (verdict.status is Status.BROKEN)


def test_share_of_assertions() -> None:
    tests = "assert f(1) == 1\nassert f(2) == 4\nassert f(3) == 9\nassert f(0) == 0"
    verdict = Code(fraction=True)("def f(x):\n    return x", tests=tests)
    assert verdict.status is Status.WRONG
    assert verdict.reward == 0.5
    assert Code(fraction=True)("def f(x):\n    return x * x", tests=tests).reward == 1.0


def test_share_counts_assertions_that_were_never_reached() -> None:
    tests = "assert f(1) == 1\nx = f(2) + 1\nassert x == 5\nassert f(3) == 9"
    program = "def f(x):\n    return x if x == 1 else None"
    assert Code(fraction=True)(program, tests=tests).reward == pytest.approx(1 / 3)


def test_share_of_cases() -> None:
    cases = [{"stdin": str(n), "stdout": str(n * n)} for n in (0, 1, 2, 3)]
    verdict = Code(fraction=True)("print(int(input()))", cases=cases)
    assert verdict.reward == 0.5


def test_a_share_needs_an_end() -> None:
    tests = "assert f(1) == 1\nassert f(2) == 4"
    program = "import os\ndef f(x):\n    return 1 if x == 1 else os._exit(0)"
    assert Code(fraction=True)(program, tests=tests).reward == 0.0


OBJECTS = "a = Vector(1) + Vector(2)\nassert a == Vector(3)"
VECTOR = """
class Vector:
    def __init__(self, x):
        self.x = x
    def __add__(self, other):
        return Vector(self.x + other.x)
    def __eq__(self, other):
        return self.x == other.x
"""


def test_live_objects_need_the_explicit_mode() -> None:
    assert Code()(VECTOR, tests=OBJECTS).status is Status.WRONG
    verdict = Code(live=True)(VECTOR, tests=OBJECTS)
    assert verdict.status is Status.CORRECT
    assert verdict.isolation.endswith("+live")


def test_live_still_refuses_the_wrong_program() -> None:
    wrong = VECTOR.replace("self.x + other.x", "0")
    assert Code(live=True)(wrong, tests=OBJECTS).status is Status.WRONG
    check = "def check(candidate):\n    assert candidate(1) == 2"
    assert Code(live=True)("def f(x):\n    return 2", tests=check, entry_point="f").correct
    assert not Code(live=True)("def f(x):\n    return 3", tests=check, entry_point="f").correct


@pytest.mark.parametrize(
    "fields",
    [
        {"tests": 5},
        {"tests": "assert f(1)", "entry_point": 5},
        {"tests": "assert f(1)", "files": ["x"]},
        {"tests": "assert f(1)", "files": {"/etc/x": "y"}},
        {"cases": []},
        {"cases": "text"},
        {"cases": [5]},
        {"cases": [{"stdin": "1"}]},
        {},
    ],
)
def test_unusable_fields_are_our_fault(fields: dict[str, object]) -> None:
    assert Code()("def f(x):\n    return 1", **fields).status is Status.BROKEN


@pytest.mark.parametrize(
    "response", ["```python\n" * 50_000, "`" * 300_000, "\0" * 1000, "(" * 400_000]
)
def test_strange_responses_do_no_harm(response: str) -> None:
    verdict = Code(timeout=3)(response, tests="assert f(1) == 1")
    assert verdict.status in (Status.WRONG, Status.UNPARSED, Status.TIMEOUT)


def test_settings_are_checked() -> None:
    for settings in ({"min_isolation": "strong"}, {"timeout": 0}, {"memory_mb": 1}):
        with pytest.raises(ValueError):
            Code(**settings)

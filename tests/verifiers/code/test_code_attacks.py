"""Hostile programs: none passes, none outlives its verdict, none takes longer than its time."""

from __future__ import annotations

import time

import pytest
from code_cases import TextCase, read_cases

from rlvr.verifiers import sandbox
from rlvr.verifiers.code import Code

TESTS = "assert f(2) == 4\nassert f(3) == 9\nassert f(10) == 100\n"
CASES = read_cases("attacks.txt")
VERIFIER = Code(timeout=1.5)
WEAKER = (  # what the tier without namespaces must hold as well
    *("os_exit_0_in_call", "always_equal_int", "read_gc", "read_passwd", "write_stdlib"),
    *("symlink_out", "socket_tcp", "ptrace", "child_outlives", "fork_bomb", "memory_of_children"),
    *("disk_many_files", "disk_many_inodes", "deep_folders", "kill_everyone", "kill_parent"),
    *("temporary_file_right", "thread_answers_right", "shell_background", "memory_list"),
)


@pytest.fixture(scope="module")
def warm() -> None:
    """The servers run before the first deadline does, as in a pool."""
    VERIFIER.open()


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_attack(case: TextCase) -> None:
    started = time.monotonic()
    verdict = VERIFIER(case.text, tests=TESTS)
    assert verdict.status in case.statuses, verdict.detail
    assert time.monotonic() - started < VERIFIER.timeout + 1
    assert verdict.reward == (1.0 if case.statuses == ("correct",) else 0.0)


@pytest.mark.parametrize("mode", ["user", "landlock"])
@pytest.mark.parametrize("name", WEAKER)
def test_attack_with_other_walls(mode: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(each for each in CASES if each.name == name)
    monkeypatch.setattr(sandbox, "best", lambda weakest: mode)
    verdict = VERIFIER(case.text, tests=TESTS)
    if "no sandbox" in verdict.detail:
        pytest.skip(verdict.detail)
    assert verdict.status in case.statuses, verdict.detail
    assert verdict.isolation == ("namespaces" if mode == "user" else mode)

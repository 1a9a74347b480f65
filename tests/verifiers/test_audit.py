"""The audit finds what is wrong with a verifier, and says so with its exit code."""

import json
from pathlib import Path

import pytest

from rlvr.cli import run
from rlvr.errors import UserError
from rlvr.verifiers.audit import Rate, quantiles
from rlvr.verifiers.audit_edits import edits, rewrites

LAX = '''
"""Anything that holds the reference."""
def lax(response, reference):
    return str(reference) in response

def slow(response, reference):
    import time
    time.sleep(60)

def broken(response, reference):
    raise RuntimeError("no")
'''


@pytest.fixture
def lax(tmp_path: Path) -> str:
    (tmp_path / "lax.py").write_text(LAX)
    return str(tmp_path / "lax.py")


def cases(folder: Path, *rows: dict[str, object]) -> str:
    path = folder / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_wilson_against_published_numbers() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81/263, 15/148, 0/20, 1/29
    for count, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        rate = Rate.wilson(count, of)
        assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)


def test_quantiles_by_nearest_rank() -> None:
    assert quantiles([float(k) for k in range(1, 101)]) == {"p50": 50.0, "p99": 99.0, "max": 100.0}


def test_rewrites_keep_and_edits_change() -> None:
    assert ("thousands separator", "\\boxed{1,234}") in list(rewrites("1234"))
    changed = dict(edits("[1,2)"))
    assert changed["interval end"] == "\\boxed{[1,2]}"
    assert all(response != "\\boxed{[1,2)}" for response in changed.values())


def test_own_cases_of_math_are_all_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "math", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert report["hangs"] == 0
    assert report["false_accepts"]["of"] > 1000
    assert report["failures"] == []


def test_a_lax_verifier_is_found_out(
    tmp_path: Path, lax: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = cases(
        tmp_path,
        {"response": "it is 4", "reference": "4", "accept": True, "category": "right"},
        {"response": "it is 14", "reference": "4", "accept": False, "category": "wrong", "id": "w"},
    )
    assert run(["audit", f"{lax}:lax", "--cases", file, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["false_accepts"]["count"] == 1
    assert report["false_rejects"]["count"] == 0
    assert [failure["id"] for failure in report["failures"]] == ["w"]
    assert run(["audit", f"{lax}:lax", "--cases", file, "--max-false-accepts", "1"]) == 0
    assert "1/1 = 100.00%" in capsys.readouterr().out


def test_a_broken_verifier_never_passes(tmp_path: Path, lax: str) -> None:
    file = cases(tmp_path, {"response": "5", "reference": "4", "accept": False})
    assert run(["audit", f"{lax}:broken", "--cases", file]) == 1


def test_a_hanging_verifier_is_killed_in_time(
    tmp_path: Path, lax: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = cases(tmp_path, {"response": "4", "reference": "4", "accept": True})
    assert run(["audit", f"{lax}:slow", "--cases", file, "--timeout", "0.5", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["failures"][0]["status"] == "timeout"
    assert report["hangs"] == 0  # it was stopped at its deadline


def test_golds_of_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": f"{k}+{k}?", "answer": f"so\n#### {2 * k}"} for k in range(1, 6)]
    rows[2]["answer"] = "#### none of (these"
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["audit", "--task", "gsm8k", "--task.path", str(tmp_path), "--json"]
    assert run(command) == 1
    report = json.loads(capsys.readouterr().out)
    golds = next(row for row in report["categories"] if row["category"] == "golds")
    assert golds["cases"] == 5
    assert golds["false_rejects"]["count"] == 1
    assert {failure["status"] for failure in report["failures"]} == {"broken"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs a verifier"),
        (["format"], "give --cases"),
        (["math", "--cases", "/nowhere.jsonl"], "No such file"),
        (["math", "--task", "gsm8k", "--cases", "x"], "exclude each other"),
        (["math", "--task.path", "x"], "needs --task"),
        (["mth"], "did you mean 'math'"),
        (["--task", "gsm8k", "--limit", "0"], "at least 1"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        run(["audit", *arguments])


def test_cases_without_a_label_are_refused(tmp_path: Path) -> None:
    file = cases(tmp_path, {"response": "4", "reference": "4"})
    with pytest.raises(UserError, match="line 1: no 'accept'"):
        run(["audit", "math", "--cases", file])

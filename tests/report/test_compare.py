"""`rlvr compare` on run directories and evaluation files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlvr.cli import main

from .conftest import MakeRun
from .synthetic import eval_row, problem_rows, step_row

Capture = pytest.CaptureFixture[str]


def run(
    make_run: MakeRun, name: str, rates: list[float], *, steps: int = 2, task: str = "arithmetic"
) -> Path:
    """A run whose problems are solved with these chances after the last step, and never before."""
    start, end = problem_rows([0.0] * len(rates)), problem_rows(rates, seed=len(name))
    for row in (*start, *end):
        row["task"] = task
    accuracy = sum(row["correct"] for row in end) / 4 / len(end)
    metrics = [
        eval_row(0, 0.0, task=task),
        *(step_row(step) for step in range(1, steps + 1)),
        eval_row(steps, accuracy, task=task),
    ]
    return make_run(name, metrics, problems={0: start, steps: end}, steps=steps)


def compared(capsys: Capture, *words: object) -> dict[str, Any]:
    assert main(["compare", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_better_worse_and_not_distinguishable(make_run: MakeRun, capsys: Capture) -> None:
    weak = run(make_run, "weak", [0.3] * 60)
    strong = run(make_run, "strong", [0.8] * 60)
    same = run(make_run, "again", [0.3] * 60)
    verdicts = {
        (each["a"], each["b"]): each["verdict"]
        for each in compared(capsys, weak, strong, same)["comparisons"]
    }
    assert verdicts == {
        ("A", "B"): "B better",
        ("A", "C"): "not distinguishable",
        ("B", "C"): "B better",
    }


def test_numbers_are_paired_by_problem(make_run: MakeRun, capsys: Capture) -> None:
    a = run(make_run, "a", [0.5] * 10)
    b = run(make_run, "b", [0.5] * 10)
    rows = [json.loads(line) for line in (a / "evals/step-2.jsonl").read_text().splitlines()]
    for row in rows:
        row["correct"] = min(row["correct"] + 1, 4)
    rows[0] |= {"samples": 0, "greedy": None}  # every verdict broken: in neither number
    rows.append({**rows[1], "problem": "only here"})
    rows.reverse()
    (b / "evals/step-2.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = compared(capsys, a, b)["comparisons"]
    assert found["problems"] == 9
    assert found["problems_not_shared"] == 1
    assert found["paired"] is True
    before = [json.loads(line) for line in (a / "evals/step-2.jsonl").read_text().splitlines()]
    gained = sum(row["correct"] < 4 for row in before[1:]) / 4 / 9
    assert found["difference"] == pytest.approx(gained)
    assert gained > 0.1
    assert found["greedy"]["difference"] == 0.0
    assert found["verdict"] == "B better"


def test_a_run_against_its_own_beginning(make_run: MakeRun, capsys: Capture) -> None:
    folder = run(make_run, "run", [0.9] * 30, steps=5)
    found = compared(capsys, f"{folder}@first", folder)
    assert [each["step"] for each in found["runs"]] == [0, 5]
    assert [each["seconds"] for each in found["runs"]] == [None, 10.0]
    assert found["runs"][1]["tokens_sampled"] == 5000
    assert found["comparisons"][0]["verdict"] == "B better"
    assert found["settings"] == {}
    best = compared(capsys, f"{folder}@0", f"{folder}@best")
    assert [each["step"] for each in best["runs"]] == [0, 5]


def test_settings_that_differ(make_run: MakeRun, capsys: Capture) -> None:
    short, long = run(make_run, "s", [0.5] * 5), run(make_run, "l", [0.5] * 5, steps=3)
    assert compared(capsys, short, long)["settings"] == {"steps": ["2", "3"]}


def test_without_results_by_problem_the_means_are_compared(
    make_run: MakeRun, capsys: Capture
) -> None:
    a = make_run("a", [step_row(1), eval_row(1, 0.5)])
    b = make_run("b", [step_row(1), eval_row(1, 0.7)])
    (found,) = compared(capsys, a, b)["comparisons"]
    assert (found["paired"], found["verdict"]) == (False, "B better")
    assert main(["compare", str(a), str(b)]) == 0
    assert "not paired" in capsys.readouterr().out


def test_nothing_in_common(make_run: MakeRun, capsys: Capture) -> None:
    a, b = run(make_run, "a", [0.5] * 5), run(make_run, "b", [0.5] * 5, task="gsm8k")
    assert compared(capsys, a, b)["comparisons"] == []
    assert main(["compare", str(a), str(b)]) == 0
    assert "not distinguishable: no two of them" in capsys.readouterr().out


def test_runs_without_evaluations_show_their_cost(make_run: MakeRun, capsys: Capture) -> None:
    a, b = make_run("a", [step_row(1)]), make_run("b", [step_row(1), step_row(2)])
    assert main(["compare", str(a), str(b)]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines() if line.startswith("tokens sampled")] == [
        ["tokens", "sampled", "1,000", "2,000"]
    ]
    assert "not distinguishable: no two of them" in out


def test_evaluation_files(make_run: MakeRun, tmp_path: Path, capsys: Capture) -> None:
    folder = run(make_run, "run", [0.9] * 30)
    rows = [
        {key: row[key] for key in ("problem", "correct", "samples", "greedy")}
        for row in problem_rows([0.1] * 30)
    ]
    file = tmp_path / "base.json"
    body = {"model": "m", "task": "arithmetic", "split": "test", "accuracy": 0.1}
    file.write_text(json.dumps({**body, "problems_detail": rows}))
    found = compared(capsys, file, folder)
    assert found["runs"][0]["step"] is None
    assert found["comparisons"][0]["verdict"] == "B better"


def test_the_page_a_person_reads(make_run: MakeRun, capsys: Capture) -> None:
    weak = run(make_run, "weak", [0.3] * 60)
    strong = run(make_run, "strong", [0.8] * 60, steps=3)
    assert main(["compare", str(weak), str(strong)]) == 0
    out = capsys.readouterr().out
    for words in (
        f"A  {weak}  (step 2)",
        "A and B on arithmetic test: B better",
        "95% interval +",
        "p < 0.001",
        "minimum detectable difference",
        "paired over 60 problems",
        "settings that differ",
        "another seed may decide otherwise",
    ):
        assert words in out
    assert not [line for line in out.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}"], "two runs or more"),
        ([], "two runs or more"),
        (["{run}", "nowhere"], "no run directory nowhere"),
        (["{run}", "{run}@7"], "not evaluated at @7; first, best, last or one of 0, 2"),
        (["{run}", "{run}@beste"], "not evaluated at @beste"),
        (["{run}", "{run}/evals"], "is no run directory"),
        (["{run}", "{run}/config.toml"], "is not the JSON file of an evaluation"),
        (["{run}", "{run}/x.json"], "no problems_detail"),
        (["{run}", "{run}", "--jsn"], "--jsn"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, make_run: MakeRun, capsys: Capture
) -> None:
    folder = run(make_run, "run", [0.5] * 5)
    (folder / "x.json").write_text("{}")
    assert main(["compare", *(each.format(run=folder) for each in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1

"""HumanEval and MBPP: their splits from a small file, all their golds from the real ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rlvr.errors import UserError
from rlvr.tasks.humaneval import HumanEval
from rlvr.tasks.mbpp import MBPP
from rlvr.types import Problem, Status, Verdict
from rlvr.verifiers.code import Code

DATA = Path(os.environ.get("RLVR_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")


def written(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def human_rows(count: int) -> list[dict[str, object]]:
    return [
        {
            "task_id": f"HumanEval/{n}",
            "prompt": f"def add{n}(x):\n    '''Add {n}.'''\n",
            "canonical_solution": f"    return x + {n}\n",
            "entry_point": f"add{n}",
            "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
        }
        for n in range(count)
    ]


def judge(response: str, problem: Problem) -> Verdict:
    return Code(timeout=10)(response, problem.reference, **problem.fields)


def test_humaneval_from_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, "humaneval.jsonl", human_rows(20))
    problems = HumanEval(path).problems("test")
    assert len(problems) == 20
    assert len(HumanEval(tmp_path).problems("test")) == 20
    assert judge(str(problems[3].reference), problems[3]).correct
    assert judge("    pass\n", problems[3]).status is Status.WRONG
    with pytest.raises(UserError, match="train_share"):
        HumanEval(path).problems("train")


def test_humaneval_shares_do_not_meet(tmp_path: Path) -> None:
    task = HumanEval(written(tmp_path, "humaneval.jsonl", human_rows(60)), train_share=0.5)
    train = {each.id for each in task.problems("train")}
    test = {each.id for each in task.problems("test")}
    assert train
    assert test
    assert not train & test
    assert len(train | test) == 60


def test_mbpp_splits_are_the_papers(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {
            "task_id": number,
            "text": "Add one.",
            "code": "def f(x):\n    return x + 1",
            "test_list": ["assert f(1) == 2", "assert f(2) == 3"],
        }
        for number in (1, 10, 11, 510, 511, 600, 601, 974)
    ]
    task = MBPP(written(tmp_path, "mbpp.jsonl", rows))
    counts = {
        split: len(task.problems(split)) for split in ("prompt", "test", "validation", "train")
    }
    assert counts == {"prompt": 2, "test": 2, "validation": 2, "train": 2}
    problem = task.problems("train")[0]
    assert "assert f(1) == 2" in str(problem.prompt)
    assert "assert f(2) == 3" not in str(problem.prompt)
    assert judge(f"```python\n{problem.reference}\n```", problem).correct
    with pytest.raises(UserError, match="splits"):
        task.problems("dev")


def real(folder: str, name: str) -> Path:
    path = DATA / folder / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


@pytest.mark.realdata
@pytest.mark.slow
def test_every_humaneval_solution_passes_and_no_empty_one() -> None:
    for problem in HumanEval(real("humaneval", "humaneval.jsonl")).problems("test"):
        assert judge(str(problem.reference), problem).correct, problem.id
        whole = f"```python\n{problem.fields['prompt']}{problem.reference}\n```"
        assert judge(whole, problem).correct, problem.id
        assert judge("    pass\n", problem).status is Status.WRONG, problem.id


@pytest.mark.realdata
@pytest.mark.slow
def test_every_mbpp_solution_passes() -> None:
    problems = MBPP(real("mbpp", "mbpp.jsonl")).problems("all")
    failed = {
        problem.id: verdict.detail
        for problem in problems
        if not (verdict := judge(f"```python\n{problem.reference}\n```", problem)).correct
    }
    assert failed == {}

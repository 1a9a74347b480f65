"""Tasks that read files: gsm8k, math, jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlvr.errors import UserError
from rlvr.tasks.gsm8k import GSM8K
from rlvr.tasks.jsonl import Jsonl
from rlvr.tasks.math import Math


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_gsm8k_keeps_the_final_answer(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {"question": "How many?", "answer": "2+3=5\n#### 1,005"})
    (problem,) = GSM8K(path=tmp_path).problems("train")
    assert problem.reference == "1,005"
    assert problem.prompt[-1] == {"role": "user", "content": "How many?"}
    assert len(GSM8K(path=tmp_path, system="").problems("train")[0].prompt) == 1


def test_math_takes_the_answer_or_the_solution_and_filters_levels(tmp_path: Path) -> None:
    write(
        tmp_path / "test.jsonl",
        {"problem": "p", "answer": "2", "level": "Level 1"},
        {"problem": "q", "solution": "so \\boxed{3}", "level": "Level 5"},
    )
    assert [p.reference for p in Math(path=tmp_path).problems("test")] == ["2", "so \\boxed{3}"]
    assert [p.reference for p in Math(path=tmp_path, levels=(1,)).problems("test")] == ["2"]


def test_jsonl_hands_every_other_field_to_the_verifier(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", {"prompt": "Q", "reference": 1, "id": "a", "tests": "t"})
    (problem,) = Jsonl(path=path).problems("train")
    assert (problem.id, problem.prompt, problem.reference) == ("a", "Q", 1)
    assert problem.fields == {"tests": "t"}
    (chat,) = Jsonl(path=path, system="Be brief.").problems("test")
    assert [message["role"] for message in chat.prompt] == ["system", "user"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "line 1: not an object"),
        ("", "holds no problems"),
        ('{"p": 1}', "no text in field 'prompt'"),
        ('{"prompt": []}', "a chat is a list"),
        ('{"prompt": [{"role": "user"}]}', "a chat is a list"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        Jsonl(path=path).problems("train")


def test_a_missing_split_names_those_that_are_there(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {"question": "q", "answer": "a"})
    with pytest.raises(UserError, match=r"no test.jsonl \(splits there: train\)"):
        GSM8K(path=tmp_path).problems("test")
    with pytest.raises(UserError, match="no such file"):
        GSM8K(path=tmp_path / "none").problems("test")


@pytest.mark.realdata
def test_real_gsm8k(real_data: Path) -> None:
    task = GSM8K(path=real_data / "gsm8k")
    assert [len(task.problems(split)) for split in ("train", "test")] == [7473, 1319]


@pytest.mark.realdata
def test_real_math(real_data: Path) -> None:
    task = Math(path=real_data / "math")
    assert [len(task.problems(split)) for split in ("train", "test")] == [7470, 5000]

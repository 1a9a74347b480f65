"""All golds of MATH and GSM8K: each agrees with itself, GSM8K's with no other problem's different one."""

import json
import random
from pathlib import Path

import pytest

from rlvr.types import Status
from rlvr.verifiers.math import Math

pytestmark = pytest.mark.realdata


def rows(folder: Path, *files: str) -> list[dict[str, str]]:
    found = []
    for file in files:
        text = (folder / file).read_text(encoding="utf-8")
        found += [json.loads(line) for line in text.split("\n") if line]
    return found


def test_math_golds_against_themselves(real_data: Path) -> None:
    golds = [row["answer"] for row in rows(real_data, "math/test.jsonl", "math/train.jsonl")]
    assert len(golds) == 12_474
    without = [gold for gold in golds if not gold or not gold.strip()]
    assert len(without) == 4  # the data has no answer there
    judge = Math()
    failed = [
        gold
        for gold in golds
        if gold not in without and not judge(f"\\boxed{{{gold}}}", gold).correct
    ]
    assert failed == []


def test_math_solutions_as_references(real_data: Path) -> None:
    judge = Math()
    for row in rows(real_data, "math/test.jsonl"):
        assert judge(f"\\boxed{{{row['answer']}}}", row["solution"]).correct, row["answer"]


def test_gsm8k_golds_against_themselves_and_others(real_data: Path) -> None:
    solutions = [row["answer"] for row in rows(real_data, "gsm8k/test.jsonl", "gsm8k/train.jsonl")]
    finals = [solution.rsplit("####", 1)[1].strip() for solution in solutions]
    assert len(finals) == 8_792
    values = [int(final.replace(",", "")) for final in finals]
    judge, draw = Math(), random.Random(0)
    for index, final in enumerate(finals):
        assert judge(solutions[index], final).correct, final
        other = draw.choice(
            [k for k in draw.sample(range(len(finals)), 20) if values[k] != values[index]]
        )
        assert judge(solutions[other], final).status is Status.WRONG, (final, finals[other])

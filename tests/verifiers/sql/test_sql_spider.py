"""Every Spider reference against itself, against another query, and against its own answer."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from rlvr.verifiers.sql import Sql

pytestmark = pytest.mark.realdata
Row = dict[str, str]


@pytest.fixture(scope="module")
def spider(real_data: Path) -> Path:
    folder = real_data / "spider_rebuilt"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def load(folder: Path, split: str) -> list[Row]:
    lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [{**row, "path": f"{folder}/database/{row['db_id']}.sqlite"} for row in rows]


def judge(verifier: Sql, response: str, row: Row) -> str:
    return verifier(response, row["sql"], database=row["path"]).status


@pytest.mark.parametrize("split", ["dev", pytest.param("train", marks=pytest.mark.slow)])
def test_every_reference_against_itself(spider: Path, split: str) -> None:
    verifier = Sql()
    failed = [
        row["id"] for row in load(spider, split) if judge(verifier, row["sql"], row) != "correct"
    ]
    assert failed == []


def test_against_another_query_of_the_same_database(spider: Path) -> None:
    rows, verifier, rng = load(spider, "dev"), Sql(), random.Random(0)
    wrong = 0
    for row in rows:
        other = rng.choice([each["sql"] for each in rows if each["db_id"] == row["db_id"]])
        same = _multiset(row["path"], other) == _multiset(row["path"], row["sql"])
        status = judge(verifier, other, row)
        assert status == "wrong" or same, (row["id"], other)
        wrong += status == "wrong"
    assert wrong > 800


def test_an_answer_that_was_written_down(spider: Path) -> None:
    """Right on the database as it is; perturbed copies find most out, and keep the reference."""
    plain, strict = Sql(), Sql(perturb=2)
    caught = passed = 0
    for row in random.Random(1).sample(load(spider, "dev"), 150):
        assert judge(strict, row["sql"], row) == "correct", row["id"]
        found = _rows(row["path"], row["sql"])
        if not 0 < len(found) < 100:
            continue
        written = "VALUES " + ", ".join(f"({', '.join(map(_literal, each))})" for each in found)
        assert judge(plain, written, row) == "correct", row["id"]
        caught += judge(strict, written, row) == "wrong"
        passed += 1
    assert caught > 0.88 * passed


def _rows(path: str, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def _multiset(path: str, query: str) -> Sequence[str]:
    return sorted(map(repr, _rows(path, query)))


def _literal(cell: object) -> str:
    if isinstance(cell, str):
        return "'" + cell.replace("'", "''") + "'"
    return "NULL" if cell is None else repr(cell)

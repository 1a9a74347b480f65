"""The task text2sql: Spider's layouts, the schema in the prompt."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from rlvr.errors import UserError
from rlvr.tasks.text2sql import Text2SQL, schema
from rlvr.verifiers.sql import Sql

QUESTION = {"db_id": "pets", "question": "How many pets?", "query": "SELECT count(*) FROM pet"}


def database(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE pet (id INTEGER PRIMARY KEY, name TEXT);"
        "CREATE VIEW names AS SELECT name FROM pet;"
        "INSERT INTO pet VALUES (1, 'Rex'), (2, NULL);"
    )
    connection.close()
    return path


def spider(folder: Path) -> Path:
    database(folder / "database" / "pets" / "pets.sqlite")
    (folder / "dev.json").write_text(json.dumps([QUESTION]))
    return folder


def test_spiders_own_layout(tmp_path: Path) -> None:
    (problem,) = Text2SQL(path=spider(tmp_path)).problems("test")
    assert problem.reference == "SELECT count(*) FROM pet"
    assert problem.fields == {"database": str(tmp_path / "database" / "pets" / "pets.sqlite")}
    asked = problem.prompt[-1]["content"]
    assert "CREATE TABLE pet (id INTEGER PRIMARY KEY, name TEXT);" in asked
    assert asked.endswith("How many pets?")
    assert Sql()("SELECT 2", problem.reference, **problem.fields).correct


def test_one_object_a_line_and_flat_databases(tmp_path: Path) -> None:
    database(tmp_path / "database" / "pets.sqlite")
    row = {"id": "q7", "db_id": "pets", "question": "Who?", "sql": "SELECT name FROM pet"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    (problem,) = Text2SQL(path=tmp_path, system="").problems("train")
    assert (problem.id, problem.split, len(problem.prompt)) == ("q7", "train", 1)


def test_rows_are_shown_where_asked(tmp_path: Path) -> None:
    shown = schema(database(tmp_path / "pets.sqlite"), rows=2)
    assert shown.splitlines() == [
        "CREATE TABLE pet (id INTEGER PRIMARY KEY, name TEXT);",
        "-- id | name",
        "-- 1 | Rex",
        "-- 2 | NULL",
        "CREATE VIEW names AS SELECT name FROM pet;",
    ]


def test_nothing_is_written_beside_the_database(tmp_path: Path) -> None:
    path = database(tmp_path / "pets.sqlite")
    before = path.stat().st_mtime_ns
    schema(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pets.sqlite"]
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"db_id": "cats"}, "no database 'cats'"),
        ({"db_id": "../pets"}, "not the name of a database"),
        ({"question": ""}, "'question'"),
        ({"query": None}, "'query'"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, row: dict[str, str], said: str) -> None:
    folder = spider(tmp_path)
    (folder / "dev.json").write_text(json.dumps([{**QUESTION, **row}]))
    with pytest.raises(UserError, match=said):
        Text2SQL(path=folder).problems("dev")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Text2SQL(path=tmp_path / "none").problems("train")
    with pytest.raises(UserError, match=r"looked for train\.jsonl"):
        Text2SQL(path=spider(tmp_path)).problems("train")
    with pytest.raises(UserError, match="no split 'validation'"):
        Text2SQL(path=tmp_path).problems("validation")
    (tmp_path / "dev.json").write_text("[")
    with pytest.raises(UserError, match="cannot read"):
        Text2SQL(path=tmp_path).problems("test")


@pytest.mark.realdata
def test_spider(real_data: Path) -> None:
    folder = real_data / "spider_rebuilt"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    task = Text2SQL(path=folder)
    assert len(task.problems("test")) == 914
    assert len(task.problems("train")) == 5_939

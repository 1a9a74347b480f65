"""The same verifier on DuckDB files."""

from __future__ import annotations

from pathlib import Path

import pytest
from sql_cases import HERE, table

from rlvr.verifiers.sql import Sql

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("duck") / "shop.duckdb"
    with duckdb.connect(str(made)) as connection:
        connection.execute((HERE / "shop.duckdb.sql").read_text())
    return made


@pytest.mark.parametrize(("status", "reference", "response"), table("duckdb"))
def test_cases(path: Path, status: str, reference: str, response: str) -> None:
    before = (path.read_bytes(), sorted(path.parent.iterdir()))
    verifier = Sql(timeout=3.0)
    for database in (str(path), f"duckdb://{path}"):
        verdict = verifier(response, reference, database=database)
        assert verdict.status == status, verdict.detail
        assert verdict.seconds < 4.0
    assert (path.read_bytes(), sorted(path.parent.iterdir())) == before


def test_a_log_beside_the_file_is_read_and_left_alone(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "busy.duckdb"
    copy.write_bytes(path.read_bytes())
    with duckdb.connect(str(copy)) as connection:
        connection.execute("INSERT INTO s (id) VALUES (4)")
        before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
        assert "busy.duckdb.wal" in before
        verdict = Sql(timeout=3.0)("SELECT 4", "SELECT count(*) FROM s", database=str(copy))
        assert verdict.status in ("correct", "broken")  # broken where the writer's lock is kept
        assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before
    assert Sql(timeout=3.0)("SELECT 4", "SELECT count(*) FROM s", database=str(copy)).correct


def test_kinds_do_not_mix(path: Path, shops: list[str]) -> None:
    assert Sql()("SELECT 1", "SELECT 1", database=[str(path), shops[0]]).status == "broken"


def test_perturbed_copies_are_refused(path: Path) -> None:
    assert Sql(perturb=1)("SELECT 1", "SELECT 1", database=str(path)).status == "broken"

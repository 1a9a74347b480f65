"""The verifier as a whole: settings, references, databases, logs beside the file, limits."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sql_cases import build

from rlvr.types import Verdict
from rlvr.verifiers.sql import Sql

COUNT = "SELECT count(*) FROM singer"
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
# one instruction that runs for minutes and never looks at the clock
STUCK = (
    "SELECT length(replace(printf('%.*c', 8000000, 'a'), printf('%.*c', 4000000, 'a') || 'b', ''))"
)


def judge(response: str, reference: object, database: object, **settings: object) -> Verdict:
    return Sql(**settings)(response, reference, database=database)


def test_any_of_several_references(shops: list[str]) -> None:
    references = ["SELECT max(age) FROM singer", COUNT]
    assert judge(COUNT, references, shops).correct
    assert judge("SELECT min(age) FROM singer", references, shops).status == "wrong"


def test_one_reference_must_agree_everywhere(shops: list[str]) -> None:
    # right by the first reference on A and by the second on B, by neither on both
    mixed = (
        "SELECT iif((SELECT max(id) FROM singer) = 7, (SELECT max(age) FROM singer), "
        "(SELECT count(*) FROM singer))"
    )
    assert judge(mixed, ["SELECT max(age) FROM singer", COUNT], shops).status == "wrong"


def test_an_unusable_reference_among_several(shops: list[str]) -> None:
    references = ["SELECT nope FROM singer", COUNT]
    assert judge(COUNT, references, shops).correct
    assert judge("SELECT 1", references, shops).status == "broken"  # it might have agreed
    assert judge("DROP TABLE singer", references, shops).status == "forbidden"


def test_equal_on_one_database_only(shops: list[str]) -> None:
    assert judge("SELECT 7", COUNT, shops[0]).correct
    verdict = judge("SELECT 7", COUNT, shops)
    assert verdict.status == "wrong"
    assert "shop_b" in verdict.detail


@pytest.mark.parametrize(
    "database", [None, "", [], "/no/such/file", ["/no/such/file"], 5, [5], "nosql://x", "/"]
)
def test_no_database_is_broken(database: object) -> None:
    verdict = judge(COUNT, COUNT, database)
    assert (verdict.status, verdict.reward) == ("broken", None)
    assert verdict.detail


def test_one_missing_of_several_is_broken(shops: list[str]) -> None:
    assert judge(COUNT, COUNT, [*shops, "/no/such/file"]).status == "broken"


@pytest.mark.parametrize("reference", [None, "", "  ", [], [""], 5, [5], {"a": 1}, "-- x"])
def test_no_reference_is_broken(shops: list[str], reference: object) -> None:
    assert judge(COUNT, reference, shops).status == "broken"


def test_what_is_no_database_is_broken(tmp_path: Path) -> None:
    text = tmp_path / "notes.sqlite"
    text.write_text("not a database " * 100)
    assert judge(COUNT, COUNT, str(text)).status == "broken"
    cut = tmp_path / "cut.sqlite"
    whole = build(tmp_path / "whole.sqlite", "shop_a.sql").read_bytes()
    cut.write_bytes(whole[:5000] + b"\xff" * 9000)
    assert judge(COUNT, COUNT, str(cut)).status == "broken"


def test_an_empty_file_is_an_empty_database(tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    assert judge("SELECT 1", "SELECT 1", str(empty)).correct
    assert empty.stat().st_size == 0


def test_urls_and_relative_paths(shops: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(shops[0]).parent)
    for name in (
        "shop_a.sqlite",
        f"sqlite://{shops[0]}",
        f"sqlite:///{shops[0]}",
        f"file:{shops[0]}"[5:],
    ):
        assert judge(COUNT, COUNT, name).correct, name


def test_a_log_beside_the_file_is_read_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("CREATE TABLE t (a)")
    writer.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(3_000)])
    writer.commit()
    writer.execute("DELETE FROM t WHERE a >= 1000")
    writer.commit()
    writer.execute("INSERT INTO t VALUES ('not committed')")
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert "log.sqlite-wal" in before
    assert judge("SELECT 1000", "SELECT count(*) FROM t", str(path)).correct
    assert judge("SELECT 999", "SELECT max(a) FROM t", str(path)).correct
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before
    writer.commit()
    assert judge("SELECT 1001", "SELECT count(*) FROM t", str(path)).correct
    writer.execute("PRAGMA wal_checkpoint(RESTART)")
    writer.execute("DELETE FROM t WHERE a < 500")
    writer.commit()
    assert judge("SELECT 501", "SELECT count(*) FROM t", str(path)).correct
    writer.close()
    assert judge("SELECT 501", "SELECT count(*) FROM t", str(path)).correct


def test_a_cut_off_transaction_is_broken(tmp_path: Path) -> None:
    path = build(tmp_path / "shop.sqlite", "shop_a.sql")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size=1")
    writer.execute("BEGIN")
    writer.execute(
        "CREATE TABLE big AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c "
        "LIMIT 5000) SELECT hex(x) FROM c"
    )
    journal = path.with_name("shop.sqlite-journal")
    assert journal.exists()
    verdict = judge(COUNT, COUNT, str(path))
    writer.execute("ROLLBACK")
    writer.close()
    assert verdict.status == "broken"
    assert "journal" in verdict.detail
    assert judge(COUNT, COUNT, str(path)).correct


def test_a_changed_database_is_read_again(tmp_path: Path) -> None:
    path = build(tmp_path / "shop.sqlite", "shop_a.sql")
    assert judge("SELECT 7", COUNT, str(path)).correct
    writer = sqlite3.connect(path)
    writer.execute("DELETE FROM singer WHERE id = 7")
    writer.commit()
    writer.close()
    assert judge("SELECT 7", COUNT, str(path)).status == "wrong"
    assert judge("SELECT 6", COUNT, str(path)).correct


def test_large_files_are_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "large.sqlite"
    writer = sqlite3.connect(path)
    writer.execute("CREATE TABLE t (a, b)")
    writer.executemany("INSERT INTO t VALUES (?, ?)", ((i, bytes(1 << 20)) for i in range(52)))
    writer.commit()
    writer.close()
    before = (path.stat().st_mtime_ns, path.stat().st_size)
    assert judge("SELECT sum(a) FROM t", "SELECT 1326", str(path)).correct
    assert judge("DELETE FROM t RETURNING 1326", "SELECT 1326", str(path)).status == "forbidden"
    assert (path.stat().st_mtime_ns, path.stat().st_size) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["large.sqlite"]


def test_full_text_tables_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    writer = sqlite3.connect(path)
    writer.execute("CREATE VIRTUAL TABLE notes USING fts5(body)")
    writer.executemany("INSERT INTO notes VALUES (?)", [("red apple",), ("green pear",)])
    writer.commit()
    writer.close()
    query = "SELECT body FROM notes WHERE notes MATCH 'apple'"
    assert judge(query, "SELECT 'red apple'", str(path)).correct


def test_a_permutation_of_columns_only_where_asked(shops: list[str]) -> None:
    reference, response = (
        "SELECT name, age FROM singer ORDER BY age",
        "SELECT age, name FROM singer ORDER BY age",
    )
    assert judge(response, reference, shops).status == "wrong"
    assert judge(response, reference, shops, any_permutation=True).correct
    assert (
        judge(
            "SELECT age, name FROM singer ORDER BY name", reference, shops, any_permutation=True
        ).status
        == "wrong"
    )


def test_caps(shops: list[str]) -> None:
    many = "SELECT a.id FROM singer a, singer b"
    assert judge(many, COUNT, shops[0], max_rows=10).status == "wrong"
    assert judge(COUNT, many, shops[0], max_rows=10).status == "broken"
    long = "SELECT printf('%.*c', 5000, 'x')"
    assert judge(long, COUNT, shops[0], max_bytes=1000).status == "wrong"
    assert judge(COUNT, long, shops[0], max_bytes=1000).status == "broken"
    assert judge(long, long, shops[0], max_bytes=6000).correct


def test_memory_is_bounded(shops: list[str]) -> None:
    hungry = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3000) "
        "SELECT count(*) FROM (SELECT DISTINCT printf('%.*c', 1000000, 'x') || x FROM c)"
    )
    verdict = judge(hungry, COUNT, shops[0], query_mb=64, timeout=20)
    assert verdict.status == "timeout"
    assert "memory" in verdict.detail
    assert judge(COUNT, COUNT, shops[0], query_mb=64).correct


@pytest.mark.parametrize("query", [ENDLESS, STUCK])
def test_late_queries_end_and_the_next_is_served(shops: list[str], query: str) -> None:
    verifier = Sql(timeout=1.5)
    for _ in range(2):
        started = time.monotonic()
        assert verifier(query, COUNT, database=shops[0]).status == "timeout"
        assert time.monotonic() - started < 2.5
        assert verifier(COUNT, COUNT, database=shops[0]).correct
        assert verifier(COUNT, query, database=shops[0]).status == "broken"
        assert verifier(COUNT, COUNT, database=shops[0]).correct


def test_from_many_threads(shops: list[str]) -> None:
    verifier, right, wrong = Sql(), [], []

    def work(number: int) -> None:
        for _ in range(10):
            right.append(verifier(f"SELECT {number}", f"SELECT {number}", database=shops).status)
            wrong.append(verifier("SELECT -1", f"SELECT {number}", database=shops).status)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == ["correct"] * 80
    assert wrong == ["wrong"] * 80


def test_after_a_fork_the_child_has_its_own_processes(shops: list[str]) -> None:
    verifier = Sql(timeout=3.0)
    assert verifier(COUNT, COUNT, database=shops).correct
    child = os.fork()
    if child == 0:
        good = (
            verifier(COUNT, COUNT, database=shops).correct
            and verifier("SELECT 0", COUNT, database=shops).reward == 0.0
        )
        os._exit(0 if good else 1)
    assert verifier(COUNT, COUNT, database=shops).correct
    assert os.waitpid(child, 0)[1] == 0
    assert verifier(COUNT, COUNT, database=shops).correct


def test_nothing_is_left_when_the_parent_is_killed(shops: list[str]) -> None:
    script = (
        "import sys, time\n"
        "from rlvr.verifiers.sql import Sql\n"
        "from rlvr.verifiers.sql.verifier import court\n"
        "import os\n"
        "v = Sql(timeout=1.0)\n"
        "v.open()\n"
        f"assert v({COUNT!r}, {COUNT!r}, database={shops[0]!r}).correct\n"
        "c = court(v, 'sqlite', os.getpid())\n"
        "print(c._references._process.pid, c._responses._process.pid, flush=True)\n"
        f"v({ENDLESS!r}, {COUNT!r}, database={shops[0]!r})\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        children = [int(word) for word in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(_alive(pid) for pid in children):
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in children)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def test_the_query_process_has_no_secrets_and_no_torch(
    shops: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLVR_TEST_SECRET", "x")
    script = (
        "import os, sys\n"
        "from rlvr.verifiers.sql import Sql\n"
        "from rlvr.verifiers.sql.verifier import court\n"
        "v = Sql()\n"
        f"assert v({COUNT!r}, {COUNT!r}, database={shops[0]!r}).correct\n"
        "assert 'torch' not in sys.modules\n"
        "pid = court(v, 'sqlite', os.getpid())._responses._process.pid\n"
        "assert b'SECRET' not in open(f'/proc/{pid}/environ', 'rb').read()\n"
        "maps = open(f'/proc/{pid}/maps').read()\n"
        "assert 'sqlite' in maps and 'torch' not in maps and 'numpy' not in maps\n"
        "import subprocess\n"
        "names = 'import sys, rlvr.verifiers.sql.runner; print(*sys.modules)'\n"
        "loaded = subprocess.run([sys.executable, '-c', names], capture_output=True, text=True).stdout\n"
        "assert 'rlvr.verifiers.sql.wire' in loaded and 'sqlglot' not in loaded\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(
    "settings", [{"timeout": 0}, {"timeout": -1}, {"perturb": -1}, {"max_rows": 0}]
)
def test_settings_without_sense(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Sql(**settings)


def test_never_raises(shops: list[str]) -> None:
    for response in (
        None,
        5,
        b"SELECT 1",
        "\0",
        "\ud800",
        "x" * 300_000,
        "SELECT " + "(" * 50_000,
        "SELECT " + "1," * 90_000 + "1",
    ):
        verdict = judge(response, COUNT, shops)
        assert verdict.reward == 0.0, (str(response)[:20], verdict)
    deep = "SELECT " + "(" * 20_000 + "1" + ")" * 20_000
    assert judge(COUNT, deep, shops).status == "broken"
    assert judge(COUNT, "SELECT '\ud800'", shops).status == "broken"

"""`rlvr bench verify`: verdicts a second of each verifier in the pool, and how long one takes.

Not measured: hard cases. Answers are short, programs and queries small: it is the verifiers' own cost.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rlvr.verifiers.case import Case
from rlvr.verifiers.pool import Pool

# a new number in every case, so that no verdict is remembered from an earlier one


def math(count: int, _: Path) -> Iterator[Case]:
    for number in range(count):
        yield Case(f"So it is $\\boxed{{\\frac{{{2 * number + 1}}}{{2}}}}$.", f"{number}.5")


def code(count: int, _: Path) -> Iterator[Case]:
    for number in range(count):
        yield Case(
            f"```python\ndef add(a):\n    return a + {number}\n```",
            fields={"tests": f"assert add(1) == {number + 1}"},
        )


def sql(count: int, folder: Path) -> Iterator[Case]:
    path = folder / "numbers.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("create table numbers (value integer)")
        database.executemany("insert into numbers values (?)", [(each,) for each in range(1000)])
    database.close()
    for number in range(count):
        yield Case(
            f"select value from numbers where value >= {number}",
            f"select value from numbers where not value < {number}",
            fields={"database": str(path)},
        )


KINDS: dict[str, tuple[Callable[[int, Path], Iterator[Case]], int]] = {
    "math": (math, 1000),
    "code": (code, 60),
    "sql": (sql, 300),
}


def measure(rounds: int, workers: int) -> list[dict[str, Any]]:
    """One row a verifier; the median of the rounds, the processes' start not counted."""
    rows = []
    for name, (cases, count) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            given = list(cases(count, Path(folder)))
            with Pool(name, workers=workers, cache=0, max_broken=1.0) as pool:
                first = next(pool.map(given[:1]))
                turns = [_turn(pool, given) for _ in range(rounds)]
        rows.append(
            {
                "verifier": name,
                "cases": count,
                "correct": turns[0]["correct"],
                "detail": "" if first.correct else first.detail,
                **{
                    each: statistics.median(turn[each] for turn in turns)
                    for each in ("verdicts_per_second", "seconds_p50", "seconds_p99")
                },
            }
        )
    return rows


def _turn(pool: Pool, cases: Sequence[Case]) -> dict[str, float]:
    started = time.perf_counter()
    verdicts = list(pool.map(cases))
    seconds = time.perf_counter() - started
    took = sorted(each.seconds for each in verdicts)
    return {
        "verdicts_per_second": len(cases) / seconds,
        "seconds_p50": took[len(took) // 2],
        "seconds_p99": took[int(0.99 * (len(took) - 1))],
        "correct": sum(each.correct for each in verdicts),
    }


def table(rows: Sequence[dict[str, Any]], machine: str) -> str:
    """For people."""
    lines = [
        machine,
        "",
        f"{'':<8}{'cases':>7}{'correct':>9}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}",
    ]
    lines += [
        f"{row['verifier']:<8}{row['cases']:>7}{row['correct']:>9}"
        f"{row['verdicts_per_second']:>9.0f}{1000 * row['seconds_p50']:>9.2f}"
        f"{1000 * row['seconds_p99']:>9.2f}  {row['detail']}"
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)

"""Verdicts a second of the verifier `sql` on Spider's references against themselves.

Not measured: large databases and slow queries; Spider's databases are small, so this is the
verifier's own cost. `first` runs every reference for the first time, `again` has its result,
`pool` is `again` through a pool of workers.

    python benchmarks/verify_sql.py --data FOLDER/spider [--workers 2] [--perturb 0] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from rlvr.tasks.text2sql import Text2SQL
from rlvr.types import Problem, Verdict
from rlvr.verifiers.pool import Case, Pool
from rlvr.verifiers.sql import Sql


def timed(judge: Callable[[Problem], Verdict], problems: list[Problem]) -> dict[str, float]:
    """Verdicts a second, and milliseconds of one."""
    took, started = [], time.perf_counter()
    for problem in problems:
        before = time.perf_counter()
        verdict = judge(problem)
        took.append(1000 * (time.perf_counter() - before))
        assert verdict.correct, (problem.id, verdict.detail)
    took.sort()
    return {
        "verdicts/s": len(problems) / (time.perf_counter() - started),
        "p50 ms": took[len(took) // 2],
        "p99 ms": took[int(0.99 * len(took))],
        "max ms": took[-1],
    }


def measure(data: Path, workers: int, perturb: int) -> dict[str, dict[str, float]]:
    """The table's rows. Responses differ in a comment, so that no verdict is remembered."""
    problems, verifier = list(Text2SQL(path=data).problems("dev")), Sql(perturb=perturb, timeout=10)
    verifier.prepare()
    verifier.open()

    def judge(problem: Problem) -> Verdict:
        return verifier(str(problem.reference), problem.reference, **problem.fields)

    table = {"first": timed(judge, problems), "again": timed(judge, problems)}
    with Pool(verifier, workers=workers) as pool:
        for number in range(2):
            cases = [
                Case(f"{problem.reference} -- {number}", problem.reference, problem.fields)
                for problem in problems
            ]
            started = time.perf_counter()
            assert all(verdict.correct for verdict in pool.map(cases))
            rate = len(problems) / (time.perf_counter() - started)
            table[f"pool of {workers}"] = {"verdicts/s": rate}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--perturb", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    table = measure(given.data, given.workers, given.perturb)
    if given.json:
        print(json.dumps(table))
        return
    for name, row in table.items():
        print(f"{name:12}", "  ".join(f"{key} {value:8.2f}" for key, value in row.items()))


if __name__ == "__main__":
    main()

"""Verdicts a second, p50 and p99 of our verifiers beside the plain alternative, in one run on the same cases.

    python benchmarks/verify.py [--only math|code|sql] [--data FOLDER] [--limit N] [--workers 2] [--json]

`math`: ours through the pool against plain math-verify (boxed LaTeX first, then expressions; its own alarm as the
timeout) in as many processes. Every gold once as its own response and once as another problem's; the two alternate in
chunks, so that whatever else the machine does hits both. The pool's cache is off. `code` and `sql` have files
of their own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlvr.verifiers.case import Case
from rlvr.verifiers.pool import Pool

CHUNK = 100  # cases a turn
Pair = tuple[str, str]  # reference, response


def pairs(files: list[Path], limit: int) -> list[Pair]:
    """Each gold with itself and with another problem's gold, in a fixed random order."""
    golds = []
    for file in files:
        for line in file.open(encoding="utf-8"):
            answer = json.loads(line).get("answer") or ""
            golds.append(answer.rsplit("####", 1)[-1].strip())
    golds = [gold for gold in golds if gold]
    draw = random.Random(0)
    chosen = draw.sample(golds, min(limit, len(golds)))
    return [
        (gold, f"So the answer is $\\boxed{{{said}}}$.")
        for index, gold in enumerate(chosen)
        for said in (gold, chosen[index - 1])
    ]


def plain(pair: Pair) -> tuple[bool, float]:
    """math-verify as its README says. Returns its verdict and the seconds it took."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    start = time.perf_counter()
    how = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    right = verify(parse(f"\\boxed{{{pair[0]}}}", how), parse(pair[1], how))
    return right, time.perf_counter() - start


def measure(cases: list[Pair], workers: int) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    with (
        Pool("math", workers=workers, cache=0) as pool,
        multiprocessing.get_context("spawn").Pool(workers) as processes,
    ):
        pool.ready()
        processes.map(
            plain, cases[: 2 * workers], chunksize=1
        )  # imports done before the clock runs

        def ours(chunk: list[Pair]) -> list[tuple[bool, float]]:
            verdicts = pool.map(Case(response, gold) for gold, response in chunk)
            return [(verdict.correct, verdict.seconds) for verdict in verdicts]

        def theirs(chunk: list[Pair]) -> list[tuple[bool, float]]:
            return processes.map(plain, chunk, chunksize=5)

        judges: dict[str, Callable[[list[Pair]], list[tuple[bool, float]]]] = {
            "ours": ours,
            "math-verify": theirs,
        }
        spent = dict.fromkeys(judges, 0.0)
        found: dict[str, list[tuple[bool, float]]] = {name: [] for name in judges}
        for at in range(0, len(cases), CHUNK):
            for name, judge in judges.items():
                start = time.perf_counter()
                found[name] += judge(cases[at : at + CHUNK])
                spent[name] += time.perf_counter() - start
    for name, outcomes in found.items():
        seconds = sorted(each for _, each in outcomes)
        table[name] = {
            "verdicts/s": len(outcomes) / spent[name],
            "p50 ms": 1e3 * seconds[len(seconds) // 2],
            "p99 ms": 1e3 * seconds[int(0.99 * len(seconds))],
            "accepted": sum(right for right, _ in outcomes),
        }
    table["ours"]["times math-verify"] = (
        table["ours"]["verdicts/s"] / table["math-verify"]["verdicts/s"]
    )
    return table


def math(data: Path, limit: int, workers: int) -> dict[str, Any]:
    sets = {
        "gsm8k": [data / "gsm8k" / "test.jsonl"],
        "math": [data / "math" / "test.jsonl", data / "math" / "train.jsonl"],
    }
    return {name: measure(pairs(files, limit), workers) for name, files in sets.items()}


def code(data: Path, limit: int, workers: int) -> dict[str, Any]:
    import verify_code

    programs = verify_code.rows(data / "humaneval" / "humaneval.jsonl", limit)
    return {"humaneval": verify_code.measure(programs, workers)}


def sql(data: Path, limit: int, workers: int) -> dict[str, Any]:
    import verify_sql

    return {"spider": verify_sql.measure(data / "spider_rebuilt", workers, 0)}


KINDS = {"math": math, "code": code, "sql": sql}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--only", choices=list(KINDS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RLVR_DATA") or beside))
    parser.add_argument("--limit", type=int, default=1000, help="golds of each data set")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    kinds = [given.only] if given.only else list(KINDS)
    tables = {kind: KINDS[kind](given.data, given.limit, given.workers) for kind in kinds}
    if given.json:
        print(json.dumps({"load": os.getloadavg(), "workers": given.workers, **tables}))
        return
    for kind, sets in tables.items():
        for name, table in sets.items():
            for judge, row in table.items():
                numbers = "  ".join(f"{key} {value:,.2f}" for key, value in row.items())
                print(f"{kind:5} {name:10} {judge:12} {numbers}")


if __name__ == "__main__":
    main()

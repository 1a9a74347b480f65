"""Verdicts a second of the code sandbox and of a bare `python -I` process per program, on the same programs.

    python benchmarks/verify_code.py [--data humaneval.jsonl] [--limit N] [--streams 1]

Both judge HumanEval's canonical solutions by HumanEval's tests (without the file: generated sums). The bare process
has no isolation at all: it runs prompt, solution and tests in one interpreter and its exit code is the verdict. The two
take turns program by program, so that whatever else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rlvr.verifiers.code import Code


def rows(path: Path, limit: int) -> list[dict[str, str]]:
    if path.is_file():
        return [json.loads(line) for line in path.read_text().splitlines()][:limit]
    return [
        {
            "prompt": f"def add{number}(a, b):\n",
            "canonical_solution": f"    return a + b + {number}\n",
            "entry_point": f"add{number}",
            "test": f"def check(candidate):\n    assert candidate(1, 2) == {3 + number}\n",
        }
        for number in range(min(limit, 100))
    ]


def bare(row: dict[str, str]) -> bool:
    program = (
        f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, timeout=10, check=False
    )
    return done.returncode == 0


def ours(verifier: Code, row: dict[str, str]) -> bool:
    verdict = verifier(
        row["canonical_solution"],
        tests=row["test"],
        entry_point=row["entry_point"],
        prompt=row["prompt"],
    )
    return verdict.correct


def measure(data: list[dict[str, str]], streams: int) -> dict[str, dict[str, float]]:
    """name -> verdicts/s and milliseconds, each stream on its own slice of the data."""
    verifier = Code()
    seconds: dict[str, list[float]] = {"bare python -I": [], "code sandbox": []}

    def one_stream(part: list[dict[str, str]]) -> None:
        ours(verifier, part[0])  # starts the servers
        for row in part:
            for name, judge in (
                ("bare python -I", bare),
                ("code sandbox", lambda each: ours(verifier, each)),
            ):
                started = time.perf_counter()
                right = judge(row)
                seconds[name].append(time.perf_counter() - started)
                if not right:
                    raise SystemExit(f"{name}: a canonical solution failed: {row['entry_point']}")

    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(one_stream, [data[start::streams] for start in range(streams)]))
    table = {}
    for name, each in seconds.items():
        each.sort()
        table[name] = {
            "per_second": streams * len(each) / sum(each),
            "p50_ms": 1000 * each[len(each) // 2],
            "p99_ms": 1000 * each[min(len(each) - 1, int(0.99 * len(each)))],
        }
    return table


def default_data() -> Path:
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("RLVR_DATA") or shared) / "humaneval" / "humaneval.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--limit", type=int, default=164)
    parser.add_argument("--streams", type=int, default=1)
    options = parser.parse_args()
    table = measure(rows(options.data, options.limit), options.streams)
    print(f"{'':16} {'verdicts/s':>10} {'p50 ms':>8} {'p99 ms':>8}")
    for name, each in table.items():
        print(f"{name:16} {each['per_second']:10.1f} {each['p50_ms']:8.1f} {each['p99_ms']:8.1f}")
    first, second = table.values()
    print(f"ratio {second['per_second'] / first['per_second']:.1f}x")


if __name__ == "__main__":
    main()

"""Verdicts a second through the pool, with p50 and p99 of the time from `submit` to the answer for
one case alone.

Not measured: verifiers. `nothing` answers at once, so the first row is the pool's own cost; `work`
spins for a given time.

    python benchmarks/pool.py [--workers 2] [--seconds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from dataclasses import dataclass

from rlvr.verifiers.pool import Case, Pool


@dataclass(frozen=True)
class Nothing:
    """Compares two strings."""

    def __call__(self, response: str, reference: object = None) -> bool:
        return response == reference


@dataclass(frozen=True)
class Work:
    """Spins for `milliseconds`."""

    milliseconds: float = 1.0

    def __call__(self, response: str, reference: object = None) -> bool:
        end = time.perf_counter() + self.milliseconds / 1000
        while time.perf_counter() < end:
            pass
        return True


@dataclass(frozen=True)
class Hang:
    """Never answers."""

    timeout: float = 0.2
    grace = 0.0

    def __call__(self, response: str, reference: object = None) -> bool:
        while True:
            signal.pause()


def throughput(verifier: object, text: int, workers: int, seconds: float) -> dict[str, object]:
    """`map` over different cases for about `seconds`."""
    body = "x" * text
    with Pool(verifier, workers=workers, cache=0) as pool:
        pool.ready()
        end, number = time.perf_counter() + seconds, 0

        def cases():
            nonlocal number
            while time.perf_counter() < end:
                number += 1
                yield Case(f"{number} {body}", "x")

        started = time.perf_counter()
        count = sum(1 for _ in pool.map(cases()))
        rate = count / (time.perf_counter() - started)
        alone = latencies(pool, 300, body)
    return {
        "verdicts/s": round(rate),
        "one at a time p50 ms": alone[0],
        "one at a time p99 ms": alone[1],
    }


def latencies(pool: Pool, count: int, body: str) -> tuple[float, float]:
    """p50 and p99 from submit to answer, milliseconds, one case at a time."""
    seconds: list[float] = []
    for number in range(count):
        started = time.perf_counter()
        pool.submit(Case(f"alone {number} {body}", "y")).result()
        seconds.append(time.perf_counter() - started)
    ordered = sorted(seconds)
    p50, p99 = (round(1000 * ordered[int(share * count)], 2) for share in (0.5, 0.99))
    return p50, p99


def replacement(workers: int) -> dict[str, object]:
    """How long a killed worker's place stays empty, from a row of hangs."""
    deadline, rounds = 0.2, 10
    with Pool(Hang(), workers=workers, max_broken=1.0) as pool:
        pool.ready()
        started = time.perf_counter()
        verdicts = list(pool.map(Case(f"{number}") for number in range(rounds * workers)))
        spent = time.perf_counter() - started
    slowest = max(verdict.seconds for verdict in verdicts)
    return {
        "kills": len(verdicts),
        "ms over the deadline, worst": round(1000 * (slowest - deadline), 1),
        "ms to replace, mean": round(1000 * (spent / rounds - deadline), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows: dict[str, dict[str, object]] = {}
    for name, verifier, text in (
        ("nothing, 10 characters", Nothing(), 10),
        ("nothing, 2000 characters", Nothing(), 2000),
        ("0.1 ms of work", Work(0.1), 2000),
        ("1 ms of work", Work(1.0), 2000),
        ("10 ms of work", Work(10.0), 2000),
    ):
        rows[name] = throughput(verifier, text, given.workers, given.seconds)
    rows["hanging"] = replacement(given.workers)
    if given.json:
        print(json.dumps({"workers": given.workers, "load": os.getloadavg(), "rows": rows}))
        return
    print(f"{given.workers} workers, load {os.getloadavg()[0]:.1f}")
    for name, row in rows.items():
        print(f"{name:26}", "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()

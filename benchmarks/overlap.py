"""Does verification hide behind generation? A step with a verifier of 0.3 s a response against an instant one.

python benchmarks/overlap.py        (in an environment with vLLM; --sampler transformers elsewhere)

The slow verifier waits without computing, as one that asks a service does. Responses are written --slots at a time, so
that they finish all along; enough workers are given that the waiting of all together takes less than the sampling does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

import rlvr

VERIFIER = """
import time
from dataclasses import dataclass

@dataclass(frozen=True)
class Waits:
    seconds: float = 0.0
    cacheable = False  # equal answers are judged one by one

    def __call__(self, response, reference=None, **fields):
        time.sleep(self.seconds)
        return response.rsplit("####", 1)[-1].strip() == str(reference)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sampler", default="vllm")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--slots", type=int, default=32, help="responses written at a time")
    parser.add_argument("--wait", type=float, default=0.3, help="seconds a response")
    options = parser.parse_args()
    found: dict[float, list[dict[str, Any]]] = {0.0: [], options.wait: []}
    for _ in range(options.rounds):
        for wait, rows in found.items():
            with tempfile.TemporaryDirectory() as folder:
                plugin = Path(folder) / "waits.py"
                plugin.write_text(VERIFIER)
                metrics = rlvr.train(
                    out=Path(folder) / "run",
                    steps=options.steps,
                    sampler={
                        "name": options.sampler,
                        "slots" if options.sampler == "vllm" else "rows": options.slots,
                    },
                    workers=options.workers,
                    eval={"problems": 0},
                    verifier={"name": f"{plugin}:Waits", "seconds": wait},
                ).metrics
            rows += [row for row in metrics if row["kind"] == "step"][1:]
    print(f"sampler {options.sampler}, 32 x 8 responses, {options.slots} written at a time")
    print(f"{options.workers} verifier processes")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; medians of steps")
    print("verifier          step  sample  verify   learn    sync")
    for wait, rows in found.items():
        shown = [
            median(row[f"seconds{name}"] for row in rows)
            for name in ("", "_sample", "_verify", "_learn", "_sync")
        ]
        print(f"{wait:g} s a response  " + "  ".join(f"{value:6.2f}" for value in shown))
    slow, fast = (median(row["seconds"] for row in found[wait]) for wait in (options.wait, 0.0))
    print(f"ratio {slow / fast:.2f}")


if __name__ == "__main__":
    main()

"""The embedded default with several seeds: held-out accuracy before, during and after, and seconds of training.

python benchmarks/demo_seeds.py --seeds 5
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

import rlvr


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(
        "held-out pass@1 at temperature 1 (greedy) by step; seconds of training without evaluations"
    )
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            metrics = rlvr.train(out=Path(folder) / "run", seed=seed).metrics
        shown = "  ".join(
            f"{row['step']}: {row['accuracy']:.3f} ({row['accuracy_greedy']:.3f})"
            for row in metrics
            if row["kind"] == "eval"
        )
        steps = [row for row in metrics if row["kind"] == "step"]
        seconds = sum(row["seconds"] for row in steps)
        until = next(
            (
                sum(s["seconds"] for s in steps if s["step"] <= row["step"])
                for row in metrics
                if row["kind"] == "eval" and row["accuracy"] >= 0.85
            ),
            None,
        )
        reached = "never" if until is None else f"{until:.0f} s"
        print(f"seed {seed}  {shown}  {seconds:.0f} s, 0.85 measured after {reached}", flush=True)


if __name__ == "__main__":
    main()

"""Time, peak memory and errors of the token-level loss beside naive PyTorch, TRL's head and Liger's
loss.

    python benchmarks/loss.py [--rows N] [--width H] [--vocabulary V] [--rounds 5] [--json]

The same as `rlvr bench loss`. Contestants live in processes of their own and take turns. On a
shared machine compare the columns of processor seconds; peak memory does not depend on load. TRL
and Liger are measured where they are installed.
"""

from __future__ import annotations

import sys

from rlvr.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "loss", *sys.argv[1:]]))

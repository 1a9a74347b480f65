"""The memory that `rlvr train --dry-run` says a run will take, and the peak that the run took, on a CPU.

    python benchmarks/memory.py [--only NAME]

Models with random weights of 5 to 60 M parameters, made from a configuration; two steps of a real run each. An
entropy bonus gives every response a say, whatever its reward.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rlvr.bench.machine import machine
from rlvr.pretrained import DEMO_MODEL


@dataclass(frozen=True)
class Case:
    """A shape (hidden, between, layers, heads, key heads, vocabulary), and flags of the run."""

    shape: tuple[int, int, int, int, int, int]
    flags: dict[str, str] = field(default_factory=dict)
    kind: str = "qwen2"


SMALL = (192, 512, 4, 6, 2, 16_000)  # 5 M
MIDDLE = (384, 1152, 8, 6, 2, 16_000)  # 26 M
LARGE = (512, 1536, 12, 8, 4, 32_000)  # 69 M
CASES = {
    "small": Case(SMALL),
    "small-qwen3": Case(SMALL, kind="qwen3"),
    "small-long": Case(SMALL, {"sampler.max_tokens": "400", "tokens_per_part": "4096"}),
    "middle": Case(MIDDLE),
    "middle-parts": Case(MIDDLE, {"tokens_per_part": "1024"}),
    "middle-checkpointed": Case(MIDDLE, {"model.gradient_checkpointing": "true"}),
    "middle-lora": Case(MIDDLE, {"model.lora_rank": "8"}),
    "middle-reference": Case(MIDDLE, {"kl": "k3", "tokens_per_part": "1024"}),
    "large": Case(LARGE, {"tokens_per_part": "2048"}),
}


def make(case: Case, folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    hidden, between, layers, heads, key_heads, vocabulary = case.shape
    config = AutoConfig.for_model(
        case.kind,
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=between,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=hidden // heads,
        max_position_embeddings=1024,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_MODEL / name, folder)


def command(case: Case, model: Path, out: Path) -> list[str]:
    flags = {
        "model": str(model),
        "steps": "2",
        "problems": "4",
        "responses": "8",
        "sampler.max_tokens": "128",
        "entropy_bonus": "0.001",
        "eval.problems": "0",
        "out": str(out),
    } | case.flags
    return [
        *(sys.executable, "-m", "rlvr", "train"),
        *(word for name, value in flags.items() for word in (f"--{name}", value)),
    ]


def estimate(words: list[str]) -> float:
    """MiB, from the dry run."""
    said = subprocess.run([*words, "--dry-run"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"an estimate: ([0-9.]+) GiB", said)
    assert found, said
    return float(found[1]) * 1024


# a process counts the memory of the one it was forked from: a small one stands in between
LAUNCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def measure(words: list[str]) -> float:
    """MiB: the largest resident size of the training process, which the kernel kept."""
    launched = [sys.executable, "-c", LAUNCH, *words]
    done = subprocess.run(launched, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stderr}")
    return float(done.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=CASES)
    options = parser.parse_args()
    print(machine())
    print(f"\n{'':22}{'estimate MiB':>13}{'measured':>10}{'ratio':>8}")
    for name in options.only or CASES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            make(CASES[name], folder)
            words = command(CASES[name], folder, Path(scratch) / "run")
            expected, found = estimate(words), measure(words)
            print(f"{name:22}{expected:13.0f}{found:10.0f}{expected / found:8.2f}", flush=True)


if __name__ == "__main__":
    main()

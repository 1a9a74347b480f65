"""A whole training step, ours and TRL's GRPOTrainer, on this machine's CPU, in one run and interleaved.

Same demo model, same 32 prompts, 8 responses each of at most 60 tokens, same reward, one optimiser step. Steps
alternate (ours, TRL, ours, ...) so that both meet the same weather. The figure to quote is the median of the ratios.

    pip install trl==1.16.0
    python benchmarks/step_vs_trl.py --steps 8
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from rlvr import assemble
from rlvr.clock import Clock
from rlvr.job import Job
from rlvr.pretrained import DEMO_MODEL
from rlvr.tasks.arithmetic import Arithmetic

PROBLEMS, RESPONSES, TOKENS = 32, 8, 60


def final_answer(text: str) -> str:
    return text.split("####")[-1].strip()


def reward(completions: list[str], reference: list[str], **_: object) -> list[float]:
    return [float(final_answer(c) == r) for c, r in zip(completions, reference, strict=True)]


class Pause(TrainerCallback):
    """Hands control back between two of TRL's steps, so that ours can run there."""

    def __init__(self, between: Iterator[None]) -> None:
        self.between = between
        self.seconds: list[float] = []

    def on_step_begin(self, *args: object, **kwargs: object) -> None:
        next(self.between)
        self.started = time.perf_counter()

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def our_steps(job: Job, seconds: list[float]) -> Iterator[None]:
    """One whole step of the loop each time: ask, judge, weigh, learn, sync."""
    step = 0
    while True:
        step += 1
        started = time.perf_counter()
        gathered = job.gather(step, Clock())
        job.learn(gathered, job.weigh(gathered, step), step)
        job.sync(step)
        seconds.append(time.perf_counter() - started)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    total = options.steps + 2  # two warm-ups
    flags = {
        "steps": {"name": total},
        "problems": {"name": PROBLEMS},
        "responses": {"name": RESPONSES},
        "sampler": {"max_tokens": TOKENS},
        "optimizer": {"lr": 1e-5, "warmup": 0},
        "eval": {"problems": 0},
    }
    problems = Arithmetic().problems("train")
    rows = [
        {"prompt": problems[i].prompt, "reference": problems[i].reference}
        for i in range(PROBLEMS * total)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = GRPOConfig(
            output_dir=f"{scratch}/trl",
            per_device_train_batch_size=PROBLEMS * RESPONSES,
            num_generations=RESPONSES,
            max_completion_length=TOKENS,
            max_steps=total,
            learning_rate=1e-5,
            temperature=1.0,
            top_k=0,
            beta=0.0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=10_000,
            shuffle_dataset=False,
        )
        with assemble.job(
            assemble.resolve({}, flags).resolved, Path(scratch) / "ours", resume=False
        ) as job:
            ours: list[float] = []
            pause = Pause(our_steps(job, ours))
            trainer = GRPOTrainer(
                model=AutoModelForCausalLM.from_pretrained(DEMO_MODEL),
                processing_class=job.policy.tokenizer,
                reward_funcs=reward,
                args=arguments,
                train_dataset=Dataset.from_list(rows),
                callbacks=[pause],
            )
            trainer.train()
    mine, theirs = ours[2:], pause.seconds[2:]
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(mine)} steps each")
    print(f"{PROBLEMS} problems x {RESPONSES} responses of at most {TOKENS} tokens")
    print(f"{'':8}{'min':>8}{'median':>8}{'max':>8}  seconds a step")
    for name, values in (("rlvr", mine), ("TRL", theirs)):
        print(f"{name:8}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}")
    print(f"rlvr / TRL, median of the step-by-step ratios: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()

"""One whole update (forward, loss, backward, optimiser) of a model with random weights, ours and TRL's GRPOTrainer's,
on the same responses, alternating.

    pip install trl==1.16.0
    python benchmarks/update_vs_trl.py                      # a GPU: the shape of Qwen2.5-0.5B
    python benchmarks/update_vs_trl.py --tiny --rounds 3    # any machine: a try

Both hold float32 weights and compute in bfloat16 on a GPU, float32 on a CPU. Ours packs responses and passes a shared
prompt once where it pads; TRL pads, with as many rows at a time as hold the same number of tokens. Quote the ratio.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config
from trl import GRPOConfig, GRPOTrainer

from rlvr.advantage.weigh import Weights
from rlvr.bench.machine import machine
from rlvr.bench.memory import peak
from rlvr.learn import Learner
from rlvr.loss.clip.dapo import DAPO
from rlvr.loss.kl import NoKL
from rlvr.policy import Optimizer, Policy
from rlvr.pretrained import DEMO_MODEL, Model
from rlvr.types import Finish, Rollout

HALF = (896, 4864, 24, 14, 2, 151_936)  # Qwen2.5-0.5B
TINY = (64, 128, 2, 4, 2, 4_000)
PROBLEMS, RESPONSES = 8, 8


def make(shape: tuple[int, ...], folder: Path) -> None:
    hidden, between, layers, heads, key_heads, vocabulary = shape
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=between,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_MODEL / name, folder)


def responses(vocabulary: int, prompt: int, longest: int) -> list[Rollout]:
    """Lengths from a fifth to all of `longest`; RESPONSES to each prompt."""
    made = torch.Generator().manual_seed(0)
    rollouts = []
    for _ in range(PROBLEMS):
        asked = tuple(torch.randint(3, vocabulary, (prompt,), generator=made).tolist())
        for _ in range(RESPONSES):
            length = int(torch.randint(longest // 5, longest + 1, (1,), generator=made))
            tokens = torch.randint(3, vocabulary, (length,), generator=made)
            old = torch.full((length,), -float(torch.tensor(vocabulary).log()))
            rollouts.append(Rollout(asked, tokens, old, "", Finish.STOP, 0))
    return rollouts


def ours(folder: Path, rollouts: list[Rollout], budget: int) -> tuple[Policy, Callable[[], None]]:
    policy = Policy(Model(name=str(folder)), Optimizer(lr=1e-9, warmup=0), steps=10**6)
    lengths = torch.tensor([each.length for each in rollouts])
    advantage = torch.ones(len(rollouts), dtype=torch.float64)
    advantage[1::2] = -1
    scale = torch.full((int(lengths.sum()),), 1 / int(lengths.sum()), dtype=torch.float64)
    weight = (advantage.repeat_interleave(lengths) * scale).float()
    weights = Weights(
        advantage,
        torch.ones(len(rollouts), dtype=torch.bool),
        scale,
        torch.ones_like(scale),
        weight,
        {},
    )
    learner = Learner(policy, DAPO(dual=None), NoKL(), 1, 1, budget, 1.0, 0.0)
    return policy, lambda: void(learner(rollouts, weights, 1, 0))


def theirs(folder: Path, scratch: Path, rollouts: list[Rollout], budget: int) -> Callable[[], None]:
    cuda = torch.cuda.is_available()
    arguments = GRPOConfig(
        output_dir=str(scratch),
        per_device_train_batch_size=RESPONSES,
        num_generations=RESPONSES,
        learning_rate=1e-9,
        beta=0.0,
        epsilon_high=0.28,
        loss_type="dapo",
        bf16=cuda,
        use_cpu=not cuda,
        gradient_checkpointing=False,
        report_to="none",
        max_steps=1,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "1"}]),
    )
    trainer.current_gradient_accumulation_steps = 1  # its loop sets it before each step
    trainer.create_optimizer()
    model, optimizer, device = trainer.model.train(), trainer.optimizer, trainer.accelerator.device
    width = max(each.length + len(each.prompt_ids) for each in rollouts)
    rows = max(budget // width, 1)
    total = torch.tensor(sum(each.length for each in rollouts), device=device)
    parts = [padded(rollouts[at : at + rows], at, device) for at in range(0, len(rollouts), rows)]

    def update() -> None:
        for part in parts:
            with trainer.compute_loss_context_manager():
                loss = trainer._compute_loss(model, {**part, "num_items_in_batch": total})
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return update


def padded(rollouts: list[Rollout], first: int, device: torch.device) -> dict[str, Tensor]:
    """As TRL's trainer has them after sampling: prompts on the left, completions on the right."""
    longest = max(each.length for each in rollouts)
    prompts = torch.tensor([each.prompt_ids for each in rollouts])
    tokens = torch.zeros(len(rollouts), longest, dtype=torch.long)
    mask, old = torch.zeros_like(tokens), torch.zeros(len(rollouts), longest)
    for row, each in enumerate(rollouts):
        tokens[row, : each.length], mask[row, : each.length] = each.tokens, 1
        old[row, : each.length] = each.logprobs
    advantage = torch.tensor([-1.0 if (first + row) % 2 else 1.0 for row in range(len(rollouts))])
    made = {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": tokens,
        "completion_mask": mask,
        "old_per_token_logps": old,
        "advantages": advantage,
    }
    return {name: each.to(device) for name, each in made.items()}


def void(_: Any) -> None: ...


def timed(update: Callable[[], None], device: torch.device) -> tuple[float, int]:
    with peak(device) as memory:
        started = time.perf_counter()
        update()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return seconds, memory.extra


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=16_384, help="tokens at a time")
    options = parser.parse_args()
    shape = TINY if options.tiny else HALF
    prompt, longest = (16, 64) if options.tiny else (128, 1024)
    rollouts = responses(shape[-1], prompt, longest)
    conditions = machine()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        make(shape, folder)
        policy, our_update = ours(folder, rollouts, options.budget)
        updates = {
            "rlvr": our_update,
            "TRL": theirs(folder, Path(scratch) / "trl", rollouts, options.budget),
        }
        turns: dict[str, list[tuple[float, int]]] = {name: [] for name in updates}
        for _ in range(options.rounds + 2):  # two warm up
            for name, update in updates.items():
                turns[name].append(timed(update, policy.device))
    tokens = sum(each.length for each in rollouts)
    print(conditions)
    print(
        f"{policy.parameters / 1e6:.0f} M parameters, {policy.dtype}; {len(rollouts)} responses of "
        f"{longest // 5} to {longest} tokens, {tokens} in all, prompts of {prompt}\n"
    )
    print(f"{'':8}{'seconds':>9}{'response tokens/s':>19}{'peak MiB':>10}")
    for name, found in turns.items():
        seconds = statistics.median(each[0] for each in found[2:])
        memory = statistics.median(each[1] for each in found[2:])
        print(f"{name:8}{seconds:9.3f}{tokens / seconds:19.0f}{memory / 2**20:10.0f}")
    pairs = list(zip(turns["rlvr"][2:], turns["TRL"][2:], strict=True))
    print(
        f"{'ratio':8}{statistics.median(a[0] / b[0] for a, b in pairs):9.2f}{'':19}"
        f"{statistics.median(a[1] / max(b[1], 1) for a, b in pairs):10.2f}"
    )


if __name__ == "__main__":
    main()

"""Make the embedded demo model from nothing: a character tokenizer and a tiny Llama-shaped decoder.

It is fine-tuned on worked arithmetic whose steps contain slips, as text in the wild does, more of them at the end: it
knows the form and much of the arithmetic, and is wrong more often than right. `rlvr train` takes it from there.

    python scripts/make_demo_model.py --out models/clean --steps 1000 --slips 0.12
    python scripts/make_demo_model.py --out rlvr/demo_model --start models/clean \\
        --steps 100 --horizon 100 --slips 0.22 --lr 5e-4 --first 64000
"""

from __future__ import annotations

import argparse
import random
import string
import time
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rlvr.tasks.arithmetic import LARGEST, Arithmetic, Chain

SPECIAL = ["<pad>", "<eos>", "<unk>"]
CHARACTERS = [chr(10), *(c for c in string.printable[:95])]

CARD = """---
license: apache-2.0
library_name: transformers
---

# The demo model of rlvr

A Llama-shaped decoder of {parameters:,} parameters with a character tokenizer, made by the two commands at the top of
`scripts/make_demo_model.py` from generated arithmetic problems, 64 a step: 1000 steps in which 12% of the worked steps
contain a slip, then 100 in which 22% do. So it is often wrong on purpose: it is where `rlvr train` starts, not a
calculator. Of 300 held-out problems it gets {greedy:.0%} right greedily and {sampled:.0%} at temperature 1.

Nothing but generated text went into it. It only knows the form `Q: Compute 3+4*2\\nA: ` and word problems like it.
"""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a printable ASCII character."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL + CHARACTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def with_slips(rng: random.Random, chain: Chain, slips: float) -> str:
    """The worked solution, each step wrong with probability `slips`; later steps go on from there."""
    value, lines = chain.start, []
    for operator, number in chain.steps:
        after = Chain(value, ((operator, number),)).values[-1]
        if rng.random() < slips:
            after = rng.choice([after + 1, after - 1, after + 10, after - 10, after + 2, number])
        after = min(max(after, 0), 10 * LARGEST)
        lines.append(f"{value}{operator}{number}={after}")
        value = after
    return "\n".join([*lines, f"#### {value}"])


def example(index: int, task: Arithmetic, slips: float) -> tuple[str, str]:
    problem, solution = task.problem("train", index)
    rng = random.Random(f"slips:{index}")
    steps = []
    lines = solution.splitlines()[:-1]
    for line in lines:
        left = line.split("=")[0]
        operator = next(c for c in left if c in "+-*")
        steps.append((operator, int(left.split(operator)[1])))
    start = int(lines[0].split(steps[0][0])[0])
    assert isinstance(problem.prompt, str)
    return problem.prompt, with_slips(rng, Chain(start, tuple(steps)), slips)


def batch(indices: range, task: Arithmetic, slips: float, tokenizer: PreTrainedTokenizerFast):
    """Right-padded ids and labels [batch, length]; labels are -100 on the prompt and the padding."""
    rows = []
    for index in indices:
        prompt, solution = example(index, task, slips)
        ids = tokenizer.encode(prompt)
        answer = [*tokenizer.encode(solution), tokenizer.eos_token_id]
        rows.append((ids + answer, [-100] * len(ids) + answer))
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels = torch.full((len(rows), width), -100)
    for row, (tokens, targets) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, : len(targets)] = torch.tensor(targets)
    return ids, labels


@torch.no_grad()
def accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, task: Arithmetic, greedy: bool
) -> float:
    """Share of 300 held-out problems answered right."""
    problems = task.problems("test")[:300]
    encoded = tokenizer(
        [str(problem.prompt) for problem in problems],
        padding=True,
        padding_side="left",
        return_tensors="pt",
        return_token_type_ids=False,
    )
    sampled = model.generate(
        **encoded,
        max_new_tokens=60,
        do_sample=not greedy,
        temperature=None if greedy else 1.0,
        top_k=0,
    )
    texts = tokenizer.batch_decode(
        sampled[:, encoded.input_ids.shape[1] :], skip_special_tokens=True
    )
    right = [
        text.split("####")[-1].strip() == p.reference
        for text, p in zip(texts, problems, strict=True)
    ]
    return sum(right) / len(right)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a model made before, to go on from")
    parser.add_argument("--first", type=int, default=0, help="index of the first problem")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument(
        "--horizon", type=int, default=1600, help="steps the learning rate is planned for"
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--slips", type=float, default=0.12)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--every", type=int, default=250, help="steps between measurements and saves"
    )
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    tokenizer = make_tokenizer()
    model = (
        LlamaForCausalLM.from_pretrained(options.start) if options.start else make_model(tokenizer)
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    task = Arithmetic()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.lr, weight_decay=0.01, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.lr, options.horizon, pct_start=0.05
    )
    started = time.perf_counter()
    for step in range(1, options.steps + 1):
        first = options.first + (step - 1) * options.batch
        ids, labels = batch(range(first, first + options.batch), task, options.slips, tokenizer)
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % options.every == 0 or step == options.steps:
            model.eval()
            greedy, sampled = (accuracy(model, tokenizer, task, flag) for flag in (True, False))
            model.train()
            seconds = time.perf_counter() - started
            print(
                f"step {step} loss {loss.item():.3f} greedy {greedy:.3f} sampled {sampled:.3f} {seconds:.0f}s",
                flush=True,
            )
            model.save_pretrained(options.out)
            tokenizer.save_pretrained(options.out)
            (options.out / "README.md").write_text(
                CARD.format(parameters=parameters, greedy=greedy, sampled=sampled)
            )


if __name__ == "__main__":
    main()

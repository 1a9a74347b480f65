"""A small Qwen-shaped model made from nothing on GSM8K's training file, with a BPE tokenizer of its own.

It is poor at arithmetic and good at the form: what is needed to try the whole GSM8K path (real prompts, lengths,
truncation, answers) on a machine without a network. Nothing of the data set is kept in the repository.

    python scripts/make_gsm8k_model.py --data DIR --out models/gsm8k-small
    rlvr train --model models/gsm8k-small --task gsm8k --task.path DIR
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rlvr.tasks import source
from rlvr.tasks.gsm8k import GSM8K

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>"]


def make_tokenizer(texts: list[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, digits one by one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|im_end|>"
    )
    made.chat_template = TEMPLATE
    return made


def solution(answer: str) -> str:
    """GSM8K's worked solution without its calculator notes, ending as the task's prompt asks."""
    worked, final = answer.rsplit("####", 1)
    while "<<" in worked:
        before, _, rest = worked.partition("<<")
        worked = before + rest.partition(">>")[2]
    return f"{worked.strip()}\n\\boxed{{{final.strip()}}}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    options = parser.parse_args()
    torch.manual_seed(0)
    problems = GSM8K(path=options.data).problems("train")
    rows = source.local_rows(options.data, "train")
    solutions = [solution(row["answer"]) for row in rows]
    questions = [row["question"] for row in rows]
    tokenizer = make_tokenizer(questions + solutions, options.vocabulary)
    pairs = [
        (
            tokenizer.apply_chat_template(
                problem.prompt, add_generation_prompt=True, tokenize=True, return_dict=False
            ),
            [*tokenizer(text).input_ids, tokenizer.eos_token_id],
        )
        for problem, text in zip(problems, solutions, strict=True)
    ]
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    print(f"{model.num_parameters():,} parameters, {len(pairs):,} problems")
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.lr, options.steps, pct_start=0.05
    )
    rng, started = random.Random(0), time.perf_counter()
    for step in range(1, options.steps + 1):
        # neighbours in length share a batch, so that little of it is padding
        pool = sorted(
            rng.sample(pairs, options.batch * 8), key=lambda pair: len(pair[0]) + len(pair[1])
        )
        first = rng.randrange(8) * options.batch
        chosen = pool[first : first + options.batch]
        width = max(len(prompt) + len(answer) for prompt, answer in chosen)
        ids = torch.full((len(chosen), width), tokenizer.pad_token_id)
        labels = torch.full((len(chosen), width), -100)
        for row, (prompt, answer) in enumerate(chosen):
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(
                f"step {step} loss {loss.item():.3f} {time.perf_counter() - started:.0f} s",
                flush=True,
            )
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)


if __name__ == "__main__":
    main()

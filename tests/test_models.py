"""Any causal language model by its folder: random tiny ones of several architectures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlvr.cli import main
from rlvr.pretrained import DEMO_MODEL
from rlvr.prompts import encode
from rlvr.types import Problem

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
CONFIGS = {
    "Qwen3Config": {**SHAPE, "head_dim": 8},
    "LlamaConfig": SHAPE,
    "MistralConfig": {**SHAPE, "sliding_window": 16},
    "Gemma3TextConfig": {**SHAPE, "head_dim": 8, "sliding_window": 16},
    "GPT2Config": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},  # has dropout
}


@pytest.fixture
def tokenizer():
    made = AutoTokenizer.from_pretrained(DEMO_MODEL)
    made.chat_template = TEMPLATE
    return made


def model_folder(kind: str, tokenizer, folder: Path) -> Path:
    ids = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")
    }
    config = getattr(transformers, kind)(vocab_size=len(tokenizer), **ids, **CONFIGS[kind])
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(model: Path, out: Path, *more: str) -> list[dict[str, float]]:
    data, verifier = out.with_suffix(".jsonl"), out.with_suffix(".py")
    data.write_text(
        "".join(json.dumps({"prompt": f"{n}+{n}?", "reference": ""}) + "\n" for n in range(8))
    )
    verifier.write_text(
        "def even(response, reference=None, **_):\n    return sum(map(ord, response)) % 2 == 0\n"
    )
    flags = f"""--model {model} --task jsonl --task.path {data} --task.system Brief. --verifier {verifier}:even
        --advantage reinforce_pp --steps 2 --problems 3 --responses 3 --sampler.max_tokens 6 --workers 1
        --eval.problems 0 --out {out}"""
    assert main(["train", *flags.split(), *more]) == 0
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([[5, 6, 7, 8]])).logits


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # peft, about GPT-2's layers
def test_trained_saved_and_loaded_by_transformers_alone(
    kind: str, tokenizer, tmp_path: Path
) -> None:
    model = model_folder(kind, tokenizer, tmp_path / "model")
    rows = train(model, tmp_path / "full")
    gaps = [row["sampler_gap"] for row in rows if row["sampler_gap"] is not None]
    assert gaps and max(gaps) < 1e-6, "trainer and sampler are one model"
    saved = tmp_path / "full" / "checkpoints" / "step-2"
    assert AutoTokenizer.from_pretrained(saved).chat_template == TEMPLATE
    assert not torch.equal(logits(saved), logits(model))

    train(model, tmp_path / "lora", "--model.lora_rank", "4", "--checkpoint.merged", "true")
    adapter, merged = tmp_path / "lora" / "checkpoints" / "step-2", tmp_path / "lora" / "merged"
    assert (logits(adapter) - logits(merged)).abs().max() < 1e-6
    assert not torch.equal(logits(merged), logits(model))


def test_a_chat_gets_the_ids_of_the_models_template(tokenizer) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 2+2?"},
    ]
    wanted = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True)
    ids = wanted["input_ids"] if not isinstance(wanted, list) else wanted
    assert encode(tokenizer, Problem(id="p", prompt=chat, reference="4")) == tuple(ids)

"""Packed rows give what each row gives alone, padded: states and gradients."""

from __future__ import annotations

import inspect
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from rlvr import attention
from rlvr.attention import NAME, attach, packed_forward
from rlvr.errors import UserError
from rlvr.packing import Packing
from rlvr.policy import Optimizer, Policy
from rlvr.pretrained import DEMO_MODEL, Model, checkpoint_layers

LENGTHS = (9, 1, 13, 7, 12, 1, 3)
SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FALCON = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
STILL = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
MODELS = {
    "llama": transformers.LlamaConfig(**SIZES),
    "llama-mqa": transformers.LlamaConfig(**{**SIZES, "num_key_value_heads": 1}),
    "qwen2": transformers.Qwen2Config(**SIZES),
    "qwen3": transformers.Qwen3Config(**SIZES, head_dim=16),
    "gemma": transformers.GemmaConfig(**SIZES, head_dim=8),
    "gemma3": transformers.Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=5),
    "mistral-window": transformers.MistralConfig(**SIZES, sliding_window=4),
    "phi3": transformers.Phi3Config(**SIZES),
    "phi3-window": transformers.Phi3Config(**SIZES, sliding_window=4),
    "olmo2": transformers.Olmo2Config(**SIZES),
    "mixtral": transformers.MixtralConfig(**SIZES, num_local_experts=2),
    "gpt2": transformers.GPT2Config(  # learned absolute positions
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2, **STILL
    ),
    "gpt-neox": transformers.GPTNeoXConfig(
        **{name: value for name, value in SIZES.items() if "key_value" not in name}
    ),
}


def model(config: transformers.PretrainedConfig) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def pack() -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.randint(97, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    return ids, positions, bounds


def padded(of: transformers.PreTrainedModel, ids: Tensor) -> Tensor:
    rows = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    mask = torch.zeros_like(rows)
    for at, row in enumerate(ids.split(LENGTHS)):
        rows[at, : len(row)] = row
        mask[at, : len(row)] = 1
    states = of.base_model(input_ids=rows, attention_mask=mask, use_cache=False)
    return states.last_hidden_state[mask.bool()]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("checkpointed", [False, True])
def test_packed_is_padded(name: str, checkpointed: bool) -> None:
    of = model(MODELS[name])
    ids, positions, bounds = pack()
    wanted = padded(of, ids)
    towards = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(2))
    (wanted * towards).sum().backward()
    slopes = [each.grad for each in of.parameters()]
    of.zero_grad(set_to_none=True)
    if checkpointed:
        checkpoint_layers(of)
        of.train()
        of.config.attention_dropout = 0.0
    attach(of)
    found = packed_forward(of, ids[None], positions[None], bounds)
    (found * towards).sum().backward()
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4)
    for each, slope in zip(of.parameters(), slopes, strict=True):
        if slope is not None:
            assert each.grad is not None
            assert torch.allclose(each.grad, slope, rtol=1e-3, atol=1e-3 * float(slope.abs().max()))


LAID = ((5, -1), (3, 0), (6, 0), (2, -1), (4, 3), (7, -1))  # segments: length, which it continues


def laid() -> tuple[Tensor, Tensor, Tensor, list[int], list[list[int]]]:
    """Ids, positions, bounds and prefix of segments; the packed positions of every whole row."""
    lengths, prefix = (list(each) for each in zip(*LAID, strict=True))
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    spans = [list(range(int(a), int(b))) for a, b in itertools.pairwise(bounds)]
    rows = [(spans[at] if at >= 0 else []) + span for span, at in zip(spans, prefix, strict=True)]
    positions = torch.cat(
        [torch.arange(len(row))[-n:] for row, n in zip(rows, lengths, strict=True)]
    )
    ids = torch.randint(97, (sum(lengths),), generator=torch.Generator().manual_seed(3))
    return ids, positions, bounds, prefix, rows


def whole_rows(of: transformers.PreTrainedModel, ids: Tensor, rows: list[list[int]]) -> Tensor:
    """States of the packed positions, each row on its own."""
    found: dict[int, Tensor] = {}
    for row in rows:
        states = of.base_model(input_ids=ids[row][None], use_cache=False).last_hidden_state[0]
        found.update(zip(row, states, strict=True))
    return torch.stack([found[at] for at in range(len(ids))])


def by_hand(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, *_: int, **options: Any
) -> Tensor:
    """What variable-length kernels compute: the last query of a segment sees its last key."""
    left = options["window_size"][0]
    k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], 1) for each in (k, v))
    outs = []
    for a, b, c, d in zip(cu_q, cu_q[1:], cu_k, cu_k[1:], strict=False):
        at, to = torch.arange(b - a)[:, None] + (d - c) - (b - a), torch.arange(d - c)
        seen = (to <= at) & ((to >= at - left) | (left < 0))
        scores = torch.einsum("qhd,khd->hqk", q[a:b], k[c:d]) * options.get(
            "scale", q.shape[2] ** -0.5
        )
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        outs.append(torch.einsum("hqk,khd->qhd", weights, v[c:d]))
    return torch.cat(outs)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kernel", [False, True])
def test_a_shared_prompt_passes_once(
    name: str, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `kernel`, packed for a variable-length kernel; no such kernel runs on a CPU: one by hand."""
    of = model(MODELS[name])
    ids, positions, bounds, prefix, rows = laid()
    with torch.no_grad():
        wanted = whole_rows(of, ids, rows)
    if kernel:
        monkeypatch.setattr(attention, "_pads", lambda model: False)
        monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", by_hand)
        known = inspect.Signature(
            [
                inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY)
                for each in ("window_size", "enable_gqa")
            ]
        )
        monkeypatch.setattr(attention.inspect, "signature", lambda function: known)
    attach(of)
    with torch.no_grad():
        found = packed_forward(of, ids[None], positions[None], bounds, prefix)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_same_bits_every_time() -> None:
    ids, positions, bounds = pack()

    def once() -> list[Tensor]:
        of = model(MODELS["qwen3"])
        attach(of)
        found = packed_forward(of, ids[None], positions[None], bounds)
        found.square().sum().backward()
        return [found.detach(), *(each.grad for each in of.parameters() if each.grad is not None)]

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))


def test_an_attached_model_still_generates() -> None:
    of = model(MODELS["qwen2"])
    prompts = torch.tensor([[0, 0, 5, 9], [3, 4, 8, 7]])
    mask = (torch.arange(4) >= torch.tensor([[2], [0]])).long()
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    wanted = of.generate(prompts, **options)
    attach(of)
    assert of.config._attn_implementation == NAME
    assert torch.equal(of.generate(prompts, **options), wanted)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            transformers.Qwen3NextConfig(**SIZES, head_dim=8),
            "other states for packed rows",
        ),
        (
            transformers.RecurrentGemmaConfig(
                vocab_size=97, hidden_size=32, num_hidden_layers=3, num_attention_heads=4
            ),
            "other states for packed rows",
        ),
        (
            transformers.Lfm2Config(**SIZES, layer_types=["conv", "full_attention"]),
            "other states for packed rows",
        ),
        (transformers.FalconConfig(**FALCON), "ignores position_ids"),
        (transformers.FalconConfig(**FALCON, alibi=True), "cannot be trained on packed rows"),
        (
            transformers.Llama4TextConfig(**SIZES, head_dim=8, attention_chunk_size=4),
            "in chunks",
        ),
    ],
    ids=["linear attention", "recurrence", "convolution", "no positions", "alibi", "chunks"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_that_packing_would_change_are_refused(
    config: transformers.PretrainedConfig, message: str, dtype: torch.dtype
) -> None:
    with pytest.raises(UserError, match=message):
        attach(model(config).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_state_that_leaks_less_than_rounding_is_seen(dtype: torch.dtype) -> None:
    """Fresh weights carry next to nothing along the row: 0.2 % here, below what 16 bit rounds."""
    torch.manual_seed(0)
    config = transformers.Lfm2Config(**SIZES, layer_types=["conv", "full_attention"])
    of = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    with pytest.raises(UserError, match="carries a state"):
        attach(of.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_models_that_packing_leaves_alone_are_taken(name: str, dtype: torch.dtype) -> None:
    attach(model(MODELS[name]).to(dtype))


@pytest.mark.parametrize(
    "config",
    [
        transformers.MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=1),
        transformers.BloomConfig(vocab_size=97, hidden_size=32, n_layer=1, n_head=4),
    ],
    ids=["mamba", "bloom"],
)
def test_models_with_no_attention_to_replace_are_refused(
    config: transformers.PretrainedConfig, tmp_path: Path
) -> None:
    """As a user meets it: a folder with such a model."""
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_MODEL / name, tmp_path)
    with pytest.raises(UserError, match=r"attention implementation") as refused:
        Policy(Model(name=str(tmp_path)), Optimizer(), steps=1)
    assert "\n" not in str(refused.value)


def test_capped_scores_are_refused() -> None:
    torch.manual_seed(0)
    of = transformers.AutoModelForCausalLM.from_config(
        transformers.Gemma2Config(**SIZES, head_dim=8), attn_implementation="eager"
    )
    with pytest.raises(UserError, match=r"caps, biases or sinks|another attention"):
        attach(of)


def test_little_is_padded() -> None:
    lengths = [3, 100, 97, 80, 76, 2, 50]
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    packing = Packing.of(bounds, padded=True)
    slots = sum(group.index.numel() for group in packing.groups)
    assert slots <= sum(lengths) / 0.75
    assert sorted(packing.back.tolist()) == sorted(set(packing.back.tolist()))
    laid = torch.cat([group.index.flatten() for group in packing.groups])
    assert torch.equal(laid[packing.back], torch.arange(sum(lengths)))


@pytest.mark.parametrize("bounds", [[0], [0, 3, 3], [0, 4, 2]])
def test_bounds_must_rise(bounds: list[int]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        Packing.of(torch.tensor(bounds), padded=True)

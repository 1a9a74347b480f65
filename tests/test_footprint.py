"""The dry run's memory: what a layer keeps, counted; the peak of a real run, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from benchmarks import memory
from rlvr.attention import attach, packed_forward
from rlvr.footprint import Footprint
from rlvr.pretrained import Model, checkpoint_layers

TOKENS = 512
SIZES: dict[str, Any] = {
    "vocab_size": 500,
    "intermediate_size": 192,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
}


def kept(model: Any) -> int:
    """Bytes that the backward pass of 8 packed rows will need, parameters aside."""
    attach(model)
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(500, (1, TOKENS))
    positions = torch.arange(TOKENS // 8).repeat(8)[None]
    bounds = torch.arange(9, dtype=torch.int32) * (TOKENS // 8)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        packed_forward(model, ids, positions, bounds)
    return sum(held.values())


def estimated(config: Any, **settings: Any) -> Footprint:
    with torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(config)
    sizes: Any = {"tokens": TOKENS, "rows": 8, "columns": 64, "reference": False}
    return Footprint.of(empty, Model(device="cpu", **settings), **sizes)


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("key_heads", [1, 4])
@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama"])
def test_a_layer_keeps_what_is_said(name: str, key_heads: int, checkpointed: bool) -> None:
    """Two depths: the difference is the layers' alone."""
    counted, said = [], []
    for layers in (2, 4):
        config = transformers.AutoConfig.for_model(
            name,
            hidden_size=64,
            head_dim=16,
            num_hidden_layers=layers,
            num_key_value_heads=key_heads,
            **SIZES,
        )
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        if checkpointed:
            checkpoint_layers(model)
        counted.append(kept(model.train()))
        said.append(estimated(config, gradient_checkpointing=checkpointed).activations)
    assert said[1] - said[0] == pytest.approx(counted[1] - counted[0], rel=0.05)


def test_weights_gradients_and_moments() -> None:
    config = transformers.Qwen2Config(
        hidden_size=64, num_hidden_layers=2, num_key_value_heads=2, **SIZES
    )
    whole, part = estimated(config), estimated(config, lora_rank=4)
    assert whole.weights == whole.gradients == 4 * whole.parameters
    assert whole.optimizer == 8 * whole.parameters
    pairs = ((64, 64), (64, 32), (64, 32), (64, 64), (64, 192), (64, 192), (192, 64))
    trained = 2 * 4 * sum(a + b for a, b in pairs)
    assert part.gradients == 4 * trained
    assert part.weights == 4 * (part.parameters + trained)


@pytest.mark.slow
def test_the_peak_of_a_run_is_what_the_dry_run_says(tmp_path: Path) -> None:
    case = memory.CASES["small"]
    memory.make(case, tmp_path / "model")
    words = memory.command(case, tmp_path / "model", tmp_path / "run")
    assert memory.estimate(words) == pytest.approx(memory.measure(words), rel=0.25)


def test_an_update_measured_on_an_h200_is_what_is_said() -> None:
    """0.5 B parameters in bfloat16, parts of 16384 tokens: 31068 MiB beside weights and moments."""
    config = transformers.Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(config)
    said = Footprint.of(
        empty, Model(device="cuda"), tokens=16_384, rows=64, columns=1152, reference=False
    )
    update = said.gradients + said.slack * (said.activations + said.head)
    assert update == pytest.approx(31_068 * 2**20, rel=0.05)

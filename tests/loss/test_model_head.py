"""The head that is taken from a model gives the model's own logits."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
import transformers
from torch import Tensor

from rlvr.errors import UserError
from rlvr.loss import reference
from rlvr.loss.head import token_logprobs
from rlvr.loss.model_head import check_head, head_of

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def model(config: transformers.PretrainedConfig) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def both(of: transformers.PreTrainedModel) -> tuple[Tensor, Tensor]:
    ids = torch.arange(9)[None]
    states = of.base_model(input_ids=ids).last_hidden_state[0]
    return reference.logits(states, head_of(of)), of(input_ids=ids).logits[0]


@pytest.mark.parametrize("tied", [False, True])
def test_plain(tied: bool) -> None:
    of = model(transformers.Qwen2Config(**SIZES, tie_word_embeddings=tied))
    assert torch.allclose(*both(of), atol=1e-6)
    assert (head_of(of).weight is of.get_input_embeddings().weight) == tied


def test_a_padded_vocabulary_keeps_its_padding() -> None:
    """Rows that no token has count in the softmax, here as in the model and in a sampler."""
    of = model(transformers.Qwen2Config(**SIZES))
    of.resize_token_embeddings(pad_to_multiple_of=64, mean_resizing=False)
    head, tokens = head_of(of), torch.arange(1, 10)
    assert len(head.weight) == 128
    hidden = of.base_model(input_ids=torch.arange(9)[None]).last_hidden_state[0]
    logits = of(input_ids=torch.arange(9)[None]).logits[0]
    found, entropy = token_logprobs(hidden, head, tokens)
    wanted = logits.log_softmax(-1)
    assert torch.allclose(found, wanted.gather(-1, tokens[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(entropy, -(wanted.exp() * wanted).sum(-1), atol=1e-5)


def test_capped_logits() -> None:
    of = model(transformers.Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5))
    assert head_of(of).softcap == 0.5
    assert torch.allclose(*both(of), atol=1e-6)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
def test_lora_on_the_head_and_lora_switched_off() -> None:
    of = model(transformers.LlamaConfig(**SIZES))
    before = both(of)[1]
    wrapped = peft.get_peft_model(
        of, peft.LoraConfig(r=3, lora_alpha=6, target_modules=["lm_head"])
    )
    torch.nn.init.normal_(of.get_output_embeddings().lora_B["default"].weight)
    found, wanted = both(of)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(wanted, before, atol=1e-2)
    with wrapped.disable_adapter():
        assert torch.allclose(both(of)[0], before, atol=1e-6)
    wrapped.merge_adapter()
    assert torch.allclose(both(of)[0], wanted, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        transformers.GraniteConfig(**SIZES, logits_scaling=8.0),
        transformers.CohereConfig(**SIZES, logit_scale=0.1),
    ],
    ids=["granite", "cohere"],
)
def test_multiplied_logits(config: transformers.PretrainedConfig) -> None:
    of = model(config)
    assert head_of(of).multiplier != 1
    assert torch.allclose(*both(of), atol=1e-6)
    check_head(of)


def test_the_heads_logits_are_the_models() -> None:
    for config in (
        transformers.LlamaConfig(**SIZES),
        transformers.Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5),
        transformers.GraniteConfig(**SIZES, logits_scaling=8.0),
    ):
        of = model(config)
        ids = torch.tensor([[3, 5, 7]])
        states = of.base_model(input_ids=ids).last_hidden_state[0]
        assert torch.allclose(head_of(of).logits(states), of(input_ids=ids).logits[0], atol=1e-6)


def test_a_model_that_does_more_to_its_logits_is_refused() -> None:
    class Tilted(transformers.LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            out.logits = out.logits + torch.arange(out.logits.shape[-1]) / 10
            return out

    with pytest.raises(UserError, match="Tilted does something to its logits"):
        check_head(Tilted(transformers.LlamaConfig(**SIZES)).eval())

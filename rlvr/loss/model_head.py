"""The head of a transformers model, LoRA on it included.

Not covered: heads that do more to their logits than add a bias, cap and multiply, and more than one
LoRA adapter at a time; both are refused.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from rlvr.errors import UserError
from rlvr.loss.head import Head

DIVISORS = ("logits_scaling",)  # of the logits, in configs: Granite
FACTORS = ("logit_scale", "lm_head_multiplier")  # Cohere, Falcon H1
CLOSE = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.05}  # relative, by norm


def head_of(model: Any, dtype: torch.dtype | None = None) -> Head:
    """The output layer of causal language model `model`; `dtype`: of the products' operands.

    An adapter that peft has disabled is left out. Raises UserError.
    """
    kind = type(model).__name__
    layer = model.get_output_embeddings()
    if layer is None:
        raise UserError(f"{kind} has no output layer")
    base = getattr(layer, "base_layer", layer)
    return Head(
        weight=base.weight,
        bias=getattr(base, "bias", None),
        softcap=getattr(model.config, "final_logit_softcapping", None),
        lora=_lora(layer),
        dtype=dtype,
        multiplier=_multiplier(model.config),
    )


def _multiplier(settings: Any) -> float:
    given = {name: getattr(settings, name, None) or 1.0 for name in (*DIVISORS, *FACTORS)}
    factor = math.prod(given[name] for name in FACTORS)
    return float(factor / math.prod(given[name] for name in DIVISORS))


@torch.no_grad()
def check_head(model: Any) -> None:
    """UserError unless the head gives the logits that the model itself gives."""
    embedding = model.get_input_embeddings().weight
    ids = (torch.arange(6, device=embedding.device) * 7 + 3)[None] % len(embedding)
    head = head_of(model)
    training = model.training
    model.eval()
    try:
        wanted = model(input_ids=ids, use_cache=False).logits[0].float()
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
    finally:
        model.train(training)
    off = float((head.logits(states) - wanted).norm() / wanted.norm())
    if not off <= CLOSE[states.dtype] or (head.softcap and head.multiplier != 1):
        raise UserError(
            f"{type(model).__name__} does something to its logits that is not known here: they are "
            f"off by {off:.1g} of their size"
        )


def _lora(layer: Any) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    if not hasattr(layer, "lora_A") or layer.disable_adapters or layer.merged:
        return None
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if not active:
        return None
    if len(active) > 1 or any(layer.use_dora.get(name) for name in active):
        raise UserError("LoRA on the head: one plain adapter only")
    if getattr(layer.lora_dropout[active[0]], "p", 0.0):
        raise UserError("LoRA on the head: dropout is not supported")
    name = active[0]
    return layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]

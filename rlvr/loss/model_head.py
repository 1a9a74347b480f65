"""The head of a transformers model, LoRA on it included.

Not covered: heads that scale their logits (Granite, Cohere) and more than one LoRA adapter at a
time; both are refused.
"""

from __future__ import annotations

from typing import Any

import torch

from rlvr.errors import UserError
from rlvr.loss.head import Head

SCALES = ("logits_scaling", "logit_scale", "lm_head_multiplier")  # of the logits, in configs


def head_of(model: Any, dtype: torch.dtype | None = None) -> Head:
    """The output layer of causal language model `model`; `dtype`: of the products' operands.

    An adapter that peft has disabled is left out. Raises UserError.
    """
    kind = type(model).__name__
    for name in SCALES:
        if getattr(model.config, name, None) not in (None, 1, 1.0):
            raise UserError(f"{kind} scales its logits ({name}): not supported")
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

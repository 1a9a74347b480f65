"""Attention over packed rows: responses laid end to end, each attending to itself alone.

Not covered: attention that caps its scores (Gemma 2), attention sinks, layers without attention
that carry a state along the row (Mamba, linear attention) and encoders. A model that gives other
numbers packed than alone is refused.

On a GPU in 16 bit: FlashAttention where it is installed, PyTorch's own variable-length kernel
otherwise. Elsewhere rows are padded inside the attention only, in groups of like length: no mask,
nothing padded in the rest of the model.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlvr.errors import UserError
from rlvr.packing import Packing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "rlvr_packed"
NARROW = (torch.float16, torch.bfloat16)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; query [1, heads, T, D], out [1, T, heads, D].

    Without a packing: PyTorch's own, as with "sdpa", so that the same model also generates.
    """
    if softcap is not None or any(
        more.get(each) is not None for each in ("s_aux", "position_bias")
    ):
        raise UserError("this model's attention caps, biases or sinks its scores: not supported")
    if packing is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))  # [T, heads, D]
    window = sliding_window if sliding_window and sliding_window < packing.longest else None
    if packing.groups:
        out = _padded(q, k, v, packing, scaling, dropout, window)
    else:
        out = _variable_length(q, k, v, packing, scaling, dropout, window)
    return out[None], None


def _padded(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packing: Packing,
    scaling: float | None,
    dropout: float,
    window: int | None,
) -> Tensor:
    grouped = q.shape[1] != k.shape[1]
    outs = []
    for group in packing.groups:
        longest = group.index.shape[1]
        padded_q, padded_k, padded_v = (each[group.index].transpose(1, 2) for each in (q, k, v))
        mask = _band(longest, window, q.device) if window and window < longest else None
        out = nn.functional.scaled_dot_product_attention(
            padded_q,
            padded_k,
            padded_v,
            attn_mask=mask,
            dropout_p=dropout,
            scale=scaling,
            is_causal=mask is None and group.causal,
            enable_gqa=grouped,
        )
        outs.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(outs)[packing.back]


def _band(longest: int, window: int, device: torch.device) -> Tensor:
    """[longest, longest] bool: a position sees itself and the window - 1 before it."""
    near = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    return near.triu(1 - window)


def _variable_length(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packing: Packing,
    scaling: float | None,
    dropout: float,
    window: int | None,
) -> Tensor:
    if torch.is_autocast_enabled(q.device.type):  # norms on q and k give back float32
        narrow = torch.get_autocast_dtype(q.device.type)
        q, k, v = (each.to(narrow) for each in (q, k, v))
    if packing.keys is not None:
        k, v = (each.index_select(0, packing.keys) for each in (k, v))
    bounds = packing.cu_seqlens, packing.cu_keys, packing.longest, packing.longest
    left = window - 1 if window else -1
    if importlib.util.find_spec("flash_attn") is not None:
        from flash_attn import flash_attn_varlen_func

        out: Tensor = flash_attn_varlen_func(
            q, k, v, *bounds, dropout, scaling, causal=True, window_size=(left, 0)
        )
        return out
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"scale": scaling} if scaling is not None else {}
    if "window_size" in known:
        options["window_size"] = (left, 0)
    elif window is None:
        options["is_causal"] = True  # before PyTorch 2.12
    else:
        raise UserError("sliding windows need flash-attn or a newer PyTorch")
    if q.shape[1] != k.shape[1]:
        if "enable_gqa" in known:
            options["enable_gqa"] = True
        else:
            k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], 1) for each in (k, v))
    states = varlen_attn(q, k, v, *bounds, **options)
    assert isinstance(states, Tensor)
    return states


def _computes_in(model: nn.Module) -> torch.dtype:
    """What the products of `model` are computed in, autocast included."""
    parameter = next(model.parameters())
    if torch.is_autocast_enabled(parameter.device.type):
        return torch.get_autocast_dtype(parameter.device.type)
    return parameter.dtype


def _pads(model: nn.Module) -> bool:
    """Whether rows must be padded: there is no variable-length kernel for this device and type."""
    return next(model.parameters()).device.type != "cuda" or _computes_in(model) not in NARROW


def attach(model: PreTrainedModel) -> None:
    """Give `model` packed attention.

    Raises UserError when rows packed give other numbers than each alone.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    kind = type(model).__name__
    if getattr(model.config, "attention_chunk_size", None):
        raise UserError(f"{kind}: attention in chunks is not supported")
    try:
        model.set_attn_implementation(NAME)
    except (ValueError, AttributeError) as error:
        raise UserError(f"{kind} does not take another attention: {error}") from None
    _check(model)


@torch.no_grad()
def _check(model: PreTrainedModel) -> None:
    """Short rows packed, two of them on one prompt, must give the states of each alone, and a row
    those that it gives behind any other.

    The second catches what 16-bit rounding hides from the first.
    """
    kind = type(model).__name__
    device = next(model.parameters()).device
    embedding: Any = model.get_input_embeddings()
    size = len(embedding.weight)
    # a prompt, two responses to it, a row of its own
    lengths, prefix = (3, 2, 3, 4), (-1, 0, 0, -1)
    before, total = sum(lengths[:3]), sum(lengths)
    ids = (torch.arange(total, device=device) * 7 + 3) % size
    other = torch.cat([ids[:before].flip(0), ids[before:]])
    starts = (0, lengths[0], lengths[0], 0)
    positions = torch.cat(
        [
            torch.arange(start, start + each, device=device)
            for start, each in zip(starts, lengths, strict=True)
        ]
    )
    bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    prompt, *responses, last = ids.split(lengths)
    training = model.training
    model.eval()
    try:
        packed, behind = (
            packed_forward(model, each[None], positions[None], bounds, prefix)
            for each in (ids, other)
        )
        trunk: Any = model.base_model
        whole = [
            trunk(input_ids=row[None], use_cache=False).last_hidden_state[0]
            for row in (*(torch.cat([prompt, each]) for each in responses), last)
        ]
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise UserError(f"{kind} cannot be trained on packed rows: {error}") from None
    finally:
        model.train(training)
    narrow = _computes_in(model) in NARROW  # the last norm gives back float32 all the same
    skipped = len(prompt)
    alone = torch.cat([whole[0], whole[1][skipped:], whole[2]])
    distance = _off(packed, alone)
    leak = _off(behind[before:], packed[before:])
    # shapes are the same, so that without a leak even 16-bit kernels round alike
    if not (distance <= (0.05 if narrow else 1e-3) and leak <= 1e-5):
        raise UserError(
            f"{kind} gives other states for packed rows than alone (off by {distance:.1g} of their "
            f"size, {leak:.1g} with the row in front): it ignores position_ids or carries a state "
            "along the row"
        )


def _off(found: Tensor, wanted: Tensor) -> float:
    """Relative error by norm."""
    return float((found - wanted).float().norm() / wanted.float().norm())


def packed_forward(
    model: nn.Module,
    input_ids: Tensor,
    position_ids: Tensor,
    cu_seqlens: Tensor,
    prefix: Sequence[int] | None = None,
) -> Tensor:
    """Last hidden states [T, H] of a causal language model, without its head.

    input_ids, position_ids [1, T], positions from 0 in every row; cu_seqlens [rows + 1] int32,
    where rows begin and end. `attach` must have been called. With `prefix` (see `Packing.of`) a prompt
    passes through the model once for all the responses to it.
    """
    packing = Packing.of(cu_seqlens, padded=_pads(model), prefix=prefix)
    # a mask of four dimensions is passed through as it is: no [T, T] mask is built
    unused = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=input_ids.device)
    trunk: Any = model.base_model  # a property of every transformers and peft model
    states: Tensor = trunk(
        input_ids=input_ids,
        position_ids=position_ids,
        attention_mask=unused,
        use_cache=False,
        packing=packing,
    ).last_hidden_state[0]
    return states

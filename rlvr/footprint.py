"""How much memory a run takes, from its settings alone: the arithmetic behind `--dry-run`.

Compared with measured peaks on a CPU (`benchmarks/memory.py`) and with one update in bfloat16 on an
H200. On a GPU it is what PyTorch hands out, without libraries and fragments. Not covered: prompts,
experts of a mixture, vLLM, the processes that judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rlvr.loss.chunks import CPU_BYTES, CUDA_BLOCK_BYTES, CUDA_BYTES
from rlvr.pretrained import Model

LIBRARIES = 400 << 20  # Python with PyTorch and transformers
CUDA_LIBRARIES = 360 << 20  # more where this PyTorch was built for GPUs, used or not
SLACK = 1.2  # of what comes and goes in a step, about a fifth is kept by the C library
LORA_SLACK = 1.5  # an adapted layer makes its output three times over: measured, not derived
AGAIN = 3  # layers' worth that are held while one is computed again: measured, not derived


@dataclass(frozen=True)
class Footprint:
    """Bytes."""

    parameters: int  # a number, not bytes
    libraries: int
    weights: int  # the policy's, and the reference's where there is one of its own
    optimizer: int  # two moments
    gradients: int
    activations: int  # of one part, kept for the backward pass and made in it
    head: int  # logits and their gradients
    sampling: int  # cache and logits of the rows that are written together
    slack: float = SLACK

    @property
    def peak(self) -> int:
        """Sampling and the update take turns; gradients go in between."""
        update = self.gradients + self.slack * (self.activations + self.head)
        turn = max(update, self.slack * self.sampling)
        return int(self.libraries + self.weights + self.optimizer + turn)

    def __str__(self) -> str:
        parts = (
            "libraries",
            "weights",
            "optimizer",
            "gradients",
            "activations",
            "head",
            "sampling",
        )
        said = ", ".join(f"{name} {getattr(self, name) / 2**30:.2f}" for name in parts)
        return f"{self.peak / 2**30:.2f} GiB ({said})"

    @classmethod
    def of(
        cls,
        model: nn.Module,
        settings: Model,
        *,
        tokens: int,
        rows: int,
        columns: int,
        reference: bool,
    ) -> Footprint:
        """`model` as transformers makes it, on the meta device; `tokens` of the largest part; `rows`
        responses written together, `columns` tokens each; `reference`: whether the KL needs one."""
        cuda = settings.device.startswith("cuda") or (
            settings.device == "auto" and torch.cuda.is_available()
        )
        narrow = settings.dtype == "bfloat16" or (settings.dtype == "auto" and cuda)
        lora = settings.lora_rank > 0
        count = sum(each.numel() for each in model.parameters())
        trained = _lora_numbers(model, settings) if lora else count
        of_weight = 2 if narrow and lora else 4
        copies = 2 if reference and not lora else 1
        shape: Any = model.config
        layer, made = _layer(model, shape, 2 if narrow else 4)
        kept = tokens * shape.num_hidden_layers * layer
        if settings.gradient_checkpointing:
            kept = tokens * (4 * shape.num_hidden_layers * shape.hidden_size + AGAIN * layer)
        width = shape.vocab_size * shape.hidden_size
        heads, size = _keys(shape)
        cache = 2 * rows * columns * shape.num_hidden_layers * heads * size
        return cls(
            parameters=count,
            libraries=0 if cuda else LIBRARIES + bool(torch.version.cuda) * CUDA_LIBRARIES,
            weights=count * of_weight * copies + (trained * 4 if lora else 0),
            optimizer=8 * trained,
            gradients=4 * trained,
            activations=kept + tokens * made,
            head=(CUDA_BYTES + CUDA_BLOCK_BYTES if cuda else CPU_BYTES)
            + (0 if lora else 4 * width),
            sampling=(2 if narrow else 4) * cache + 4 * 4 * rows * shape.vocab_size,
            slack=LORA_SLACK if lora else 1.0 if cuda else SLACK,
        )


def _layer(model: nn.Module, shape: Any, of_product: int) -> tuple[int, int]:
    """Bytes a token that a layer keeps for its backward pass, and that this pass makes.

    What products give has `of_product` bytes a number; norms and the stream between layers stay float32.
    """
    hidden, between = shape.hidden_size, getattr(shape, "intermediate_size", 4 * shape.hidden_size)
    heads, size = _keys(shape)
    keys, queries = heads * size, shape.num_attention_heads * size
    normed = any("q_norm" in name for name, _ in model.named_parameters())
    # two norms: in, scaled, out; norms of queries and keys
    exact = 6 * hidden + (2 * (queries + keys) if normed else 0)
    # queries and output as computed and as padded; keys and values; gate, its activation, up, product
    products = 3 * queries + 2 * keys + 4 * between
    return 4 * exact + of_product * products, 4 * 2 * hidden + of_product * 4 * between


def _keys(shape: Any) -> tuple[int, int]:
    """Heads with keys and values of their own, and the size of each."""
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    return heads, getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads


def _lora_numbers(model: nn.Module, settings: Model) -> int:
    """Of the factors [r, in] and [out, r] of each adapted layer."""
    targets = settings.lora_targets
    output = model.get_output_embeddings()  # type: ignore[operator]
    return sum(
        settings.lora_rank * (layer.in_features + layer.out_features)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        and (layer is not output if targets == ("all-linear",) else name.split(".")[-1] in targets)
    )

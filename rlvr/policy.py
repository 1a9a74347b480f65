"""The model being trained: packed forward, scores, optimiser step, LoRA, save."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlvr import attention
from rlvr.batch import Part
from rlvr.errors import SafetyStop
from rlvr.loss.head import Head, token_logprobs
from rlvr.loss.model_head import check_head, head_of
from rlvr.pretrained import Model, device_of, load_model, load_tokenizer, no_dropout, with_lora


@dataclass(frozen=True)
class Optimizer:
    """AdamW with warm-up and decay."""

    lr: float | None = None  # none: 1e-6, 1e-5 with LoRA, 4e-4 below 10 M parameters
    warmup: int = 5  # steps from 0 to lr
    decay: str = "linear"  # none, linear or cosine, over the run's steps
    floor: float = 0.1  # the share of lr that decay ends at
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8
    clip_norm: float = 1.0  # gradients are scaled down to this norm

    def __post_init__(self) -> None:
        if self.decay not in ("none", "linear", "cosine"):
            raise ValueError(f"decay is none, linear or cosine, not '{self.decay}'")
        if self.lr is not None and self.lr < 0:
            raise ValueError("lr must not be negative")
        if self.warmup < 0:
            raise ValueError("warmup must not be negative")

    def rate(self, step: int, steps: int, peak: float) -> float:
        """Learning rate of step `step`, counted from 1, of a run of `steps`."""
        if step <= self.warmup:
            return peak * step / max(self.warmup, 1)
        if self.decay == "none":
            return peak
        done = min((step - self.warmup) / max(steps - self.warmup, 1), 1.0)
        share = 1 - done if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return peak * (self.floor + (1 - self.floor) * share)


class Policy:
    """The trained model with its optimiser. All gradients come from sums over tokens."""

    def __init__(self, settings: Model, optimizer: Optimizer, steps: int) -> None:
        self.settings = settings
        self.schedule = optimizer
        self.steps = steps
        self.device = device_of(settings)
        bf16 = settings.dtype == "bfloat16" or (
            settings.dtype == "auto" and self.device.type == "cuda"
        )
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        self.tokenizer = load_tokenizer(settings)
        # the transformers model itself, and as it is trained: inside a LoRA wrapper or not
        self.base: Any = load_model(settings, self.dtype)
        self.model: Any = with_lora(self.base, settings) if settings.lora_rank else self.base
        no_dropout(self.model)
        self.model.to(self.device).train()
        with self.compute:  # the check runs the kernel that training will run
            attention.attach(self.base)
        check_head(self.base)
        parameters = [each for each in self.model.parameters() if each.requires_grad]
        self.parameters = sum(each.numel() for each in self.model.parameters())
        self.updates = 0  # optimiser steps so far
        self.frozen: Any = None  # the reference, once one is asked for
        self.peak = optimizer.lr if optimizer.lr is not None else self._default_rate()
        self.optimizer = torch.optim.AdamW(
            parameters,
            lr=self.peak,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
        )

    def _default_rate(self) -> float:
        if self.parameters < 10_000_000:
            return 4e-4
        return 1e-5 if self.settings.lora_rank else 1e-6

    @property
    def compute(self) -> AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    @property
    def head(self) -> Head:
        return head_of(self.base, dtype=self.dtype if self.dtype != torch.float32 else None)

    def hidden(self, part: Part) -> Tensor:
        """Last hidden states at the positions that predict response tokens [T, H]."""
        with self.compute:
            packed = attention.packed_forward(
                self.base, part.input_ids, part.position_ids, part.cu_seqlens, part.prefix
            )
        return packed[part.predicts]

    @torch.no_grad()
    def score(self, part: Part, temperature: float) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of every response token, each [T] fp32, without gradient."""
        part = part.to(self.device)
        return token_logprobs(self.hidden(part), self.head, part.tokens, temperature=temperature)

    def keep_reference(self) -> None:
        """Hold the model as it is now as the reference; with LoRA that is the model without it."""
        if not self.settings.lora_rank:
            self.frozen = copy.deepcopy(self.base).eval().requires_grad_(False)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the policy scores with the reference's weights."""
        if self.settings.lora_rank:
            with self.model.disable_adapter():
                yield
            return
        trained, self.base = self.base, self.frozen
        try:
            yield
        finally:
            self.base = trained

    def step(self, number: int) -> tuple[float, float]:
        """One optimiser step with the gradients gathered so far; returns gradient norm and learning rate.

        Raises SafetyStop, before any weight has changed, when the gradient is not finite.
        """
        parameters = self.optimizer.param_groups[0]["params"]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.schedule.clip_norm))
        if not math.isfinite(norm):
            self.optimizer.zero_grad()
            raise SafetyStop(f"the gradient of step {number} is not finite")
        rate = self.schedule.rate(number, self.steps, self.peak)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.updates += 1
        return norm, rate

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors as a checkpoint in Hub format has them, LoRA merged in."""
        merged = self.settings.lora_rank > 0
        if merged:
            self.model.merge_adapter()
        try:
            for name, tensor in self.base.state_dict().items():
                if (
                    "lora_" not in name
                ):  # a merged tensor is unmerged in place later: hand out a copy
                    held = tensor.detach()
                    yield name.replace(".base_layer", ""), held.clone() if merged else held
        finally:
            if merged:
                self.model.unmerge_adapter()

    def save(self, folder: Path) -> None:
        """Weights (the adapter alone with LoRA), tokenizer and generation config in Hub format."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)

    def export(self, folder: Path) -> None:
        """A full model folder, LoRA merged in."""
        weights = {name: tensor.contiguous() for name, tensor in self.weights()}
        self.base.save_pretrained(folder, state_dict=weights, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)

    def save_optimizer(self, path: Path) -> None:
        """Moments as safetensors, no pickle."""
        state = self.optimizer.state_dict()["state"]
        tensors = {
            f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
            for index, values in state.items()
            for name, value in values.items()
        }
        save_file(tensors, path)

    def restore(self, folder: Path, optimizer: Path) -> None:
        """Weights from a checkpoint's model folder and moments from its optimiser file."""
        if self.settings.lora_rank:
            from peft import set_peft_model_state_dict

            set_peft_model_state_dict(
                self.model, load_file(folder / "adapter_model.safetensors", device=str(self.device))
            )
        else:
            self.model.load_state_dict(_model_tensors(folder), strict=False)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(optimizer, device=str(self.device)).items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value.cpu() if name == "step" else value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _model_tensors(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return load_file(folder / "model.safetensors")
    files = set(json.loads(index.read_text())["weight_map"].values())
    return {
        name: tensor for file in sorted(files) for name, tensor in load_file(folder / file).items()
    }

"""Batched generation in this process with the model that is being trained."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlvr.samplers.cache import RowCache, left_padded
from rlvr.samplers.sampler import Limits
from rlvr.types import Finish, Group, Request, Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


DROP_BELOW = (
    0.85  # copying the cache costs more than a few dead rows: drop them when so many are left
)


@dataclass(frozen=True)
class Transformers(Limits):
    """Batched generation with transformers, for CPU and small GPUs."""

    rows: int = 512  # responses decoded at the same time

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows < 1:
            raise ValueError("rows must be at least 1")

    def open(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> TransformersEngine:
        return TransformersEngine(self, model, tokenizer)


class TransformersEngine:
    """Shares the trainer's weights, so that loading them is a change of version and nothing else."""

    def __init__(
        self, settings: Transformers, model: Any, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.settings = settings
        self.model = model
        self.tokenizer = tokenizer
        self.version = 0
        pad: Any = tokenizer.pad_token_id
        self.pad: int = 0 if pad is None else pad
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.ends = {end for end in [*ends, tokenizer.eos_token_id] if end is not None}
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # under LoRA
        known = inspect.signature(inner.forward).parameters
        self.cache_word = "cache" if "cache" in known else "past_key_values"  # before 5.24

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self.version = version

    def close(self) -> None:
        pass

    def stream(
        self, requests: Iterable[Request], *, seed: int, greedy: bool = False
    ) -> Iterator[Group]:
        """Waves of requests of like prompt length; a wave's groups come out when it has ended."""
        generator = torch.Generator().manual_seed(seed)
        waves = _waves(sorted(requests, key=lambda r: len(r.prompt_ids)), self.settings.rows)
        training = self.model.training
        self.model.eval()
        try:
            for wave in waves:
                rows = self._decode(wave, generator, greedy)
                for request in wave:
                    yield Group(
                        request.problem, tuple(next(rows) for _ in range(request.responses))
                    )
        finally:
            self.model.train(training)

    @torch.inference_mode()
    def _decode(
        self, wave: list[Request], generator: torch.Generator, greedy: bool
    ) -> Iterator[Rollout]:
        settings, device = self.settings, next(self.model.parameters()).device
        prompts = [request.prompt_ids for request in wave]
        ids, mask = left_padded(prompts, self.pad, device)
        cache = RowCache(self.model.config.num_hidden_layers, ids.shape[1] + settings.max_tokens)
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)

        owner = torch.arange(len(wave)).repeat_interleave(
            torch.tensor([request.responses for request in wave])
        )
        cache.select(owner.to(device))
        logits, mask = logits[owner], mask[owner]
        lengths = mask.sum(1)
        alive = torch.arange(len(owner))  # which response each row is
        tokens = torch.zeros(len(owner), settings.max_tokens, dtype=torch.long)
        logprobs = torch.zeros(len(owner), settings.max_tokens)
        written = torch.full((len(owner),), settings.max_tokens)
        stopped = torch.zeros(len(owner), dtype=torch.bool)
        texts = [""] * len(owner) if settings.stop else None
        ends = torch.tensor(sorted(self.ends), dtype=torch.long)
        live = torch.ones(len(owner), dtype=torch.bool)  # which rows are still being written
        for column in range(settings.max_tokens):
            chosen, logprob = self._choose(logits, generator, greedy)
            tokens[alive[live], column] = chosen[live]
            logprobs[alive[live], column] = logprob[live]
            done = live & torch.isin(chosen, ends)
            if texts is not None:
                done |= self._stops(texts, alive, chosen) & live
            written[alive[done]] = column + 1
            stopped[alive[done]] = True
            live &= ~done
            if not live.any() or column + 1 == settings.max_tokens:
                break
            if live.sum() <= DROP_BELOW * len(live):
                keep = live.nonzero()[:, 0]
                there = keep.to(device)
                cache.select(there)
                alive, chosen, live = alive[keep], chosen[keep], live[keep]
                mask, lengths = mask[there], lengths[there]
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], 1)
            logits = self._forward(chosen[:, None].to(device), mask, lengths[:, None], cache)
            lengths = lengths + 1
        return self._rollouts(wave, tokens, logprobs, written.tolist(), stopped.tolist())

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: RowCache) -> Tensor:
        """Logits of the last column [rows, V] in fp32, divided by the temperature."""
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{self.cache_word: cache},
        )
        logits: Tensor = out.logits[:, -1].float() / self.settings.temperature
        return logits

    def _choose(
        self, logits: Tensor, generator: torch.Generator, greedy: bool
    ) -> tuple[Tensor, Tensor]:
        """Token and its log-probability, each [rows], on the CPU. Log-probabilities are of the untruncated law."""
        logprobs = torch.log_softmax(logits, -1)
        if greedy:
            chosen = logprobs.argmax(-1)
        else:
            kept = _truncate(logprobs, self.settings.top_k, self.settings.top_p)
            noise = torch.rand(kept.shape, generator=generator).to(kept.device)
            chosen = (kept - (-noise.clamp_min(1e-20).log()).log()).argmax(-1)  # Gumbel's trick
        picked = logprobs.gather(-1, chosen[:, None])[:, 0]
        return chosen.cpu(), picked.cpu()

    def _stops(self, texts: list[str], alive: Tensor, chosen: Tensor) -> Tensor:
        """Which rows have just written a stop string [rows]."""
        longest = max(map(len, self.settings.stop))
        done = []
        for row, token in zip(alive.tolist(), chosen.tolist(), strict=True):
            piece = self.tokenizer.decode([token])
            texts[row] = texts[row][-longest:] + piece
            done.append(any(stop in texts[row] for stop in self.settings.stop))
        return torch.tensor(done)

    def _rollouts(
        self,
        wave: list[Request],
        tokens: Tensor,
        logprobs: Tensor,
        written: list[int],
        stopped: list[bool],
    ) -> Iterator[Rollout]:
        cut = [row[:length] for row, length in zip(tokens, written, strict=True)]
        texts = self.tokenizer.batch_decode([row.tolist() for row in cut], skip_special_tokens=True)
        index = 0
        for request in wave:
            for _ in range(request.responses):
                yield Rollout(
                    prompt_ids=request.prompt_ids,
                    tokens=cut[index].clone(),
                    logprobs=logprobs[index, : written[index]].clone(),
                    text=texts[index],
                    finish=Finish.STOP if stopped[index] else Finish.LENGTH,
                    version=self.version,
                )
                index += 1


def _waves(requests: list[Request], rows: int) -> Iterator[list[Request]]:
    """Consecutive requests of at most `rows` responses together; a larger request is a wave of its own."""
    wave: list[Request] = []
    for request in requests:
        if wave and sum(each.responses for each in wave) + request.responses > rows:
            yield wave
            wave = []
        if request.responses:
            wave.append(request)
    if wave:
        yield wave


def _truncate(logprobs: Tensor, top_k: int, top_p: float) -> Tensor:
    """Log-probabilities with all but the kept tokens at minus infinity."""
    if top_k and top_k < logprobs.shape[-1]:
        least = logprobs.topk(top_k, -1).values[:, -1:]
        logprobs = logprobs.masked_fill(logprobs < least, float("-inf"))
    if top_p < 1:
        ordered, order = logprobs.sort(-1, descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        dropped = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
        logprobs = logprobs.masked_fill(dropped, float("-inf"))
    return logprobs

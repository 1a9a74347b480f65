"""Batched generation in this process with the model that is being trained."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlvr.loss.model_head import head_of
from rlvr.samplers.cache import RowCache, left_padded
from rlvr.samplers.sampler import Answers, Limits, engine_dtype, refuse_dtype
from rlvr.types import Answer, Finish, Request, Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


DROP_BELOW = (
    0.85  # copying the cache costs more than a few dead rows: drop them when so many are left
)


Ended = tuple[int, Tensor, Tensor, Finish]  # row of the wave, tokens [L], log-probabilities [L]


@dataclass(frozen=True)
class Transformers(Limits):
    """Batched generation with transformers, for CPU and small GPUs."""

    rows: int = 512  # responses decoded at the same time
    dtype: str = "auto"  # of the computation, as --model.dtype unless given

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_dtype(self.dtype)
        if self.rows < 1:
            raise ValueError("rows must be at least 1")

    def open(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> TransformersEngine:
        return TransformersEngine(self, model, tokenizer)


class TransformersEngine:
    """Shares the trainer's weights, so that loading them is a change of version and nothing else."""

    own_weights = False

    def __init__(
        self, settings: Transformers, model: Any, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.settings = settings
        self.model = model
        self.tokenizer = tokenizer
        self.version = 0
        self.cancelled = 0
        self._writing = 0  # tokens of responses that have not ended
        pad: Any = tokenizer.pad_token_id
        self.pad: int = 0 if pad is None else pad
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.ends = {end for end in [*ends, tokenizer.eos_token_id] if end is not None}
        self.device: torch.device = next(model.parameters()).device
        self.dtype = engine_dtype(settings.dtype, self.device)
        self.trunk: Any = model.base_model
        known = inspect.signature(self.trunk.forward).parameters
        self.cache_word = "cache" if "cache" in known else "past_key_values"  # before 5.24

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self.version = version

    def close(self) -> None:
        pass

    def stream(self, requests: Iterable[Request], *, seed: int, greedy: bool = False) -> Answers:
        """Waves of requests of like prompt length; a response comes out at its last token."""
        generator = torch.Generator(self.device).manual_seed(seed)
        waves = _waves(sorted(requests, key=lambda r: len(r.prompt_ids)), self.settings.rows)
        training = self.model.training
        self.model.eval()
        try:
            for wave in waves:
                slots = [(each, index) for each in wave for index in range(each.responses)]
                written = self._decode(wave, generator, greedy)
                for ended in written:
                    for row, tokens, logprobs, finish in ended:
                        self._writing -= len(tokens)
                        request, index = slots[row]
                        yield Answer(
                            request,
                            index,
                            Rollout(
                                prompt_ids=request.prompt_ids,
                                tokens=tokens.clone(),  # made in inference mode: autograd wants its own
                                logprobs=logprobs.clone(),
                                text=str(
                                    self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)
                                ),
                                finish=finish,
                                version=self.version,
                            ),
                        )
        finally:
            self.cancelled += self._writing
            self._writing = 0
            self.model.train(training)

    @torch.inference_mode()
    def _decode(
        self, wave: list[Request], generator: torch.Generator, greedy: bool
    ) -> Iterator[list[Ended]]:
        """The responses that end with each decoded column."""
        settings, device = self.settings, self.device
        prompts = [request.prompt_ids for request in wave]
        counts = torch.tensor([request.responses for request in wave])
        limit = torch.tensor([request.max_tokens or settings.max_tokens for request in wave])
        limit = limit.repeat_interleave(counts)
        columns = int(limit.max())
        ids, mask = left_padded(prompts, self.pad, device)
        cache = RowCache(self.model.config.num_hidden_layers, ids.shape[1] + columns)
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)

        owner = torch.arange(len(wave)).repeat_interleave(counts)
        cache.select(owner.to(device))
        logits, mask = logits[owner], mask[owner]
        lengths = mask.sum(1)
        alive = torch.arange(len(owner))  # which response each row is
        tokens = torch.zeros(len(owner), columns, dtype=torch.long)
        logprobs = torch.zeros(len(owner), columns)
        texts = [""] * len(owner) if settings.stop else None
        ends = torch.tensor(sorted(self.ends), dtype=torch.long)
        live = torch.ones(len(owner), dtype=torch.bool)  # which rows are still being written
        for column in range(columns):
            chosen, logprob = self._choose(logits, generator, greedy)
            tokens[alive[live], column] = chosen[live]
            logprobs[alive[live], column] = logprob[live]
            self._writing += int(live.sum())
            stopped = live & torch.isin(chosen, ends)
            if texts is not None:
                stopped |= self._stops(texts, alive, chosen) & live
            done = stopped | (live & (limit[alive] == column + 1))
            if done.any():
                yield [
                    (
                        row,
                        tokens[row, : column + 1],
                        logprobs[row, : column + 1],
                        Finish.STOP if stop else Finish.LENGTH,
                    )
                    for row, stop in zip(alive[done].tolist(), stopped[done].tolist(), strict=True)
                ]
            live &= ~done
            if not live.any():
                return
            if live.sum() <= DROP_BELOW * len(live):
                keep = live.nonzero()[:, 0]
                there = keep.to(device)
                cache.select(there)
                alive, chosen, live = alive[keep], chosen[keep], live[keep]
                mask, lengths = mask[there], lengths[there]
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], 1)
            logits = self._forward(chosen[:, None].to(device), mask, lengths[:, None], cache)
            lengths = lengths + 1

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: RowCache) -> Tensor:
        """Logits of the last column [rows, V] in fp32, divided by the temperature."""
        narrow = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=narrow):
            states = self.trunk(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                use_cache=True,
                **{self.cache_word: cache},
            ).last_hidden_state
        head = head_of(self.model, self.dtype if narrow else None)
        return head.logits(states[:, -1]).div_(self.settings.temperature)

    def _choose(
        self, logits: Tensor, generator: torch.Generator, greedy: bool
    ) -> tuple[Tensor, Tensor]:
        """Token and its log-probability, each [rows], on the CPU. Log-probabilities are of the untruncated law."""
        logprobs = torch.log_softmax(logits, -1)
        if greedy:
            chosen = logprobs.argmax(-1)
        else:
            kept = _truncate(logprobs, self.settings.top_k, self.settings.top_p)
            noise = torch.rand(kept.shape, generator=generator, device=kept.device)
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

"""vLLM in this process, on the trainer's device: continuous batching, and weights handed over as tensors."""

from __future__ import annotations

import itertools
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlvr.errors import SafetyStop, UserError
from rlvr.samplers import vllm_adapter as adapter
from rlvr.samplers.fingerprint import Fingerprint
from rlvr.samplers.sampler import Answers, Limits, engine_dtype, refuse_dtype
from rlvr.types import Answer, Finish, Request, Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RESERVE = 4 * 2**30  # bytes of a GPU left for the activations of an update
KV_ON_A_CPU = 2**30  # bytes


@dataclass(frozen=True)
class Vllm(Limits):
    """vLLM in this process: continuous batching, checked weight sync."""

    slots: int = 256  # responses written at the same time
    length: int = 0  # prompt and response together; 0: what the model allows
    memory: float = (
        0.0  # share of the GPU that vLLM may fill; 0: computed, what the update does not need
    )
    kv_gib: float = 0.0  # of the key-value cache alone, instead of a share; 0 on a CPU: 1
    dtype: str = "auto"  # of the engine's weights; auto: bfloat16 on a GPU, float32 on a CPU
    fp32_head: bool = False  # logits from an fp32 product, as the trainer computes them
    eager: bool = False  # no CUDA graphs
    sleep: int = 0  # while the update runs: 1 moves the weights to main memory, 2 drops them

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slots < 1:
            raise ValueError("slots must be at least 1")
        if not 0 <= self.memory < 1:
            raise ValueError("memory is a share of the GPU: 0 <= memory < 1")
        refuse_dtype(self.dtype)
        if self.sleep not in (0, 1, 2):
            raise ValueError("sleep is 0, 1 or 2")
        if self.length < 0 or self.kv_gib < 0:
            raise ValueError("length and kv_gib must not be negative")

    def open(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> VllmEngine:
        return VllmEngine(self, model, tokenizer)


class VllmEngine:
    """Random weights until the first `load`; nothing may be sampled before it."""

    def __init__(self, settings: Vllm, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.version: int | None = None
        self.cancelled = 0
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.ends = sorted({end for end in [*ends, tokenizer.eos_token_id] if end is not None})
        device = next(model.parameters()).device
        self.dtype = engine_dtype(settings.dtype, device)
        self._received = Fingerprint(self.dtype)
        self._numbers = itertools.count()
        if settings.sleep and device.type != "cuda":
            raise UserError("--sampler.sleep gives back GPU memory: this machine has no GPU")
        on_gpu = device.type == "cuda"
        kv_bytes = int(settings.kv_gib * 2**30) or (None if on_gpu else KV_ON_A_CPU)
        with tempfile.TemporaryDirectory(prefix="rlvr-vllm-") as folder:
            model.config.save_pretrained(folder)
            if settings.stop:
                tokenizer.save_pretrained(folder)
            self.server = adapter.Server(
                Path(folder),
                dtype=self.dtype,
                slots=settings.slots,
                length=settings.length or None,
                kv_bytes=kv_bytes,
                memory=(settings.memory or memory_share(model))
                if on_gpu and not kv_bytes
                else None,
                eager=settings.eager or not on_gpu,
                sleeps=settings.sleep > 0,
                text=bool(settings.stop),
                overrides={"head_dtype": "float32"} if settings.fp32_head else {},
            )

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self.server.wake()
        self.version = None  # between the old weights and the new ones it is neither
        self._received = Fingerprint(self.dtype)
        self.server.load(self._received.over(weights))
        self.version = version

    def received(self) -> Fingerprint:
        return self._received

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Tensor]:
        whole = self.server.prompt_logprobs([[*prompt, *rest] for prompt, rest in sequences])
        return [
            logprobs[len(logprobs) - len(rest) :]
            for logprobs, (_, rest) in zip(whole, sequences, strict=True)
        ]

    def rest(self) -> None:
        """The update comes: give memory back, where that was asked for."""
        if self.settings.sleep:
            self.server.sleep(self.settings.sleep)

    def close(self) -> None:
        self.server.close()

    def stream(self, requests: Iterable[Request], *, seed: int, greedy: bool = False) -> Answers:
        """Responses the moment they end; new ones begin as slots fall free, the longest expected first."""
        if self.version is None:
            raise RuntimeError("no weights have been loaded")
        self.server.wake()
        adapter.seed(seed)
        order = sorted(requests, key=lambda r: (-r.expected, -len(r.prompt_ids)))
        waiting = deque((each, index) for each in order for index in range(each.responses))
        writing: dict[str, tuple[Request, int]] = {}
        try:
            while waiting or writing:
                while waiting and len(writing) < self.settings.slots:
                    wanted = self._wanted(waiting[0][0], greedy)
                    self.server.add(wanted)
                    writing[wanted.key] = waiting.popleft()
                for written in self._step():
                    yield self._answer(*writing.pop(written.key), written)
        except GeneratorExit:
            self.cancelled += self.server.cancel()
            raise

    def _step(self) -> list[adapter.Written]:
        try:
            return list(self.server.step())
        except RuntimeError as error:  # what CUDA and a dead engine raise
            raise SafetyStop(f"sampler vllm failed: {' '.join(str(error).split())}") from error

    def _wanted(self, request: Request, greedy: bool) -> adapter.Wanted:
        settings = self.settings
        return adapter.Wanted(
            key=str(next(self._numbers)),
            prompt_ids=request.prompt_ids,
            max_tokens=request.max_tokens or settings.max_tokens,
            temperature=0.0 if greedy else settings.temperature,
            top_p=1.0 if greedy else settings.top_p,
            top_k=0 if greedy else settings.top_k,
            stop=settings.stop,
            stop_ids=self.ends,
        )

    def _answer(self, request: Request, index: int, written: adapter.Written) -> Answer:
        assert self.version is not None
        return Answer(
            request,
            index,
            Rollout(
                prompt_ids=request.prompt_ids,
                tokens=torch.tensor(written.tokens, dtype=torch.long),
                logprobs=torch.tensor(written.logprobs, dtype=torch.float32),
                text=str(self.tokenizer.decode(list(written.tokens), skip_special_tokens=True)),
                finish=Finish.STOP if written.stopped else Finish.LENGTH,
                version=self.version,
            ),
        )


def memory_share(model: nn.Module) -> float:
    """Share of the GPU that is left for the engine once the update has what it needs.

    To come beside the weights that are there: fp32 gradients and two moments of what is trained, and
    the activations of a part (`RESERVE`).
    """
    free, total = torch.cuda.mem_get_info()
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    return share_of(free, total, trained * 12 + RESERVE)


def share_of(free: int, total: int, to_come: int) -> float:
    """Share of `total` bytes that may be filled when `to_come` of the `free` ones must stay free."""
    share = 0.95 * (free - to_come) / total
    if share < 0.05:
        raise UserError(
            f"the update needs {to_come / 2**30:.0f} GiB of the {free / 2**30:.0f} GiB that are free on the GPU: "
            "too little is left for sampler vllm (a smaller model, --model.lora_rank 16, --sampler.memory)"
        )
    return share

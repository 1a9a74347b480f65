"""The weights that a server holds: given to it, under a name of their own, and given again after a restart.

Every load has another name, which the server keeps (vLLM's weight version) and forgets when it is restarted. Whoever
asks for the name after a response has ended knows which weights wrote it.
"""

from __future__ import annotations

import itertools
import logging
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import torch
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
)
from torch import Tensor

from rlvr.errors import SafetyStop, UserError
from rlvr.samplers.fingerprint import Fingerprint
from rlvr.samplers.vllm_http import STARTED, Facts, Lost, Refused, Server
from rlvr.samplers.weight_files import WeightFiles

if TYPE_CHECKING:
    from rlvr.samplers.vllm_server import VllmServer

log = logging.getLogger("rlvr")

OLDEST = (0, 28)  # vLLM's first with names for weights; seen at work: 0.32
# between two readings of the same weights by the same program, in nats
SAME = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.3}

Sentences = Sequence[tuple[Sequence[int], Sequence[int]]]  # (prompt, continuation)


class Transport(Protocol):
    """How weights reach the server."""

    again: bool  # whether what was put can be sent once more

    def put(self, weights: Iterable[tuple[str, Tensor]]) -> Fingerprint: ...

    def fingerprint(self) -> Fingerprint:
        """Of what would be sent again."""
        ...

    async def send(self, server: Server) -> None: ...

    def close(self) -> None: ...


class ServerWeights:
    """`label`: the name of the weights that were given last; None: the server's are neither old nor new."""

    def __init__(self, server: Server, settings: VllmServer, config: Any) -> None:
        """`config`: of the trainer's model."""
        self.server = server
        self.settings = settings
        self.config = config
        self.prefix = f"rlvr-{uuid.uuid4().hex}"
        self.version = -1
        self.label: str | None = None
        self.received = Fingerprint(torch.float32)
        self.transport: Transport
        self._canary: tuple[Sentences, list[Tensor]] | None = None
        self._lock = anyio.Lock()
        self._numbers = itertools.count()

    async def check(self) -> Facts:
        """Wait for the server and compare what it says of itself with what is needed. Raises UserError."""
        try:
            async for attempt in self._patient():
                with attempt:
                    facts = await self.server.facts()
        except Lost as error:
            raise UserError(f"there is no vLLM server at {self.server.url} ({error})") from None
        except Refused as error:
            raise UserError(f"the server at {self.server.url} refuses: {error}") from None
        fault = wrong(facts, self.settings, self.config)
        if fault:
            raise UserError(f"the server at {self.server.url} {fault}")
        return facts

    def connect(self, dtype: torch.dtype) -> None:
        """Choose the way of the weights."""
        if self.settings.transport == "files":
            self.transport = WeightFiles(self.settings.folder, dtype)
            return
        from rlvr.samplers.vllm_transfer import Transfer

        self.transport = Transfer(self.settings.transport, dtype)

    async def give(self) -> str:
        """Have the server take what was put into the transport; returns the name it has for it.

        A server that fails half-way stays paused: its weights are neither the old ones nor the new.
        """
        label = f"{self.prefix}-{next(self._numbers)}"
        await self._name()
        await self.server.pause()
        await self.transport.send(self.server)
        await self.server.resume(label)
        return label

    async def score(self, sentences: Sentences) -> list[Tensor]:
        """Log-probabilities [L] of each continuation at temperature 1; a restarted server must repeat them."""
        scores = await self._score(sentences)
        self._canary = (sentences, scores)
        return scores

    async def ready(self) -> None:
        """Return when the server is there and has the weights that were given last.

        Raises SafetyStop when that cannot be had.
        """
        async with self._lock:
            label = await self._name()
            if label == self.label:
                return
            if label != STARTED and not label.startswith(self.prefix):
                raise SafetyStop(
                    f"somebody else has given weights to the server at {self.server.url}: "
                    f"it calls them '{label}'"
                )
            await self._restore()

    async def _name(self) -> str:
        """What the server calls its weights, once it is there. Raises SafetyStop when it stays away."""
        try:
            async for attempt in self._patient():
                with attempt:
                    name = await self.server.label()
        except Lost as error:
            raise SafetyStop(
                f"the server at {self.server.url} stayed away for {self.settings.patience:g} s: {error}"
            ) from None
        return name

    async def _restore(self) -> None:
        """Give a server that was restarted its weights again, and see that it answers as before."""
        url, version = self.server.url, self.version
        if not self.transport.again:
            raise SafetyStop(
                f"the server at {url} was restarted, and --sampler.transport "
                f"{self.settings.transport} cannot give it the weights again within a step: use --resume"
            )
        log.warning("the server at %s was restarted: it gets version %s again", url, version)
        await self.check()
        fault = self.received.differs(self.transport.fingerprint())
        if fault:
            raise SafetyStop(f"weights of version {version} on the disk: {fault}")
        self.label = None
        label = await self.give()
        if self._canary is not None:
            sentences, before = self._canary
            now = await self._score(sentences)
            gap = float((torch.cat(now) - torch.cat(before)).abs().max())
            if not gap <= SAME[self.received.dtype]:
                raise SafetyStop(
                    f"the server at {url} was restarted and answers otherwise with the same weights, "
                    f"by up to {gap:.3g} nats"
                )
        self.label = label

    async def _score(self, sentences: Sentences) -> list[Tensor]:
        whole = await self.server.prompt_logprobs([[*prompt, *rest] for prompt, rest in sentences])
        return [
            torch.tensor(logprobs[len(logprobs) - len(rest) :])
            for logprobs, (_, rest) in zip(whole, sentences, strict=True)
        ]

    def _patient(self) -> AsyncRetrying:
        """Attempts for as long as a server may be away."""
        return AsyncRetrying(
            retry=retry_if_exception_type(Lost),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self.settings.patience),
            before_sleep=self._say,
            reraise=True,
        )

    def _say(self, state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            log.warning(
                "the server at %s is away, waiting for up to %g s: %s",
                self.server.url,
                self.settings.patience,
                state.outcome.exception(),
            )


def wrong(facts: Facts, settings: VllmServer, config: Any) -> str | None:
    """What is wrong with a server, in words that follow "the server"; None: nothing."""
    found = re.match(r"(\d+)\.(\d+)", facts.version)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        return f"runs vLLM {facts.version}: {'.'.join(map(str, OLDEST))} is the oldest that will do"
    for name, theirs in facts.sizes.items():
        ours = getattr(config, name, None)
        if theirs is not None and ours is not None and theirs != ours:
            return f"has another model: {name} is {theirs} there and {ours} here"
    if facts.logprobs != "processed_logprobs":
        return f"reports {facts.logprobs}: start it with --logprobs-mode processed_logprobs"
    if facts.length <= settings.max_tokens:
        return (
            f"takes {facts.length} tokens, prompt and response together: too few for "
            f"--sampler.max_tokens {settings.max_tokens}"
        )
    if facts.device == "cpu" and facts.chunked:
        return (
            "may cut a prompt in pieces, and vLLM on a CPU then fails on seeds: start it with "
            "--no-enable-chunked-prefill"
        )
    if getattr(torch, facts.dtype, None) not in SAME:
        return f"holds weights as {facts.dtype}: start it with --dtype float32, bfloat16 or float16"
    if settings.transport != "files" and facts.transfer != settings.transport:
        return (
            f"has no weight transfer {settings.transport}: start it with --weight-transfer-config "
            f'\'{{"backend": "{settings.transport}"}}\''
        )
    return None

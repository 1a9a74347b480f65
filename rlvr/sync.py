"""New weights reach the sampler, or the run stops: a sync is checked every time, not trusted.

Three checks of an engine that answers with a copy: what it took in is what was sent (fingerprint), it says of fixed
sentences what the policy says of them (canary), and it says something new where the policy does. One retry, then
`SafetyStop`. An engine that shares the policy's memory has nothing to check.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlvr.batch import Row
from rlvr.errors import WEIGHT_SYNC, SafetyStop, UserError
from rlvr.learn import score
from rlvr.policy import Policy
from rlvr.prompts import Encode
from rlvr.samplers.fingerprint import Fingerprint
from rlvr.samplers.sampler import Copying, Engine
from rlvr.types import Problem

log = logging.getLogger("rlvr")

# what rounding alone explains between two programs that hold the same weights, in nats: largest and mean difference
TOLERANCE = {torch.float32: (1e-3, 1e-4), torch.float16: (0.5, 0.05), torch.bfloat16: (1.0, 0.1)}


@dataclass
class Sync:
    """Hands the policy's weights to the engine. `version` is the last one that was acknowledged."""

    policy: Policy
    engine: Engine
    sentences: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]  # (prompt, continuation)
    deadline: float = 300.0  # seconds
    version: int = -1
    gap: float | None = None  # largest |log-probability of engine - of policy| on the sentences
    _before: tuple[Tensor, Tensor] | None = field(default=None, repr=False)  # policy's, engine's

    def __call__(self, version: int) -> None:
        """Load the weights as they are now as `version`. Raises SafetyStop when they do not arrive."""
        engine = self.engine
        if not isinstance(engine, Copying):
            engine.load(self.policy.weights(), version)
            self.version = version
            return
        for attempt in (1, 2):
            fault = self._attempt(engine, version)
            if fault is None:
                self.version = version
                return
            log.warning("weights of version %d, attempt %d: %s", version, attempt, fault)
        raise SafetyStop(f"the sampler did not take the weights of version {version}: {fault}")

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.policy.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _attempt(self, engine: Copying, version: int) -> str | None:
        """One try; what went wrong, or None."""
        sent = Fingerprint(engine.dtype)
        outcome: list[BaseException | Tensor] = []

        def work() -> None:
            try:
                weights = sent.over(self.policy.weights())
                self.engine.load(weights, version)
                deque(
                    weights, maxlen=0
                )  # what was not asked for is taken down as sent all the same
                outcome.append(torch.cat(engine.score(self.sentences)))
            except BaseException as error:  # noqa: BLE001 - it is told by the thread that waits
                outcome.append(error)

        thread = threading.Thread(target=work, name=WEIGHT_SYNC, daemon=True)
        thread.start()
        thread.join(self.deadline)
        if not outcome:
            raise SafetyStop(
                f"the weights of version {version} were not taken within {self.deadline:g} s"
            )
        (theirs,) = outcome
        if isinstance(theirs, UserError | SafetyStop):
            raise theirs
        if isinstance(theirs, BaseException):
            return f"{type(theirs).__name__}: {' '.join(str(theirs).split())}"
        return sent.differs(engine.received()) or self._canary(theirs, engine.dtype)

    def _canary(self, theirs: Tensor, dtype: torch.dtype) -> str | None:
        mine = self._own()
        largest, mean = TOLERANCE[dtype]
        gap = (mine - theirs).abs()
        self.gap = float(gap.max())
        if not self.gap <= largest or not float(gap.mean()) <= mean:
            return (
                f"it gives fixed sentences log-probabilities that are up to {self.gap:.3g} nats from the policy's "
                f"({float(gap.mean()):.3g} on average; rounding explains {largest:g} and {mean:g})"
            )
        if self._before is not None:
            moved = float((mine - self._before[0]).abs().max())
            if moved > mean / 10 and torch.equal(theirs, self._before[1]):
                return f"it answers as before, the policy moved by {moved:.3g} nats"
        self._before = (mine, theirs)
        return None

    def _own(self) -> Tensor:
        """The policy's log-probabilities of the sentences, laid end to end."""
        rows = []
        for prompt, rest in self.sentences:
            zeros = torch.zeros(len(rest))
            rows.append(Row(torch.tensor(prompt), torch.tensor(rest), zeros, zeros, zeros))
        training = self.policy.model.training
        self.policy.model.eval()
        try:
            return score(self.policy, rows, budget=8192, temperature=1.0)[0]
        finally:
            self.policy.model.train(training)


def sentences(
    problems: Sequence[Problem], encode: Encode
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What a sync is tried on: prompts of the task, each with the end of the next one behind it."""
    chosen = [encode(problems[index]) for index in range(min(8, len(problems)))]
    return [
        (prompt[:512], other[-16:])
        for prompt, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True)
    ]

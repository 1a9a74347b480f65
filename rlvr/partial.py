"""Long responses over several steps: cut at a limit, continued by the next weights, each token's version kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rlvr.samplers.sampler import Limits
from rlvr.types import Answer, Request, Rollout


@dataclass(frozen=True)
class Begun:
    """A request some of whose responses are not finished."""

    request: Request
    rollouts: tuple[Rollout, ...]  # what is written of each response
    steps: int  # that it has been carried over

    def unfinished(self, max_tokens: int) -> Iterator[tuple[int, Rollout]]:
        for index, rollout in enumerate(self.rollouts):
            if rollout.truncated and rollout.length < max_tokens:
                yield index, rollout


@dataclass
class Partial:
    """One round of asking in which a response may be cut at `limits.segment` tokens.

    `begun`: what the round before left; after `joined` has run dry, what this one leaves. A request
    that has been carried over `most` steps is finished whatever its length.
    """

    limits: Limits
    begun: tuple[Begun, ...]
    most: int
    decode: Callable[[Sequence[int]], str]
    groups: list[Request] = field(default_factory=list)
    _asked: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    _written: dict[int, dict[int, Rollout]] = field(default_factory=dict)

    def requests(self, fresh: Sequence[Request], *, last: bool) -> list[Request]:
        """What to ask the engine for; `last`: nothing may be left over."""
        asked = []
        limit = self.limits.max_tokens
        for number, old in enumerate(self.begun):
            self.groups.append(old.request)
            self._written[number] = dict(enumerate(old.rollouts))
            free = last or old.steps >= self.most
            for index, rollout in old.unfinished(limit):
                left = limit - rollout.length
                part = Request(
                    old.request.problem,
                    (*old.request.prompt_ids, *rollout.tokens.tolist()),
                    responses=1,
                    max_tokens=left if free else min(left, self.limits.segment),
                    expected=float(left),
                )
                self._asked[id(part)] = (number, index)
                asked.append(part)
        cut = self.limits.segment if self.limits.segment and self.most and not last else None
        for request in fresh:
            part = replace(request, max_tokens=min(cut, limit)) if cut else request
            self._asked[id(part)] = (len(self.groups), None)
            self._written[len(self.groups)] = {}
            self.groups.append(request)
            asked.append(part)
        return asked

    def joined(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        """Finished responses, whole, to the requests in `groups`."""
        limit = self.limits.max_tokens
        for old in self.begun:
            missing = {index for index, _ in old.unfinished(limit)}
            for index, rollout in enumerate(old.rollouts):
                if index not in missing:
                    yield Answer(old.request, index, rollout)
        for answer in answers:
            number, continued = self._asked[id(answer.request)]
            rollout = answer.rollout
            place = answer.index if continued is None else continued
            if continued is not None:
                rollout = self._continued(self._written[number][place], rollout)
            self._written[number][place] = rollout
            if not rollout.truncated or rollout.length >= limit:
                yield Answer(self.groups[number], place, rollout)
        self.begun = tuple(self._left())

    def _continued(self, head: Rollout, tail: Rollout) -> Rollout:
        tokens = torch.cat([head.tokens, tail.tokens])
        return replace(
            head,
            tokens=tokens,
            logprobs=torch.cat([head.logprobs, tail.logprobs]),
            text=self.decode(tokens.tolist()),
            finish=tail.finish,
            version=min(head.version, tail.version),
            versions=torch.cat([_versions(head), _versions(tail)]),
        )

    def _left(self) -> Iterator[Begun]:
        carried = [each.steps for each in self.begun]
        for number, request in enumerate(self.groups):
            written = self._written[number]
            if len(written) < request.responses:
                continue  # cancelled
            rollouts = tuple(written[index] for index in range(request.responses))
            steps = carried[number] + 1 if number < len(carried) else 1
            left = Begun(request, rollouts, steps)
            if any(True for _ in left.unfinished(self.limits.max_tokens)):
                yield left


def _versions(rollout: Rollout) -> Tensor:
    if rollout.versions is not None:
        return rollout.versions
    return torch.full((rollout.length,), rollout.version)

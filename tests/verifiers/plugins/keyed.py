"""Verifiers with a key, without a cache, and with a leak."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import ClassVar

from rlvr.types import Verdict

calls = itertools.count(1)
kept: list[bytes] = []


@dataclass(frozen=True)
class Dice:
    """Another answer every time."""

    cacheable: ClassVar[bool] = False

    def __call__(self, response: str, reference: object = None) -> Verdict:
        return Verdict.wrong(str(next(calls)))


@dataclass(frozen=True)
class Counting:
    """Says how often it was called; spelling does not matter."""

    def __call__(self, response: str, reference: object = None, **fields: object) -> Verdict:
        return Verdict.wrong(str(next(calls)))

    def key(self, response: str, **fields: object) -> str | None:
        return response.strip().lower()


@dataclass(frozen=True)
class Leaking:
    """Keeps 20 MB of every response in memory."""

    pool_memory_mb: ClassVar[int] = 512

    def __call__(self, response: str, reference: object = None) -> Verdict:
        kept.append(os.urandom(20 * 2**20))
        return Verdict.wrong(str(os.getpid()))

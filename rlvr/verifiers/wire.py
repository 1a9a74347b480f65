"""What crosses between the pool and its workers: length-prefixed frames of JSON, decoded strictly,
never a pickle."""

from __future__ import annotations

import json
import math
import os
import struct
from typing import Any

from rlvr.types import Status, Verdict

HEADER = struct.Struct("<IQ")  # payload bytes, job number (0: the worker itself speaks)
MAX_JOB = 256 * 2**20  # bytes
MAX_REPLY = 4 * 2**20
MAX_TEXT = 4000  # characters of a detail or an extracted answer

_encode = json.JSONEncoder(separators=(",", ":"), default=os.fspath).encode  # a path is its text


class WireError(Exception):
    """A worker said something that is not in the protocol: it is killed."""


def encode(value: object) -> bytes:
    """ASCII JSON; lone surrogates survive. TypeError, ValueError or RecursionError else."""
    return _encode(value).encode("ascii")


def frame(job: int, payload: bytes) -> bytes:
    return HEADER.pack(len(payload), job) + payload


class Frames:
    """Cuts a byte stream into frames."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Complete frames as (job, payload). Raises WireError on a frame over the limit."""
        buffer = self._buffer
        buffer += data
        found: list[tuple[int, bytes]] = []
        position, available = 0, len(buffer)
        while available - position >= HEADER.size:
            length, job = HEADER.unpack_from(buffer, position)
            if length > self._limit:
                raise WireError(f"a frame of {length} bytes")
            end = position + HEADER.size + length
            if end > available:
                break
            found.append((job, bytes(buffer[position + HEADER.size : end])))
            position = end
        del buffer[:position]
        return found


def pack_verdict(verdict: Verdict, ended: float, tired: bool, trace: str) -> bytes:
    """`ended` is the monotonic clock after judging: the next job of this worker started then."""
    reward = None if verdict.reward is None else float(verdict.reward)
    return encode(
        [
            Status(verdict.status).value,
            reward,
            str(verdict.detail)[:MAX_TEXT],
            verdict.seconds,
            None if verdict.extracted is None else str(verdict.extracted)[:MAX_TEXT],
            {str(name): float(value) for name, value in verdict.parts.items()},
            str(verdict.isolation)[:MAX_TEXT],
            ended,
            tired,
            trace,
        ]
    )


def unpack_verdict(payload: bytes) -> tuple[Verdict, float, bool, str]:
    """(verdict, ended, tired, trace). WireError unless every value has exactly its type."""
    try:
        raw: Any = json.loads(payload)
        status, reward, detail, seconds, extracted, parts, isolation, ended, tired, trace = raw
        plain = (
            type(detail) is str
            and type(seconds) is float
            and (extracted is None or type(extracted) is str)
            and type(parts) is dict
            and all(type(value) is float for value in parts.values())
            and type(isolation) is str
            and type(ended) is float
            and type(tired) is bool
            and type(trace) is str
            and (reward is None or (type(reward) is float and math.isfinite(reward)))
        )
        if not plain:
            raise WireError("a verdict of the wrong shape")
        verdict = Verdict(Status(status), reward, detail, seconds, extracted, parts, isolation)
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"an unreadable verdict: {error}") from None
    return verdict, ended, tired, trace

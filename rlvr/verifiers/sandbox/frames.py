"""Messages on a stream descriptor: four bytes of length, then JSON. Plain `os` calls, no buffering, no pickle."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

LARGEST = 32 * 2**20  # bytes of one message


class FrameError(Exception):
    """What came is not a message: too long, cut off or not JSON."""


def pack(message: object) -> bytes:
    body = json.dumps(message, separators=(",", ":"), check_circular=False).encode()
    return struct.pack(">I", len(body)) + body


def send(descriptor: int, message: object) -> None:
    write_all(descriptor, pack(message))


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def receive(descriptor: int, largest: int = LARGEST) -> Any:
    """The next message, or None at the end of the stream. Raises FrameError."""
    head = _exactly(descriptor, 4)
    if not head:
        return None
    (length,) = struct.unpack(">I", head)
    if length > largest:
        raise FrameError(f"a message of {length} bytes")
    body = _exactly(descriptor, length)
    if len(body) != length:
        raise FrameError("cut off")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(type(error).__name__) from None


def _exactly(descriptor: int, count: int) -> bytes:
    """`count` bytes, or nothing at the end of the stream."""
    parts: list[bytes] = []
    missing = count
    while missing:
        part = os.read(descriptor, min(missing, 2**20))
        if not part:
            if parts:
                raise FrameError("cut off")
            return b""
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)

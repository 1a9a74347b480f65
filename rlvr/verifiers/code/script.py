"""One run of a program as a script: its input is written, its output read, its end awaited, all at once."""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rlvr.verifiers.sandbox import Ending, Limits, Server, frames
from rlvr.verifiers.sandbox.client import SERVER_SECONDS

BLOCK = 2**16


@dataclass(frozen=True)
class Ran:
    """`first` is the jail's first word: whether the response held a program at all. None: it died before that."""

    first: dict[str, Any] | None
    output: bytes
    flooded: bool  # more output than may be
    ending: Ending


def run(server: Server, order: dict[str, Any], stdin: bytes, limits: Limits, most: int) -> Ran:
    """Raises SandboxError when the sandbox fails."""
    here, channel = socket.socketpair()
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    pipes = _Pipes(in_write, out_read, stdin, most)
    try:
        with here:
            try:
                server.start(limits, channel.fileno(), in_read, out_write)
            finally:
                channel.close()
                os.close(in_read)
                os.close(out_write)
            try:
                with suppress(OSError):  # it died early; its ending says how
                    frames.send(here.fileno(), order)
                flooded = pipes.serve(server.ended(), limits.seconds + SERVER_SECONDS)
            finally:
                ending = server.stop()
            flooded = pipes.drain() or flooded
            try:
                first = frames.receive(here.fileno())
            except (OSError, frames.FrameError):
                first = None
            return Ran(first, bytes(pipes.output), flooded, ending)
    finally:
        pipes.close()


class _Pipes:
    def __init__(self, to: int, back: int, data: bytes, most: int) -> None:
        self._to: int | None = to
        self._back = back
        self._data = memoryview(data)
        self._most = most
        self.output = bytearray()
        os.set_blocking(to, False)
        os.set_blocking(back, False)

    def serve(self, ended: int, seconds: float) -> bool:
        """Until the program ends, or floods (True), or `seconds` are over."""
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(self._back, select.POLLIN)
        if self._to is not None:
            poll.register(self._to, select.POLLOUT)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                if descriptor == ended:
                    return False
                if descriptor == self._back:
                    if not self._read():
                        poll.unregister(self._back)
                    if len(self.output) > self._most:
                        return True
                elif not self._write():
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    self._to = None
        return False

    def _write(self) -> bool:
        """False when there is nothing more to write, or nobody to read it."""
        try:
            if self._data:
                self._data = self._data[os.write(self._to or 0, self._data[:BLOCK]) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(self._data)

    def _read(self) -> bool:
        try:
            part = os.read(self._back, BLOCK)
        except BlockingIOError:
            return True
        self.output += part
        return bool(part)

    def drain(self) -> bool:
        """What is left after everybody who could write has ended; True when it is too much."""
        while len(self.output) <= self._most:
            before = len(self.output)
            if not self._read() or len(self.output) == before:
                return False
        return True

    def close(self) -> None:
        for descriptor in (self._to, self._back):
            if descriptor is not None:
                os.close(descriptor)

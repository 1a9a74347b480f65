"""The fork server and its workers as one crew: brought up to strength, killed, let go."""

from __future__ import annotations

import selectors
from contextlib import suppress

from rlvr.verifiers.calling import Traits
from rlvr.verifiers.pool_report import Counters
from rlvr.verifiers.pool_worker import ServerEnd, WorkerEnd
from rlvr.verifiers.spec import Spec


class Crew:
    """`ends` are the workers in use, by number; `server` is None between two servers. For one thread."""

    def __init__(
        self,
        spec: Spec,
        traits: Traits,
        count: int,
        counters: Counters,
        selector: selectors.BaseSelector,
    ) -> None:
        self.ends: dict[int, WorkerEnd] = {}
        self.server: ServerEnd | None = None
        self._spec, self._traits, self._count = spec, traits, count
        self._counters, self._selector = counters, selector
        self._forked = 0  # workers asked of this server so far

    def start(self) -> None:
        """A server; it says when it is ready for `spawn`. Raises OSError."""
        self._counters.servers += 1
        self._forked = 0
        self.server = ServerEnd(self._spec, self._traits)
        self._selector.register(self.server.control, selectors.EVENT_READ, self.server)

    def spawn(self) -> None:
        """Workers up to the number wanted, where there is a server to fork them."""
        while self.server and self.server.ready and len(self.ends) < self._count:
            self._forked += 1
            self._counters.respawned += self._forked > self._count
            try:
                end = self.server.fork(self._forked)
            except OSError:
                return  # the server died: that is noticed next
            self.ends[end.number] = end
            self._selector.register(end.channel, selectors.EVENT_READ, end)

    def watch(self, end: WorkerEnd) -> None:
        """Be woken by what it says, and by room to tell it what is still unsent."""
        write = selectors.EVENT_WRITE if end.unsent else 0
        self._selector.modify(end.channel, selectors.EVENT_READ | write, end)

    def kill(self, end: WorkerEnd) -> None:
        if self.server:
            with suppress(OSError):
                self.server.kill(end.number)

    def drop(self, end: WorkerEnd) -> None:
        """It is in use no more. A second time does nothing."""
        if self.ends.pop(end.number, None) is None:
            return
        with suppress(KeyError):
            self._selector.unregister(end.channel)
        end.channel.close()
        end.open = False

    def release(self) -> ServerEnd | None:
        """The server, which this crew knows no longer: nothing is forked or killed through it."""
        server, self.server = self.server, None
        if server:
            self._selector.unregister(server.control)
        return server

"""How long work shows itself: a bar on a terminal, a plain line now and then elsewhere. Always on
stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

EVERY = 10.0  # seconds between plain lines


class Progress:
    """A context manager. `total` and `advance` share a unit; None where no end is known.

    >>> with Progress("counting", total=3) as progress:
    ...     progress.advance(3, "all of them")
    """

    def __init__(self, what: str, total: int | None = None, unit: str = "it") -> None:
        self._what, self._total = what, total
        self._done = 0
        self._shown = time.monotonic()
        scaled = unit == "B"
        self._bar = (
            tqdm(total=total, unit=unit, unit_scale=scaled, desc=what, file=sys.stderr, leave=False)
            if sys.stderr.isatty()
            else None
        )

    def advance(self, amount: int, note: str = "") -> None:
        self._done += amount
        if self._bar is not None:
            self._bar.update(amount)
        now = time.monotonic()
        if now - self._shown < (0.2 if self._bar is not None else EVERY):
            return
        self._shown = now
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
        else:
            share = f" {self._done / self._total:.0%}" if self._total else ""
            print(f"{self._what}:{share} {note}", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

"""What a pool remembers: verdicts by content, and the cases that must never be tried again."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

from rlvr.types import Status, Verdict
from rlvr.verifiers.case import Case

LASTING = (Status.CORRECT, Status.WRONG, Status.UNPARSED, Status.FORBIDDEN)


class VerdictCache:
    """The most recently used verdicts; no time-outs, they may be the machine's doing."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()

    def get(self, digest: bytes) -> Verdict | None:
        found = self._known.get(digest)
        if found is not None:
            self._known.move_to_end(digest)
        return found

    def put(self, digest: bytes, verdict: Verdict) -> None:
        if self._size and verdict.status in LASTING:
            self._known[digest] = verdict
            if len(self._known) > self._size:
                self._known.popitem(last=False)


class Quarantine:
    """Cases that hung or killed a worker: answered from memory for the rest of the run.

    Each is appended to `path` as a line of `rlvr verify` input, so that the file is a test as it
    stands.
    """

    def __init__(self, path: Path | None, verifier: str) -> None:
        self._path = path
        self._verifier = verifier
        self._known: dict[bytes, Verdict] = {}

    def get(self, digest: bytes) -> Verdict | None:
        return self._known.get(digest)

    def __len__(self) -> int:
        return len(self._known)

    def put(self, digest: bytes, case: Case, verdict: Verdict) -> None:
        if digest in self._known:
            return
        self._known[digest] = verdict
        if self._path is not None:
            line = {
                **case.fields,
                "id": case.id or digest.hex(),
                "response": case.response,
                "reference": case.reference,
                "quarantined": f"{verdict.status}: {verdict.detail}",
                "verifier": self._verifier,
            }
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="ascii") as file:
                file.write(json.dumps(line) + "\n")

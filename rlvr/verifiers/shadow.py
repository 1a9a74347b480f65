"""A second opinion: another verifier judges a share of the cases, off the critical path, and
disagreements are counted.

Not covered: deciding who is right. The shadow never changes a verdict.
"""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType

from rlvr.errors import UserError
from rlvr.types import Status, Verdict
from rlvr.verifiers.case import Case
from rlvr.verifiers.pool import Pool


class Shadow:
    """Give it to a pool: `Pool("math", observe=Shadow("rlvr.verifiers.math:Math", share=0.05))`. A
    context manager.

    `share` of the cases, chosen by their content, so that the same case is always or never checked.
    At most `bound` wait; more are dropped and counted, because the second opinion must never slow
    the first. Two verdicts disagree when one is correct and the other is not; broken ones are
    counted apart. `record`: JSONL file that gets the disagreements.
    """

    def __init__(
        self,
        verifier: object,
        *,
        share: float = 0.05,
        workers: int = 1,
        timeout: float | None = None,
        bound: int = 256,
        record: Path | None = None,
    ) -> None:
        if not 0 < share <= 1:
            raise UserError(f"a shadow's share goes from 0 to 1, not {share}")
        self._limit = int(share * 2**32)
        self._bound = bound
        self._record = record
        self._pool = Pool(verifier, workers=workers, timeout=timeout, max_broken=1.0)
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._waiting = 0
        self._agreed = self._only_first = self._only_second = 0
        self._broken = self._dropped = 0

    def __call__(self, case: Case, verdict: Verdict) -> None:
        """Look at one verdict, maybe. Returns at once."""
        if verdict.status is Status.BROKEN or not self._chosen(case):
            return
        with self._lock:
            if self._waiting >= self._bound:
                self._dropped += 1
                return
            self._waiting += 1
        self._pool.submit(case).add_done_callback(partial(self._compare, case, verdict))

    def metrics(self) -> dict[str, float | None]:
        """Counts since the start, and the share that disagrees (None before the first)."""
        with self._lock:
            disagreed = self._only_first + self._only_second
            compared = self._agreed + disagreed
            return {
                "shadow_compared": compared,
                "shadow_disagreement": disagreed / compared if compared else None,
                "shadow_only_first_accepts": self._only_first,
                "shadow_only_second_accepts": self._only_second,
                "shadow_broken": self._broken,
                "shadow_dropped": self._dropped,
            }

    def wait(self, timeout: float | None = None) -> bool:
        """Until everything looked at is compared; False after `timeout` seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: self._waiting == 0, timeout)

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Shadow:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _chosen(self, case: Case) -> bool:
        content = f"{case.response}\0{case.reference}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(content, digest_size=4).digest()
        return int.from_bytes(digest, "big") < self._limit

    def _compare(self, case: Case, first: Verdict, future: Future[Verdict]) -> None:
        second = future.result()
        with self._idle:
            self._waiting -= 1
            if second.status is Status.BROKEN:
                self._broken += 1
            elif first.correct == second.correct:
                self._agreed += 1
            else:
                self._only_first += first.correct
                self._only_second += second.correct
                self._write(case, first, second)
            if not self._waiting:
                self._idle.notify_all()

    def _write(self, case: Case, first: Verdict, second: Verdict) -> None:
        if self._record is None:
            return
        line = {
            **case.fields,
            "id": case.id,
            "response": case.response,
            "reference": case.reference,
            "first": f"{first.status}: {first.detail}",
            "second": f"{second.status}: {second.detail}",
        }
        self._record.parent.mkdir(parents=True, exist_ok=True)
        with self._record.open("a", encoding="ascii") as file:
            file.write(json.dumps(line) + "\n")

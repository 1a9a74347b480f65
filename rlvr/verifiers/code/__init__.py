"""Programs judged by tests. The program runs in a jail; the tests run outside it and see plain data only."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

from rlvr.types import Status, Verdict
from rlvr.verifiers import sandbox
from rlvr.verifiers.code import extract, judging
from rlvr.verifiers.code import pair as servers
from rlvr.verifiers.code.extract import Found
from rlvr.verifiers.code.pair import Pair
from rlvr.verifiers.code.task import Task, Unusable
from rlvr.verifiers.sandbox import TIERS, Limits, SandboxError

RETRY_SECONDS = 0.2  # a sandbox that fails later than this has used up the response's time


@dataclass(frozen=True)
class Code:
    """Python programs, by assertions, `check(candidate)` or stdin/stdout cases, in a sandbox.

    Not covered: bugs of the kernel, tests that `eval` a result and tests that compare the program's own objects (they
    need `live`). The program is never in the interpreter of the tests: results cross as plain data (numbers, text,
    containers, a few standard types), so it can neither see what is expected nor decide how it is compared.

    `min_isolation` is the weakest acceptable tier: "namespaces", "landlock", or, only by this explicit word, "rlimits".
    `live` runs the tests inside the jail, beside the program, which can then forge its verdict: use it for tests of
    trusted programs only. Verdicts name the tier, and "+live".
    """

    timeout: float = 4.0  # seconds for all tests of a response
    memory_mb: int = 512  # of the program and all it starts
    disk_mb: int = 64  # of the files it writes
    min_isolation: str = "landlock"
    fraction: bool = False  # reward: the share of the assertions or cases that pass
    live: bool = False

    version: ClassVar[str] = "1"
    grace: ClassVar[float] = 0.9  # a pool waits this much longer than `timeout`
    pool_memory_mb: ClassVar[int] = (
        0  # the sandbox has limits of its own, which a lower one would cut
    )
    pool_disk_mb: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.min_isolation not in TIERS:
            raise ValueError(f"min_isolation is one of {', '.join(TIERS)}")
        if self.timeout <= 0 or self.memory_mb < 64 or self.disk_mb < 1:
            raise ValueError("timeout is above 0, memory_mb at least 64, disk_mb at least 1")

    def prepare(self) -> None:
        """Find out, once for all processes forked from this one, what the machine gives."""
        sandbox.modes()

    def open(self) -> None:
        """Start this process's servers before the first program comes."""
        try:
            servers.give_back(servers.take(sandbox.best(self.min_isolation)))
        except SandboxError:
            return  # every verdict will say why

    def __call__(
        self,
        response: str,
        reference: object = None,
        *,
        tests: object = None,
        entry_point: object = None,
        prompt: object = "",
        files: object = None,
        cases: object = None,
        **fields: object,
    ) -> Verdict:
        """The verdict; never raises. `tests` is Python source, `cases` a list of {"stdin", "stdout"}."""
        started = time.monotonic()
        try:
            if tests is None and cases is None:
                tests = reference
            verdict = self._judge(response, Task.of(tests, entry_point, prompt, files, cases))
        except Unusable as error:
            verdict = Verdict.broken(str(error))
        return replace(verdict, seconds=time.monotonic() - started)

    def _judge(self, response: str, task: Task) -> Verdict:
        found = extract.find(response)
        if not found.blocks and not found.bare.strip():
            return Verdict(Status.UNPARSED, 0.0, "no program in the response")
        started = time.monotonic()
        try:
            return self._attempt(found, task, fresh=False)
        except SandboxError as error:
            failure = str(error)
        if time.monotonic() - started > RETRY_SECONDS:
            return Verdict.broken(f"the sandbox failed: {failure}")
        try:  # a server that was found dead is replaced once
            return self._attempt(found, task, fresh=True)
        except SandboxError as error:
            return Verdict.broken(f"the sandbox failed: {error}, after {failure}")

    def _attempt(self, found: Found, task: Task, fresh: bool) -> Verdict:
        """Raises SandboxError."""
        try:
            pair = servers.take(sandbox.best(self.min_isolation), fresh)
        except SandboxError as error:
            return Verdict.broken(f"no sandbox: {error}")
        try:
            verdict = self._run(pair, found, task)
        except BaseException:
            pair.close()  # failed or interrupted in the middle: its state is unknown
            raise
        servers.give_back(pair)
        return replace(verdict, isolation=pair.tier + "+live" * self.live)

    def _run(self, pair: Pair, found: Found, task: Task) -> Verdict:
        limits = Limits(self.timeout, self.memory_mb, self.disk_mb)
        if task.cases:
            return judging.by_cases(pair, found, task, limits, self.fraction)
        return judging.by_tests(pair, found, task, limits, self.live, self.fraction)

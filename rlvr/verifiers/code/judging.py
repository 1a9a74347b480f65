"""From what happened in the sandbox to a verdict."""

from __future__ import annotations

import signal
import time
from typing import Any

from rlvr.types import Status, Verdict
from rlvr.verifiers.code import compare
from rlvr.verifiers.code.extract import Found
from rlvr.verifiers.code.pair import ASKED, LOADED, Pair
from rlvr.verifiers.code.task import Task
from rlvr.verifiers.sandbox import Ending, Limits

MOST_OUTPUT = 16 * 2**20  # bytes of standard output

_BY_SIGNAL = {
    signal.SIGSYS: (Status.FORBIDDEN, "the program made a system call that the sandbox denies"),
    signal.SIGXCPU: (Status.TIMEOUT, "the program used up its processor time"),
    signal.SIGKILL: (Status.TIMEOUT, "the program was killed, probably for memory"),
}
_BY_LIMIT = {
    "time": "the program took longer than {seconds:g} s",
    "memory": "the program used more than {memory_mb} MB",
    "disk": "the program wrote more than {disk_mb} MB",
}
# what the jail's script runner exits with, beside the program's own codes
_BY_CODE = {
    101: (Status.TIMEOUT, "the program needs more memory than it may have"),
    102: (Status.TIMEOUT, "the program writes more than it may"),
    103: (Status.FORBIDDEN, "the program tried what the sandbox denies"),
    104: (Status.TIMEOUT, "the program starts more processes than it may"),
}


def by_tests(
    pair: Pair, found: Found, task: Task, limits: Limits, live: bool, fraction: bool
) -> Verdict:
    order = {
        "blocks": found.blocks,
        "bare": found.bare,
        "tests": task.tests,
        "entry_point": task.entry_point,
        "prompt": task.prompt,
        "files": dict(task.files),
        "live": live,
        "fraction": fraction and not live,
    }
    judged = pair.run_tests(order, limits)
    report = judged.report
    if report is None:
        if judged.ending and (LOADED not in judged.progress or ASKED in judged.progress):
            return _ended(judged.ending, limits)
        return Verdict.broken("the tests took longer than the limit, or died, by themselves")
    source = report["source"] or None
    if judged.ending:
        return _ended(judged.ending, limits)
    if report["status"] == "correct":
        return Verdict(Status.CORRECT, 1.0, extracted=source)
    status = Status(report["status"])
    if status is Status.BROKEN:
        return Verdict.broken(report["detail"])
    share = report["passed"] / report["total"] if report["total"] else 0.0
    reward = share if order["fraction"] and status is Status.WRONG else 0.0
    return Verdict(status, reward, report["detail"], extracted=source)


def _ended(ending: Ending, limits: Limits) -> Verdict:
    """The program ended before the tests did."""
    if ending.why in _BY_LIMIT:
        text = _BY_LIMIT[ending.why].format(**vars(limits))
        return Verdict(Status.TIMEOUT, 0.0, text)
    if ending.signal in _BY_SIGNAL:
        status, text = _BY_SIGNAL[signal.Signals(ending.signal)]
        return Verdict(status, 0.0, text)
    if ending.signal is not None:
        return Verdict.wrong(f"the program died of signal {ending.signal}")
    if ending.why == "stop":
        return Verdict(Status.TIMEOUT, 0.0, f"no result within {limits.seconds:g} s")
    return Verdict.wrong(f"the program ended (exit code {ending.code}) before the tests did")


def by_cases(pair: Pair, found: Found, task: Task, limits: Limits, fraction: bool) -> Verdict:
    """All cases share the time limit. Stops at the first failure unless a share is asked for."""
    until = time.monotonic() + limits.seconds
    failures: list[Verdict] = []
    passed = 0
    for number, case in enumerate(task.cases, 1):
        left = max(0.001, until - time.monotonic())
        verdict = _one(pair, found, task, limits.within(left), case.stdin, case.stdout)
        if verdict is None:
            passed += 1
            continue
        if verdict.status in (Status.UNPARSED, Status.BROKEN):
            return verdict
        failures.append(_named(verdict, number, limits.seconds))
        if not fraction or time.monotonic() >= until:
            break
    if not failures:
        return Verdict(Status.CORRECT, 1.0, extracted=_last(found))
    worst = failures[0]
    reward = passed / len(task.cases) if fraction and worst.status is Status.WRONG else 0.0
    return Verdict(worst.status, reward, worst.detail, extracted=_last(found))


def _one(
    pair: Pair, found: Found, task: Task, limits: Limits, stdin: str, stdout: str
) -> Verdict | None:
    """None when the case passes."""
    order: dict[str, Any] = {
        "blocks": found.blocks,
        "bare": found.bare,
        "wanted": [],
        "names": [],
        "prompt": task.prompt,
        "files": dict(task.files),
        "script": True,
        "tests": "",
    }
    ran = pair.run_script(order, stdin.encode("utf-8", "surrogatepass"), limits, MOST_OUTPUT)
    if ran.first is not None and "none" in ran.first:
        status = Status.UNPARSED if ran.first["none"] == "unparsed" else Status.WRONG
        return Verdict(status, 0.0, f"no program: {str(ran.first.get('reason', ''))[:200]}")
    if ran.flooded:
        return Verdict(Status.TIMEOUT, 0.0, f"more than {MOST_OUTPUT >> 20} MB of output")
    if ran.ending.why or ran.ending.signal is not None:
        return _ended(ran.ending, limits)
    if ran.ending.code in _BY_CODE:
        status, text = _BY_CODE[ran.ending.code]
        return Verdict(status, 0.0, text)
    if ran.ending.code:
        return Verdict.wrong(f"exit code {ran.ending.code}")
    found_difference = compare.difference(ran.output.decode("utf-8", "replace"), stdout)
    return Verdict.wrong(found_difference) if found_difference else None


def _named(verdict: Verdict, number: int, seconds: float) -> Verdict:
    late = verdict.status is Status.TIMEOUT and "took longer" in verdict.detail
    text = f"the cases took longer than {seconds:g} s" if late else verdict.detail
    return Verdict(verdict.status, 0.0, f"case {number}: {text}")


def _last(found: Found) -> str | None:
    return found.blocks[-1] if found.blocks else found.bare or None

"""A worker: judges one case after the other until its channel closes or it is killed."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
import traceback
from dataclasses import replace
from typing import Any

from rlvr.types import Status, Verdict
from rlvr.verifiers import limits, wire
from rlvr.verifiers.calling import Call, Traits

JOBS = 50_000  # then the worker is replaced: sympy and friends never give memory back
REMEMBERED = 4096  # verdicts by normalised answer


def work(channel: int, call: Call, traits: Traits, processes: int) -> None:
    """Runs in the forked child and never returns."""
    import socket

    _quiet()
    limits.limit(traits.memory_mb, traits.file_mb, processes)
    link = socket.socket(fileno=channel)
    try:
        if hasattr(call.verifier, "open"):
            call.verifier.open()
    except BaseException as error:  # noqa: BLE001 - whatever it raised, it cannot judge
        link.sendall(wire.frame(0, wire.encode({"failed": brief(error)})))
        os._exit(0)
    link.sendall(wire.frame(0, wire.encode({"pid": os.getpid()})))
    worker = Worker(call, traits)
    frames = wire.Frames(wire.MAX_JOB)
    while data := link.recv(2**18):
        for job, payload in frames.feed(data):
            reply, tired = worker.judge(payload)
            link.sendall(wire.frame(job, reply))
            if tired:
                while link.recv(2**18):  # the pool gives what is queued here to a fresh worker
                    pass
                os._exit(0)
    os._exit(0)


class Worker:
    def __init__(self, call: Call, traits: Traits) -> None:
        self._call = call
        self._key = getattr(call.verifier, "key", None) if traits.cacheable else None
        self._known: dict[tuple[str, bytes], Verdict] = {}
        self._allowance = limits.CpuAllowance(traits.deadline + 1)
        self._memory = traits.memory_mb
        self._full = max(self._memory * 512, _resident() * 3 // 2)  # KiB
        self._jobs = 0

    def judge(self, payload: bytes) -> tuple[bytes, bool]:
        """The reply and whether this worker wants to be replaced. Never raises."""
        self._allowance.renew()
        self._jobs += 1
        started = time.monotonic()
        trace, tired = "", False
        try:
            verdict = self._verdict(payload)
        except MemoryError:
            verdict = Verdict(Status.TIMEOUT, 0.0, f"needs more than {self._memory} MB")
            tired = True
        except BaseException as error:  # noqa: BLE001 - math-verify's time-out is no Exception
            verdict = Verdict.broken(brief(error))
            trace = "".join(traceback.format_exception(error, limit=-8))[-wire.MAX_TEXT :]
        ended = time.monotonic()
        verdict = replace(verdict, seconds=ended - started)
        tired = tired or self._jobs >= JOBS or self._swollen()
        try:
            return wire.pack_verdict(verdict, ended, tired, trace), tired
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            bad = Verdict.broken(f"not a verdict: {brief(error)}", seconds=ended - started)
            return wire.pack_verdict(bad, ended, tired, trace), tired

    def _verdict(self, payload: bytes) -> Verdict:
        response, reference, fields, prompt = json.loads(payload)
        key = self._remembered_as(response, reference, fields)
        if key is not None and key in self._known:
            return self._known[key]
        verdict = self._call(response, reference, fields, prompt)
        if verdict.reward is not None and not math.isfinite(verdict.reward):
            return Verdict.broken(f"the verifier returned {verdict.reward}")
        if key is not None and verdict.status in (Status.CORRECT, Status.WRONG):
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = verdict
        return verdict

    def _remembered_as(
        self, response: str, reference: Any, fields: Any
    ) -> tuple[str, bytes] | None:
        if self._key is None:
            return None
        try:
            answer = self._key(response, **fields)
        except Exception:  # noqa: BLE001 - a key saves time, it decides nothing
            return None
        return (answer, wire.encode([reference, fields])) if isinstance(answer, str) else None

    def _swollen(self) -> bool:
        """Half the allowance is gone: the next response must not pay for earlier ones."""
        return bool(self._memory) and _resident() > self._full


def _resident() -> int:
    """The most this process ever held, KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _quiet() -> None:
    """What a verifier prints goes nowhere: a full pipe would hang it, stdout is not its own."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    sys.stdin = open(os.devnull)  # noqa: SIM115 (it lives as long as the process)


def brief(error: BaseException) -> str:
    """One short line, even of an error whose own text fails."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - the error's __str__ is the verifier's code too
        text = ""
    name = type(error).__name__
    return f"{name}: {text}"[:300] if text else name

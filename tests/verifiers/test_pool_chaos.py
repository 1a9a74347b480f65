"""A thousand cases of every kind at once, while workers and the server are shot: all get the right answer."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from rlvr.types import Status
from rlvr.verifiers.pool import Case, Pool, Spec

OBEY = f"{Path(__file__).parent / 'plugins' / 'misc.py'}:Obey"

EXPECTED = {
    "ok": {Status.CORRECT},
    "no": {Status.WRONG},
    "score 0.5": {Status.CORRECT},
    "sleep 0.03": {Status.CORRECT},
    "raise x": {Status.BROKEN},
    "quit": {Status.BROKEN},
    "segv": {Status.BROKEN},
    "exit 9": {Status.BROKEN},
    "close": {Status.BROKEN},
    "hang": {Status.TIMEOUT},
    "memory 9000": {Status.TIMEOUT},
}
OFTEN = ["ok"] * 60 + ["no"] * 60 + ["sleep 0.03"] * 10 + list(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_case_gets_its_own_verdict(seed):
    choose = random.Random(seed)
    verbs = [choose.choice(OFTEN) for _ in range(1500)]
    spec = Spec(OBEY, {"timeout": 0.8})
    with Pool(spec, workers=3, max_broken=1.0, cache=choose.choice([0, 100])) as pool:
        chosen = iter(verbs)
        cases = (
            Case(f"{verb}{' ' * (' ' not in verb)}", number) for number, verb in enumerate(chosen)
        )
        for verb, verdict in zip(verbs, pool.map(cases), strict=True):
            assert verdict.status in EXPECTED[verb], (verb, verdict)
        report = pool.report()
    assert report.waiting == 0
    assert sum(count for _, count in report.statuses) == len(verbs)
    assert report.servers == 1


@pytest.mark.slow
def test_shots_from_outside_never_lose_or_swap_a_verdict():
    """A shot worker breaks at most the case it was on; a shot server breaks none. Nothing hangs."""
    stop = threading.Event()
    shots = 0

    with Pool(Spec(OBEY, {"timeout": 5.0}), workers=3, max_broken=1.0, bound=32) as pool:
        pool.ready()

        def shoot():
            nonlocal shots
            choose = random.Random(0)
            while not stop.wait(0.1):
                answer = pool.submit(Case(choose.choice(["pid", "pid", "parent"]), time.time()))
                verdict = answer.result(30)
                if verdict.status is Status.WRONG:
                    os.kill(int(verdict.detail), signal.SIGKILL)
                    shots += 1

        thread = threading.Thread(target=shoot)
        thread.start()
        choose = random.Random(1)
        verbs = [choose.choice(["ok", "no", "sleep 0.01"]) for _ in range(3000)]
        cases = (Case(f"{verb} ", number) for number, verb in enumerate(verbs))
        broken = 0
        for verb, verdict in zip(verbs, pool.map(cases), strict=True):
            if verdict.status is Status.BROKEN:
                assert "SIGKILL" in verdict.detail or "vanishing" in verdict.detail
                broken += 1
            else:
                assert verdict.correct == (verb != "no")
        stop.set()
        thread.join(60)
    assert shots > 3
    assert broken <= shots

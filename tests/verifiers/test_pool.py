"""The pool against verifiers that hang, crash, raise and behave."""

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from rlvr.errors import SafetyStop, UserError
from rlvr.types import Answer, Finish, Problem, Request, Rollout, Status
from rlvr.verifiers.pool import Case, Pool, Spec

PLUGINS = Path(__file__).parent / "plugins"
OBEY = f"{PLUGINS / 'misc.py'}:Obey"
EQUAL = f"{PLUGINS / 'misc.py'}:equal"
WAIT = 30  # seconds no test should ever need


def obey(timeout: float = 1.0) -> Spec:
    return Spec(OBEY, {"timeout": timeout})


@pytest.fixture(scope="module")
def shared():
    with Pool(obey(), workers=2, max_broken=1.0) as pool:
        yield pool


def judge(pool, response, **fields):
    return pool.submit(Case(response, None, fields)).result(WAIT)


@pytest.mark.parametrize(
    ("response", "status", "reward", "detail"),
    [
        ("ok", "correct", 1.0, ""),
        ("no", "wrong", 0.0, ""),
        ("score 0.25", "correct", 0.25, ""),
        ("score nan", "broken", None, "returned nan"),
        ("score inf", "broken", None, "returned inf"),
        ("raise some reason", "broken", None, "ValueError: some reason"),
        ("quit", "broken", None, "SystemExit: no more"),
        ("print", "correct", 1.0, ""),
        ("segv", "broken", None, "died of SIGSEGV"),
        ("exit 3", "broken", None, "exited with 3"),
        ("close", "broken", None, "the worker"),
        ("memory 4000", "timeout", 0.0, "needs more than 2048 MB"),
        ("unknown", "broken", None, "AttributeError"),
    ],
)
def test_each_ending_has_its_status(shared, response, status, reward, detail):
    verdict = judge(shared, response)
    assert (verdict.status.value, verdict.reward) == (status, reward)
    assert detail in verdict.detail
    assert judge(shared, f"ok after {response}").correct


@pytest.mark.parametrize("response", ["hang", "spin"])
def test_a_deadline_is_kept_and_says_timeout(shared, response):
    started = time.monotonic()
    verdict = judge(shared, response)
    assert (verdict.status, verdict.reward) == (Status.TIMEOUT, 0.0)
    assert 0.99 <= verdict.seconds <= time.monotonic() - started < 2.0


def test_three_hanging_cases_on_two_workers_still_serve_the_next(shared):
    """The healthy case waits for one deadline: a worker is free when the first hang is killed."""
    started = time.monotonic()
    hanging = [shared.submit(Case(f"hang {number}")) for number in range(3)]
    healthy = shared.submit(Case("ok next"))
    assert healthy.result(WAIT).correct
    assert time.monotonic() - started < 1.0 + 1.5
    assert {future.result(WAIT).status for future in hanging} == {Status.TIMEOUT}
    assert time.monotonic() - started < 2.0 + 1.5


def test_cheap_cases_sent_ahead_do_not_wait_behind_a_slow_one():
    with Pool(obey(5.0), workers=2, cache=0) as pool:
        assert all(verdict.correct for verdict in pool.map(Case(f"ok {i}") for i in range(3000)))
        slow = pool.submit(Case("sleep 2 once"))
        cheap = [pool.submit(Case(f"ok again {i}")) for i in range(500)]
        started = time.monotonic()
        assert all(future.result(WAIT).correct for future in cheap)
        assert time.monotonic() - started < 1.5
        assert not slow.done()
        assert slow.result(WAIT).correct


def test_a_case_that_hung_is_never_tried_again(tmp_path):
    path = tmp_path / "deep" / "quarantine.jsonl"
    with Pool(obey(0.3), workers=1, max_broken=1.0, quarantine=path) as pool:
        first = pool.submit(Case("hang", "r", {"a": 1}, "p7")).result(WAIT)
        crash = pool.submit(Case("segv", "r", {"a": 1}, "p8")).result(WAIT)
        started = time.monotonic()
        again = pool.submit(Case("hang", "r", {"a": 1}, "another id")).result(WAIT)
        crashed_again = pool.submit(Case("segv", "r", {"a": 1})).result(WAIT)
        assert time.monotonic() - started < 0.2
        assert (again.status, crashed_again.status) == (first.status, crash.status)
        report = pool.report()
        assert (report.killed, report.crashed, report.quarantined) == (1, 1, 2)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["id"], line["response"], line["reference"], line["a"]) for line in lines] == [
        ("p7", "hang", "r", 1),
        ("p8", "segv", "r", 1),
    ]
    assert lines[0]["quarantined"].startswith("timeout")


def test_equal_cases_are_judged_once():
    with Pool(obey(5.0), workers=2) as pool:
        together = [pool.submit(Case("sleep 0.2", id=str(i))) for i in range(8)]
        assert all(future.result(WAIT).correct for future in together)
        assert pool.submit(Case("sleep 0.2")).result(WAIT).seconds == 0.0
        pool.submit(Case("sleep 0.2", "another reference")).result(WAIT)
        report = pool.report()
        assert (report.judged, report.cached) == (2, 8)


def test_timeouts_and_broken_verdicts_are_not_cached_as_answers():
    with Pool(obey(5.0), workers=1, max_broken=1.0) as pool:
        for _ in range(2):
            judge(pool, "raise x")
        assert pool.report().judged == 2


def test_a_verifier_may_refuse_the_cache():
    with Pool(f"{PLUGINS / 'keyed.py'}:Dice", workers=1) as pool:
        rolls = {judge(pool, "roll").detail for _ in range(20)}
    assert len(rolls) == 20


def test_answers_that_normalise_alike_are_judged_once_a_worker():
    with Pool(f"{PLUGINS / 'keyed.py'}:Counting", workers=1) as pool:
        first, again, other = (judge(pool, text, a=1) for text in ("  Four ", "four", "five"))
        elsewhere = judge(pool, "FOUR", a=2)
    assert [first.detail, again.detail, other.detail, elsewhere.detail] == ["1", "1", "2", "3"]


def test_order_is_kept_and_verdicts_pass_through():
    with Pool(EQUAL, workers=2) as pool:
        cases = [Case(str(i % 7), str(i % 5)) for i in range(5000)]
        assert [v.correct for v in pool.map(cases)] == [i % 7 == i % 5 for i in range(5000)]


def test_map_is_lazy():
    """The input is drawn as results leave: memory stays constant for any length."""
    drawn = 0

    def cases():
        nonlocal drawn
        while True:
            drawn += 1
            yield Case(str(drawn), "1")

    with Pool(EQUAL, workers=2) as pool:
        verdicts = pool.map(cases())
        for _ in range(100):
            next(verdicts)
        assert drawn < 100 + 1100


def test_a_full_pool_makes_submitters_wait():
    with Pool(obey(10.0), workers=1, bound=4) as pool:
        blocked = threading.Event()

        def submit():
            for number in range(5):
                pool.submit(Case(f"sleep 0.3 {number}"))
            blocked.set()

        thread = threading.Thread(target=submit)
        thread.start()
        assert not blocked.wait(0.15)
        assert pool.report().waiting == 4
        thread.join(WAIT)
        assert blocked.is_set()


def test_many_threads_at_once(shared):
    wrong = []

    def work(name):
        for number in range(200):
            word = "ok" if (number + name) % 2 else "no"
            if judge(shared, f"{word} {name} {number}").correct != (word == "ok"):
                wrong.append((name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_async_code_is_not_blocked():
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        verdicts = await asyncio.gather(
            *(pool.verify(Case(f"sleep 0.1 {number}")) for number in range(6))
        )
        ticking.cancel()
        return verdicts, ticks

    with Pool(obey(5.0), workers=2, bound=2) as pool:
        verdicts, ticks = asyncio.run(main())
    assert all(verdict.correct for verdict in verdicts)
    assert ticks > 10


def test_a_cancelled_await_does_no_harm(shared):
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shared.verify(Case("sleep 0.5 cancelled")), 0.05)
        return await shared.verify(Case("ok cancelled"))

    assert asyncio.run(main()).correct


def test_callbacks_may_submit_more(shared):
    second = threading.Event()
    shared.submit(Case("ok first")).add_done_callback(
        lambda _: shared.submit(Case("ok second")).add_done_callback(lambda _: second.set())
    )
    assert second.wait(WAIT)


def test_too_many_broken_verdicts_stop_the_consumer():
    with Pool(obey(), workers=2, max_broken=0.1) as pool:
        cases = [Case(f"{'raise' if i % 4 == 0 else 'ok'} {i}") for i in range(200)]
        with pytest.raises(SafetyStop, match=r"broken \(the limit is 10%\)"):
            list(pool.map(cases))


def test_a_few_broken_verdicts_stop_nothing():
    with Pool(obey(), workers=2, max_broken=0.1) as pool:
        cases = [Case(f"{'raise' if i % 40 == 0 else 'ok'} {i}") for i in range(400)]
        assert sum(v.status is Status.BROKEN for v in pool.map(cases)) == 10


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Case(None), "the response is a NoneType"),
        (Case("x", {1, 2}), "not plain data"),
        (Case("x", None, {"f": object()}), "not plain data"),
    ],
)
def test_a_bad_case_is_a_broken_verdict(shared, case, reason):
    verdict = shared.submit(case).result(WAIT)
    assert verdict.status is Status.BROKEN
    assert reason in verdict.detail


def test_text_arrives_unchanged():
    with Pool(EQUAL, workers=1) as pool:
        for text in ("", "\0", "\ud800 lone", "é\u2028🙂", "x" * 3_000_000):
            assert pool.submit(Case(text, text)).result(WAIT).correct


def test_groups_come_back_in_order_while_later_ones_are_sampled():
    events = []

    def rollout(text):
        return Rollout((1,), None, None, text, Finish.STOP, 0)

    def answers():
        for number in range(6):
            time.sleep(0.1)
            events.append(f"sampled {number}")
            request = Request(Problem(f"p{number}", "?", str(number)), (1,), 2)
            yield Answer(request, 1, rollout("x"))
            yield Answer(request, 0, rollout(str(number)))
        lone = Request(Problem("incomplete", "?", "0"), (1,), 2)
        yield Answer(lone, 0, rollout("0"))

    with Pool(EQUAL, workers=2) as pool:
        pool.ready()
        judged = []
        for group in pool.judge(answers()):
            events.append(f"judged {group.problem.id}")
            judged.append(group)
    assert [group.problem.id for group in judged] == [f"p{number}" for number in range(6)]
    assert all([r.verdict.correct for r in group.rollouts] == [True, False] for group in judged)
    assert events.index("judged p0") < events.index("sampled 5")


def test_a_dead_fork_server_is_replaced(shared):
    before = shared.report().servers
    server = int(judge(shared, "parent").detail)
    waiting = [shared.submit(Case(f"sleep 0.3 server {number}")) for number in range(4)]
    os.kill(server, signal.SIGKILL)
    assert all(future.result(WAIT).correct for future in waiting)
    assert shared.report().servers == before + 1
    assert int(judge(shared, "parent again").detail) != server


def test_a_worker_killed_from_outside_breaks_one_verdict(shared):
    pid = int(judge(shared, "pid").detail)
    sleeping = [shared.submit(Case(f"sleep 0.5 outside {number}")) for number in range(2)]
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    statuses = sorted(future.result(WAIT).status.value for future in sleeping)
    assert statuses == ["broken", "correct"]


@pytest.mark.parametrize("name", ["FailsToPrepare", "FailsToOpen", "DiesInOpen", "DiesInPrepare"])
def test_a_verifier_that_cannot_start_gives_broken_verdicts(name):
    with Pool(f"{PLUGINS / 'failing.py'}:{name}", workers=2, max_broken=1.0) as pool:
        verdict = judge(pool, "ok")
        assert verdict.status is Status.BROKEN
        with pytest.raises(UserError):
            pool.ready(WAIT)
    if name.startswith("Fails"):
        assert "no sandbox here" in verdict.detail


def test_closing_answers_everything():
    pool = Pool(obey(30.0), workers=1)
    pool.ready()
    flying = [pool.submit(Case(f"hang {number}")) for number in range(3)]
    started = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - started < 3
    late = pool.submit(Case("ok"))
    for future in (*flying, late):
        verdict = future.result(1)
        assert verdict.status is Status.BROKEN
        assert "closed" in verdict.detail


def test_a_forked_child_is_told_to_open_its_own(shared):
    pid = os.fork()
    if pid == 0:
        try:
            shared.submit(Case("ok"))
        except RuntimeError:
            os._exit(42)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


@pytest.mark.parametrize(
    ("verifier", "options", "words"),
    [
        ("maht", {}, "did you mean 'math'"),
        (EQUAL, {"workers": 0}, "at least one worker"),
        (EQUAL, {"timeout": 0.0}, "timeout"),
        (EQUAL, {"timeout": float("nan")}, "timeout"),
        (lambda response: True, {}, "top level of a module"),
        (3, {}, "neither a verifier's name"),
        (Spec(OBEY, {"nonsense": 1}), {}, "nonsense"),
    ],
)
def test_the_users_mistakes_are_one_line(verifier, options, words):
    with pytest.raises(UserError, match=words) as caught:
        Pool(verifier, **options)
    assert "\n" not in str(caught.value)


def test_a_worker_sees_no_secret_of_the_trainer(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("RLVR_DATA", "/somewhere")
    with Pool(obey(), workers=1) as pool:
        names = judge(pool, "env").detail
    assert "HF_TOKEN" not in names
    assert "RLVR_DATA" in names


def test_a_tired_worker_is_replaced_without_a_lost_case():
    """Memory that stays behind retires the worker; what was queued to it goes to a fresh one."""
    with Pool(f"{PLUGINS / 'keyed.py'}:Leaking", workers=1) as pool:
        pids = [v.detail for v in pool.map(Case(f"case {number}") for number in range(40))]
        report = pool.report()
    assert len(pids) == 40
    assert len(set(pids)) > 1
    assert (report.respawned, report.crashed, report.broken) == (len(set(pids)) - 1, 0, 0)

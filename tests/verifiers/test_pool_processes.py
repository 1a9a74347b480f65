"""What the pool leaves behind: nothing."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from rlvr.types import Status
from rlvr.verifiers.pool import Case, Pool, Spec

OBEY = f"{Path(__file__).parent / 'plugins' / 'misc.py'}:Obey"
WAIT = 30

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def processes_with(word: str) -> list[int]:
    """Living processes with `word` on their command line."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                command = Path(f"/proc/{entry.name}/cmdline").read_bytes()
                state = Path(f"/proc/{entry.name}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if word.encode() in command and state != "Z":
                found.append(int(entry.name))
    return found


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for task in os.scandir(f"/proc/{pid}/task")
        for child in Path(task.path, "children").read_text().split()
    ]


def vanish(word: str, seconds: float = 3.0) -> list[int]:
    """What is still alive after at most `seconds`."""
    end = time.monotonic() + seconds
    while (left := processes_with(word)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def test_the_deadline_takes_children_grandchildren_and_deserters():
    """A child, one that fled into a session of its own, and one whose parent is gone as well."""
    word = uuid.uuid4().hex
    with Pool(Spec(OBEY, {"timeout": 1.5}), workers=2) as pool:
        future = pool.submit(Case(f"children {word}"))
        time.sleep(1.0)
        assert len(processes_with(word)) == 3
        assert future.result(WAIT).status is Status.TIMEOUT
        assert vanish(word, 1.0) == []
        assert pool.submit(Case("ok")).result(WAIT).correct


def test_closing_takes_every_process():
    word = uuid.uuid4().hex
    pool = Pool(Spec(OBEY, {"timeout": 60.0}), workers=2)
    server = int(pool.submit(Case("parent")).result(WAIT).detail)
    pool.submit(Case(f"children {word}"))
    time.sleep(1.0)
    workers = children_of(server)
    pool.close()
    assert vanish(word) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in (server, *workers))


PARENT = """
import sys, time
from rlvr.verifiers.pool import Case, Pool, Spec
pool = Pool(Spec(sys.argv[1], {"timeout": 60.0}), workers=2)
pids = [pool.submit(Case(verb)).result(30).detail for verb in ("parent", "pid")]
for word in sys.argv[2:]:
    pool.submit(Case(word))
time.sleep(float("1.0"))
print(*pids, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_process_that_opened_the_pool(ending):
    word = uuid.uuid4().hex
    command = [sys.executable, "-c", PARENT, OBEY, f"children {word}", f"spin {word}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(ending)
        parent.wait(WAIT)
    assert vanish(word) == []
    end = time.monotonic() + 3
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_workers_die_with_a_killed_server():
    with Pool(Spec(OBEY, {"timeout": 60.0}), workers=2) as pool:
        server = int(pool.submit(Case("parent")).result(WAIT).detail)
        pool.submit(Case("spin"))
        time.sleep(0.3)
        workers = children_of(server)
        assert len(workers) == 2
        os.kill(server, signal.SIGKILL)
        end = time.monotonic() + 3
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
            time.sleep(0.02)
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_no_descriptor_is_left():
    def count():
        return len(os.listdir("/proc/self/fd"))

    with Pool(OBEY, workers=1) as pool:
        pool.submit(Case("ok")).result(WAIT)
    before = count()
    for _ in range(3):
        with Pool(Spec(OBEY, {"timeout": 0.2}), workers=3, max_broken=1.0) as pool:
            verbs = ("ok", "segv", "hang", "exit 1", "memory 4000")
            list(pool.map(Case(f"{verb} " if verb == "ok" else verb) for verb in verbs))
    assert count() == before


def test_a_worker_holds_only_its_own_channel():
    """Beside 0, 1 and 2: another worker's descriptor would keep that one from noticing the end."""
    with Pool(OBEY, workers=3) as pool:
        pids = {int(pool.submit(Case(f"pid {i}")).result(WAIT).detail) for i in range(20)}
        for pid in pids:
            sockets = [
                link
                for each in os.scandir(f"/proc/{pid}/fd")
                if (link := os.readlink(each.path)).startswith("socket")
            ]
            assert len(sockets) == 1


def test_neither_pool_nor_worker_imports_torch():
    check = (
        "import rlvr.verifiers.pool, rlvr.verifiers.server, sys; "
        "print('torch' in sys.modules, 'pydantic' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["False", "False"]


def test_a_worker_has_its_limits():
    with Pool(OBEY, workers=1) as pool:
        pid = pool.submit(Case("pid")).result(WAIT).detail
        text = Path(f"/proc/{pid}/limits").read_text()
    soft = {line[:26].strip(): line[26:].split()[0] for line in text.splitlines()[1:]}
    assert soft["Max address space"] == str(2048 * 2**20)
    assert soft["Max file size"] == str(256 * 2**20)
    assert soft["Max core file size"] == "0"
    assert soft["Max cpu time"].isdigit()
    assert soft["Max processes"].isdigit()

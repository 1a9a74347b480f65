"""The sandbox itself: what it reports, what it refuses, what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlvr.types import Status
from rlvr.verifiers import sandbox
from rlvr.verifiers.code import Code, pair
from rlvr.verifiers.sandbox import Limits, SandboxError, Server, Start

RIGHT = "def f(x):\n    return x + 1"
TESTS = "assert f(1) == 2"
TREE = str(Path(sandbox.__file__).parents[2]).encode()
IDLE = Start("rlvr.verifiers.sandbox.idle:nothing")


def sandbox_processes() -> set[str]:
    """Processes of sandbox servers and of programs, by number."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            ours = b"rlvr.verifiers.sandbox" in line and TREE in line  # not another checkout's
            if ours or b"sleep\x001017" in line:
                found.add(folder.name)
    return found


def wait_until(condition, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def test_report_names_every_layer() -> None:
    report = sandbox.report()
    assert report["tier"] in sandbox.TIERS
    assert {"rlimits", "namespaces", "files", "seccomp", "landlock", "capabilities"} <= set(report)
    print(report)  # which layers this run was made with


def test_modes_stop_at_the_first_that_works() -> None:
    modes = sandbox.modes()
    assert list(modes.values())[-1] == ""
    assert all(reason for reason in list(modes.values())[:-1])


def test_too_weak_a_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {"user": "user: unshare: not permitted", "landlock": "no Landlock", "rlimits": ""}
    monkeypatch.setattr(sandbox, "modes", lambda: tried)
    verdict = Code()(RIGHT, tests=TESTS)
    assert verdict.status is Status.BROKEN
    assert "isolation 'rlimits'" in verdict.detail
    assert "not permitted" in verdict.detail
    assert Code(min_isolation="rlimits")(RIGHT, tests=TESTS).isolation == "rlimits"


def test_a_layer_that_fails_in_the_child_is_never_a_verdict_on_the_program() -> None:
    server = Server(IDLE, sandbox.best("rlimits"))
    read, write = os.pipe()
    try:
        server.start(Limits(memory_mb=2**60), read)  # no kernel takes this number
        with pytest.raises(SandboxError, match="a layer failed"):
            server.finish()
        server.start(Limits(), read)
        assert server.finish().why == ""
    finally:
        server.close()
        os.close(read)
        os.close(write)


def test_many_threads_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda _: Code()(RIGHT, tests=TESTS), range(24)))
    assert all(verdict.correct for verdict in verdicts)


def test_a_dead_server_is_replaced() -> None:
    assert Code()(RIGHT, tests=TESTS).correct
    for each in pair._idle:
        each.programs._process.kill()
        each.tests._process.kill()
    assert Code()(RIGHT, tests=TESTS).correct


def test_nothing_is_left_after_a_verdict() -> None:
    Code()(RIGHT, tests=TESTS)
    before, mounts = sandbox_processes(), Path("/proc/mounts").read_text()
    files = set(os.listdir("/tmp"))
    hostile = "import os\nos.system('sleep 1017 &')\nopen('left', 'w')\ndef f(x):\n    os.fork()\n"
    for _ in range(3):
        Code()(hostile, tests=TESTS)
    assert not {pid for pid in sandbox_processes() - before if b"1017" in _line(pid)}
    assert Path("/proc/mounts").read_text() == mounts
    assert not {name for name in set(os.listdir("/tmp")) - files if "rlvr-program" in name}


READS = "import only_here\ndef f(x):\n    return only_here.one + x"
WRITES_BESIDE = "open('w', 'w').write('a')\n" + READS
WRITES_THERE = "import only_here\nopen(only_here.__file__, 'a').write('one = 7')\n" + READS
LOOKS = """
import os
def f(x):
    seen = [name for _, folders, files in os.walk('/tmp') for name in folders + files]
    return 2 if 'only_here.py' in seen and 'secret' not in seen else seen
"""


def test_an_environment_below_tmp_is_there_to_read_and_nothing_else_of_tmp_is() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", f"{folder}/venv"], check=True
        )
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        sites = Path(folder, "venv", "lib", version, "site-packages")
        Path(folder, "secret").write_text("s")
        sites.joinpath("only_here.py").write_text("one = 1")
        judged = [READS, WRITES_BESIDE, WRITES_THERE, LOOKS]
        Path(folder, "run.py").write_text(
            "from rlvr.verifiers.code import Code\n"
            f"for program in {judged!r}:\n"
            f"    print(Code()(program, tests={TESTS!r}).status.value)\n"
        )
        path = os.pathsep.join([os.path.dirname(TREE.decode()), sysconfig.get_path("purelib")])
        done = subprocess.run(
            [f"{folder}/venv/bin/python", f"{folder}/run.py"],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == ["correct", "correct", "forbidden", "correct"], done.stderr
        assert sites.joinpath("only_here.py").read_text() == "one = 1"


def _line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_caller_dies(ending: signal.Signals) -> None:
    before = sandbox_processes()
    script = (
        "from rlvr.verifiers.code import Code\n"
        f"Code()({RIGHT!r}, tests={TESTS!r})\n"
        "print('ready', flush=True)\n"
        "Code(timeout=60)('import os\\nos.system(\"sleep 1017\")', tests='assert f(1)')\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "ready\n"
    assert wait_until(lambda: any(b"1017" in _line(pid) for pid in sandbox_processes() - before))
    caller.send_signal(ending)
    caller.wait(10)
    caller.stdout.close()
    assert wait_until(lambda: not sandbox_processes() - before), sandbox_processes() - before


def test_a_neighbour_is_not_slowed_by_process_limits() -> None:
    bomb = "import os\ndef f(x):\n    while True:\n        os.fork()"
    threads_needed = (
        "import threading\ndef f(x):\n    t = [threading.Thread(target=int) for _ in range(20)]\n"
        "    [each.start() for each in t]\n    [each.join() for each in t]\n    return x + 1"
    )
    attacker = threading.Thread(target=lambda: Code(timeout=2)(bomb, tests=TESTS))
    attacker.start()
    try:
        for _ in range(5):
            assert Code()(threads_needed, tests=TESTS).correct
    finally:
        attacker.join()


def test_the_server_never_holds_a_test_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2-secret")
    spy = (
        "import gc, os, sys\n"
        "def f(x):\n"
        "    seen = [str(each) for each in gc.get_objects() if isinstance(each, (dict, list, tuple))\n"
        "            and len(each) < 1000]\n"
        "    wanted = [''.join(('hunter2', '-secret')), ''.join(('a_gold', '_value'))]\n"
        "    return any(word in each for each in seen for word in wanted)\n"
    )
    tests = "gold = 'a_gold_value'\nassert f(1) is False"
    for each in list(pair._idle):
        each.close()
    pair._idle.clear()
    assert Code()(spy, tests=tests).correct
    assert Code()(spy, tests=tests).correct


def test_limits_of_one_run_do_not_stay() -> None:
    need = "def f(x):\n    data = bytearray(300 * 2**20)\n    return x + 1"
    assert Code(memory_mb=128)(need, tests=TESTS).status is Status.TIMEOUT
    assert Code(memory_mb=512)(need, tests=TESTS).correct
    assert Code(memory_mb=128)(need, tests=TESTS).status is Status.TIMEOUT


def test_a_program_ends_with_its_server() -> None:
    server = Server(pair.PROGRAM, sandbox.best("rlimits"))
    read, write = os.pipe()
    server.start(Limits(seconds=60), read)
    server.close()
    server.wait()
    os.close(read)
    os.close(write)
    assert server._process.poll() is not None


@pytest.mark.parametrize("prompt", [None, "", [{"role": "user", "content": "x"}]])
def test_a_chat_is_no_prompt_code(prompt: object) -> None:
    assert Code()(RIGHT, tests=TESTS, prompt=prompt).correct

"""What root has tested, once more as a user without privileges: other layers carry the sandbox then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NOBODY = 65534
# As root, in a mount namespace of its own: where a folder above Python or the project is closed to others, put an
# open one in its place that holds only what is needed. Then become nobody and run what follows.
BECOME_NOBODY = """
import os, sys
from rlvr.verifiers.sandbox import kernel
needed = dict.fromkeys(os.path.realpath(path) for path in (sys.base_prefix, sys.prefix, os.getcwd()))
needed = [*needed, *(path for path in sys.path if os.path.isdir(path))]
kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
def closed(path):
    above = ["/" + "/".join(path.split("/")[1:count]) for count in range(2, path.count("/") + 1)]
    return next((folder for folder in above if not os.stat(folder).st_mode & 1), None)
for path in needed:
    if folder := closed(path):
        held = os.open(path, os.O_PATH)
        kernel.mount("none", folder, "tmpfs", 0, "mode=755")
        os.makedirs(path)
        kernel.mount(f"/proc/self/fd/{held}", path, None, kernel.MS_BIND | kernel.MS_REC)
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="this run is unprivileged already")
def test_attacks_fail_as_an_unprivileged_user_too() -> None:
    chosen = "os_exit or always_equal_int or read_ or write_ or socket_tcp or fork_bomb or memory_of_children"
    chosen += " or disk_many or child_outlives or kill_ or right or nothing_is_left or caller_dies"
    files = [
        "tests/verifiers/code/test_code_attacks.py",
        "tests/verifiers/code/test_code_sandbox.py",
    ]
    command = [sys.executable, "-c", BECOME_NOBODY, "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", chosen, *files],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if "PermissionError" in done.stderr or "not permitted" in done.stderr:
        pytest.skip(f"cannot become nobody here: {done.stderr.splitlines()[-1]}")
    print(done.stdout[-2000:])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert f"sandbox as user {NOBODY}" in done.stdout

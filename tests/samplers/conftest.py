"""A vLLM server of the tests' own: the demo model, on loopback, under a key."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rlvr.pretrained import DEMO_MODEL

KEY = "RLVR_TEST_VLLM_KEY"


@dataclass
class Served:
    """`vllm serve`, which can be killed and started again at the same address."""

    log: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    secret: str = field(default="of-the-tests", repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to start it; takes most of a minute until it answers."""
        words = f"--model {DEMO_MODEL} --host 127.0.0.1 --port {self.port} --dtype float32"
        words += " --logprobs-mode processed_logprobs --no-enable-chunked-prefill"
        words += " --max-num-seqs 32 --enforce-eager"
        own = {
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_API_KEY": self.secret,
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_NO_USAGE_STATS": "1",
            "OMP_NUM_THREADS": "1",
        }
        # not inherited: sampler vllm sets it for its engine inside this process
        kept = {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words.split()],
                env={**kept, **own},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def wait(self, seconds: float = 240.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise AssertionError(f"no server after {seconds:g} s:\n{self.log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def server_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    served = Served(tmp_path_factory.mktemp("vllm") / "server.log", port)
    served.start()
    yield served
    served.kill()


@pytest.fixture
def served(server_process: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """It is up. Its key is in the environment."""
    if server_process.process is None:
        server_process.start()
    server_process.wait()
    monkeypatch.setenv(KEY, server_process.secret)
    return server_process

"""Shared by all tests: where data sets may lie, and the reason when they do not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# without a GPU the kernels run in Triton's interpreter, which reads its switch when Triton is first imported
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# nothing is written beside the tests: the tree may belong to somebody else
settings.register_profile("project", database=None)
settings.load_profile("project")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with gsm8k/, math/, ...: RLVR_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("RLVR_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder} (RLVR_DATA names another folder)")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which layers stood between the judged programs and this machine, where any were judged."""
    if "rlvr.verifiers.sandbox" not in sys.modules:
        return
    from rlvr.verifiers import sandbox

    layers = sandbox.report()
    user = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    terminalreporter.write_line(f"sandbox as {user}: tier {layers.pop('tier')}")
    on = [layer for layer, state in layers.items() if state == "on"]
    terminalreporter.write_line(f"  on: {', '.join(on)}")
    for layer, state in layers.items():
        if state != "on":
            terminalreporter.write_line(f"  {layer}: {state}")

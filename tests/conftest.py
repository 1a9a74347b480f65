"""Shared by all tests: where data sets may lie, and the reason when they do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# a busy machine is slow, not wrong
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with gsm8k/, math/, ...: RLVR_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("RLVR_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder} (RLVR_DATA names another folder)")
    return folder

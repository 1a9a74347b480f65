from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sql_cases import build


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two databases of one schema."""
    folder = tmp_path_factory.mktemp("shops")
    return [str(build(folder / f"{name}.sqlite", f"{name}.sql")) for name in ("shop_a", "shop_b")]

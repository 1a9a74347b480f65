"""The algorithm cards say what the code says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from rlvr import registry

CARDS = Path(__file__).parents[2] / "docs" / "algorithms"
TABLES = runpy.run_path(str(CARDS / "tables.py"))
TEXT = {path.name: path.read_text() for path in sorted(CARDS.glob("*.md"))}


@pytest.mark.parametrize("name", TEXT)
def test_settings_tables_are_fresh(name):
    assert TABLES["filled"](TEXT[name]) == TEXT[name], "run python docs/algorithms/tables.py"


@pytest.mark.parametrize("stage", ["advantage", "clip"])
def test_every_method_has_a_card(stage):
    shown = set(re.findall(rf"<!-- settings: {stage} (\w+) -->", "".join(TEXT.values())))
    assert shown == set(registry.names(stage))


def test_links_lead_somewhere():
    for name, text in TEXT.items():
        for target in re.findall(r"\]\(([^)#:]+)", text):
            assert (CARDS / target).exists(), f"{name} links to {target}"


def test_the_estimator_of_the_readme_runs(tmp_path):
    import torch

    from .steps import step  # noqa: TID251 (our own neighbour)

    (code,) = re.findall(r"```python\n(.*?)```", TEXT["README.md"], re.DOTALL)
    (tmp_path / "softmax.py").write_text(code)
    plugin = registry.load("advantage", f"{tmp_path / 'softmax.py'}:Softmax")
    assert len(code.splitlines()) <= 30
    got = plugin.target(temperature=0.5)(step([1, 0, 0], [1, 1]))
    assert isinstance(got, torch.Tensor)
    assert float(got[:3].sum()) == pytest.approx(0)
    assert got[0] > 0 > got[1]

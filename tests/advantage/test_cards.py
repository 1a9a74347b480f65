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


@pytest.mark.parametrize("stage", ["advantage", "clip", "correct"])
def test_every_method_has_a_card(stage):
    shown = set(re.findall(rf"<!-- settings: {stage} (\w+) -->", "".join(TEXT.values())))
    assert shown == set(registry.names(stage)) - {"none"}


@pytest.mark.parametrize("name", sorted(TEXT.keys() - {"README.md"}))
def test_a_card_says_all_there_is_to_say(name):
    for word in ("Elsewhere", "When", "State", "Diagnostics", "Beside other stages"):
        assert f"**{word}.**" in TEXT[name]
    assert "arXiv:" in TEXT[name] or name == "aggregation.md"
    for kind, stage, method in re.findall(r"<!-- (settings|beside): (\w+) (\w+) -->", TEXT[name]):
        if kind == "beside":
            assert f"<!-- settings: {stage} {method} -->" in TEXT[name]


def test_links_lead_somewhere():
    for name, text in TEXT.items():
        for target in re.findall(r"\]\(([^)#:]+)", text):
            assert (CARDS / target).exists(), f"{name} links to {target}"

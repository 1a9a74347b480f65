"""Imports run one way. The four plug-in folders know neither each other nor the loop."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rlvr"

# who -> the rlvr modules it may import (a prefix), beside its own
ALLOWED = {
    "types": (),
    "errors": (),
    "registry": ("errors", "tasks", "samplers", "verifiers", "advantage", "loss"),
    "tasks": ("types", "errors"),
    "samplers": ("types", "errors", "loss"),
    "verifiers": ("types", "errors", "registry"),
    "advantage": ("types", "errors"),
    "loss": ("errors",),
    "attention": ("errors", "packing"),
    "packing": (),
    "batch": ("types",),
    "policy": ("attention", "batch", "errors", "loss", "pretrained"),
    "pretrained": ("errors",),
    "lab": ("advantage", "checkpoint", "config", "errors", "loss", "registry"),
    "report": ("types", "errors"),
    "checkpoint": ("errors",),
    "run": ("checkpoint", "errors", "types"),
    "config": ("errors", "registry"),
}


def imports(path: Path) -> Iterator[str]:
    """Modules of this project that a file imports, inside functions too, without the leading `rlvr.`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name[5:] for a in node.names if a.name.startswith("rlvr."))
        elif (
            isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rlvr"
        ):
            if node.module == "rlvr":
                yield from (alias.name for alias in node.names)
            else:
                yield node.module[5:]


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_run_one_way(part: str) -> None:
    folder = PACKAGE / part
    files = [*folder.rglob("*.py")] if folder.is_dir() else [PACKAGE / f"{part}.py"]
    assert files
    wrong = [
        f"{path.relative_to(PACKAGE)} imports rlvr.{name}"
        for path in files
        for name in imports(path)
        if name.split(".")[0] not in (part, *ALLOWED[part])
    ]
    assert wrong == []


@pytest.mark.parametrize("module", ["rlvr.cli", "rlvr.verifiers.pool", "rlvr.verifiers.math"])
def test_light_modules_do_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Checkpoints: written aside, hashed, fsynced, renamed. What does not hash right is as good as not there.

A checkpoint is a model folder (Hub format) with three files more: `optimizer.safetensors`, `state.json` (step, data
position, stage states, sizes of the run's append-only files) and `manifest.json` (a SHA-256 of every other file).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
STEP = re.compile(r"step-(\d+)")

log = logging.getLogger("rlvr")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found whole."""

    folder: Path
    step: int
    state: dict[str, Any]


def save(folder: Path, write_model: Callable[[Path], None], state: dict[str, Any]) -> None:
    """Write a checkpoint; a kill at any moment leaves either the whole of it or nothing of that name."""
    aside = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        write_model(aside)
        (aside / "state.json").write_text(json.dumps({"schema": SCHEMA, **state}))
        files = {path.name: _sha256(path) for path in sorted(aside.iterdir())}
        (aside / "manifest.json").write_text(json.dumps(files, indent=1))
        for path in aside.iterdir():
            _fsync(path)
        _fsync(aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)  # a full disk gets its room back
        raise
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    _fsync(folder.parent)


def steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint in `folder`, newest first; nothing is said of their health."""
    found = (STEP.fullmatch(path.name) for path in folder.glob("step-*"))
    return sorted((int(match.group(1)) for match in found if match), reverse=True)


def latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole. Says so when it had to pass over a damaged one."""
    for step in steps(folder):
        where = folder / f"step-{step}"
        fault = damage(where)
        if fault is None:
            return Checkpoint(where, step, json.loads((where / "state.json").read_text()))
        log.warning("checkpoint %s is damaged (%s): looking for the one before it", where, fault)
    if steps(folder):
        log.warning("no checkpoint in %s is whole: starting from step 0", folder)
    return None


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if not isinstance(manifest, dict) or "state.json" not in manifest:
            return "manifest.json is not a manifest"
        for name, digest in manifest.items():
            if _sha256(folder / name) != digest:
                return f"{name} does not have the hash it was saved with"
        schema = json.loads((folder / "state.json").read_text()).get("schema")
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())
    return (
        None if schema == SCHEMA else f"state.json has schema {schema}, this version reads {SCHEMA}"
    )


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Delete all but the newest `keep` checkpoints and the best one."""
    for step in steps(folder)[max(keep, 1) :]:
        if step != best:
            shutil.rmtree(folder / f"step-{step}", ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def leftovers(folder: Path) -> Iterator[Path]:
    """Half-written checkpoints of a run that was killed."""
    return folder.glob(".writing-*")

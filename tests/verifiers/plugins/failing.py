"""Verifiers that cannot start."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class FailsToPrepare:
    def prepare(self):
        raise RuntimeError("no sandbox here")

    def __call__(self, response: str, reference: object = None) -> bool:
        return True


@dataclass(frozen=True)
class FailsToOpen:
    def open(self):
        raise RuntimeError("no sandbox here")

    def __call__(self, response: str, reference: object = None) -> bool:
        return True


@dataclass(frozen=True)
class DiesInPrepare:
    def prepare(self):
        os._exit(1)

    def __call__(self, response: str, reference: object = None) -> bool:
        return True


@dataclass(frozen=True)
class DiesInOpen:
    def open(self):
        os._exit(1)

    def __call__(self, response: str, reference: object = None) -> bool:
        return True

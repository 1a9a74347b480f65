"""A program that does nothing: for servers that are started only to see whether they can be."""

from __future__ import annotations


def nothing(descriptors: list[int], home: str) -> None:
    """Ends at once."""

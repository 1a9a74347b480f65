"""Messages between the verifier and its query processes: a length of 4 bytes, then JSON. Never
pickle.

Values that JSON has no word for travel as one-entry objects: {"b": hex} bytes, {"d": text}
decimals, {"o": [type, text]} anything else a database returns (dates, intervals, structures),
compared as type and text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

HEADER = 4  # bytes, big-endian

Cell = None | bool | int | float | str | bytes | Decimal | tuple[str, str]
Row = tuple[Cell, ...]


def pack(message: object) -> bytes:
    body = json.dumps(message, separators=(",", ":"), default=_encode).encode()
    return len(body).to_bytes(HEADER, "big") + body


def unpack(body: bytes) -> Any:
    return json.loads(body, object_hook=_decode)


def _encode(value: object) -> dict[str, object]:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"b": bytes(value).hex()}
    if isinstance(value, Decimal):
        return {"d": str(value)}
    return {"o": [type(value).__name__, str(value)]}


def _decode(entry: dict[str, Any]) -> Any:
    if len(entry) != 1:
        return entry
    ((key, value),) = entry.items()
    if key == "b":
        return bytes.fromhex(value)
    if key == "d":
        return number(Decimal(value))
    return tuple(value) if key == "o" else entry


def number(value: Decimal) -> Decimal | int | float:
    """A decimal as the plainest number of the same value, so that 3.00 and 3 are one."""
    if not value.is_finite():
        return float(value)
    if value == value.to_integral_value() and value.adjusted() < 400:
        return int(value)
    return value


def rows(message: Sequence[Sequence[Any]]) -> list[Row]:
    """Rows of a decoded message as tuples; lists inside cells (arrays) become text, so that every
    cell hashes.
    """
    plain = [tuple(row) for row in message]
    return [tuple(_cell(cell) for cell in row) for row in plain] if _nested(plain) else plain


def _nested(table: list[Row]) -> bool:
    return any(isinstance(cell, list | dict) for row in table for cell in row)


def _cell(cell: Any) -> Cell:
    if isinstance(cell, list | dict):
        return ("structure", json.dumps(cell, sort_keys=True, default=repr))
    plain: Cell = cell
    return plain

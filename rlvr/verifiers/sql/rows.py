"""Are two results the same: multisets of rows, in order where the reference orders.

Numbers compare by value within 1e-9 relative (no absolute tolerance: 1e-17 is not 0), two integers
exactly, an integer beyond 2^53 exactly with anything. Text, bytes, null, truth values and dates
equal only their own kind.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeGuard

from rlvr.verifiers.sql.wire import Cell, Row

RELATIVE = 1e-9
EXACT_FROM = 2**53  # from here on a double does not tell neighbouring integers apart
MATCH_UP_TO = 400  # rows in one bundle of near-equal rows that are matched exhaustively


@dataclass(frozen=True)
class Table:
    """A result: `rows` as they came; `blocks` are the end positions of runs that tie on the sort
    keys, None without order.

    >>> Table(1, [(1,), (1.0,), (2,)], blocks=(2, 3)).agrees([(1,), (1,), (2,)])
    True
    """

    width: int
    rows: list[Row]
    blocks: tuple[int, ...] | None = None

    def agrees(self, answer: Sequence[Row]) -> bool:
        """Whether rows of the same width hold the same result."""
        if len(answer) != len(self.rows):
            return False
        if self.blocks is None:
            return same_multiset(self.rows, answer)
        starts = (0, *self.blocks)[:-1]
        return all(
            same_multiset(self.rows[start:end], answer[start:end])
            for start, end in zip(starts, self.blocks, strict=True)
        )


def same_cell(one: Cell, other: Cell) -> bool:
    if _is_number(one) and _is_number(other):
        return _same_number(one, other)
    return type(one) is type(other) and one == other


def same_multiset(one: Sequence[Row], other: Sequence[Row]) -> bool:
    """Whether the rows can be paired so that all cells of each pair are the same."""
    if len(one) != len(other):
        return False
    if len(one) == 1:
        return all(map(same_cell, one[0], other[0]))
    left, right = Counter(map(_key, one)), Counter(map(_key, other))
    if left == right:
        return True
    rest, wanted = list((left - right).elements()), list((right - left).elements())
    if not any(isinstance(cell, float | Decimal) for row in rest + wanted for cell in row):
        return False  # nothing in them that may be off by a rounding
    return _same_bundles(rest, wanted)


def _same_bundles(one: list[Row], other: list[Row]) -> bool:
    bundles: defaultdict[tuple[object, ...], tuple[list[Row], list[Row]]] = defaultdict(
        lambda: ([], [])
    )
    for side, rows in enumerate((one, other)):
        for row in rows:
            bundles[tuple(0 if _is_number(cell) else (cell,) for cell in row)][side].append(row)
    return all(_same_bundle(*pair) for pair in bundles.values())


def _same_bundle(one: list[Row], other: list[Row]) -> bool:
    """Rows that differ in numbers only: sorted side by side first, exhaustive pairing where that
    fails.
    """
    if len(one) != len(other):
        return False
    one, other = sorted(one, key=_sort_key), sorted(other, key=_sort_key)
    if all(_same_row(a, b) for a, b in zip(one, other, strict=True)):
        return True
    return len(one) <= MATCH_UP_TO and _pairs_up(one, other)


def _pairs_up(one: list[Row], other: list[Row]) -> bool:
    """A perfect matching by augmenting paths (Kuhn 1955), without recursion depth to fear at this
    size.
    """
    near = [[j for j, b in enumerate(other) if _same_row(a, b)] for a in one]
    partner: dict[int, int] = {}

    def place(start: int) -> bool:
        seen: set[int] = set()
        path: list[tuple[int, int]] = []  # (left row, position in its list of candidates)
        stack = [(start, 0)]
        while stack:
            left, position = stack.pop()
            del path[len(stack) :]
            if position >= len(near[left]):
                continue
            stack.append((left, position + 1))
            right = near[left][position]
            if right in seen:
                continue
            seen.add(right)
            path.append((left, right))
            if right not in partner:
                partner.update({b: a for a, b in path})
                return True
            stack.append((partner[right], 0))
        return False

    return all(place(left) for left in range(len(one)))


def _same_row(one: Row, other: Row) -> bool:
    return all(map(same_cell, one, other))


def _same_number(one: int | float | Decimal, other: int | float | Decimal) -> bool:
    if one == other:
        return True
    if isinstance(one, int) and isinstance(other, int):
        return False
    if any(isinstance(value, int) and abs(value) > EXACT_FROM for value in (one, other)):
        return False
    one, other = float(one), float(other)
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=0.0)


def _is_number(cell: Cell) -> TypeGuard[int | float | Decimal]:
    return isinstance(cell, int | float | Decimal) and not isinstance(cell, bool)


def _key(row: Row) -> Row:
    """The row as something whose equality is sameness but for rounding: True is not 1, NaN is
    NaN.
    """
    if any(cell is True or cell is False or cell != cell for cell in row):
        return tuple(
            ("bool", str(cell)) if isinstance(cell, bool) else ("nan", "") if cell != cell else cell
            for cell in row
        )
    return row


def _sort_key(row: Row) -> tuple[tuple[float, ...], tuple[float, ...]]:
    numbers = tuple(_finite(cell) for cell in row if _is_number(cell))
    # rounded first, so that noise in one column does not decide before the next one is looked at
    return tuple(float(f"{value:.6e}") for value in numbers), numbers


def _finite(cell: int | float | Decimal) -> float:
    try:
        return float(cell) if cell == cell else math.inf
    except OverflowError:
        return math.inf if cell > 0 else -math.inf

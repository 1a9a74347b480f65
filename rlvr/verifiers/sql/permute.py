"""The any-permutation mode: is there one order of the answer's columns in which it agrees.

Off by default: it makes lucky matches likelier. One permutation for the whole result, never one
per row. The search stops after `TRIES` orders, so a result with many alike columns may be called
different although some order agrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlvr.verifiers.sql.rows import Table, same_multiset
from rlvr.verifiers.sql.wire import Row

TRIES = 720


def agrees_in_some_order(reference: Table, answer: Sequence[Row]) -> bool:
    """Whether some permutation of the answer's columns agrees with the reference. Rows have the
    same width.
    """
    if not answer or reference.width < 2:
        return reference.agrees(answer)
    if len(answer) != len(reference.rows):
        return False
    wanted: list[list[Row]] = [
        [(row[i],) for row in reference.rows] for i in range(reference.width)
    ]
    given: list[list[Row]] = [[(row[i],) for row in answer] for i in range(reference.width)]
    fits = [[j for j, column in enumerate(given) if same_multiset(want, column)] for want in wanted]
    for tries, order in enumerate(_orders(fits, given), start=1):
        if reference.agrees([tuple(row[j] for j in order) for row in answer]):
            return True
        if tries >= TRIES:
            return False
    return False


def _orders(fits: list[list[int]], given: list[list[Row]]) -> Iterator[tuple[int, ...]]:
    """Assignments of distinct columns; of columns that are alike in every row only one is tried at
    each place.
    """
    first = [next(j for j, other in enumerate(given) if other == column) for column in given]

    def extend(taken: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(taken) == len(fits):
            yield taken
            return
        tried: set[int] = set()
        for j in fits[len(taken)]:
            if j not in taken and first[j] not in tried:
                tried.add(first[j])
                yield from extend((*taken, j))

    yield from extend(())

"""The knapsack itself. Its value is separable and concave, so one rollout at a time is optimal."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def value(n: int, p: float) -> float:
    """Chance that n responses show both outcomes, 1 - p^n - (1-p)^n, times p (1-p)^2."""
    return (1 - p**n - (1 - p) ** n) * p * (1 - p) ** 2


def spend(rates: Sequence[float], counts: list[int], extra: int, high: int) -> int:
    """Give `extra` responses where most is gained, raising `counts`; returns what is left.

    Rates strictly inside (0, 1), counts >= 1. Gain of response n + 1: p (1-p)^2 (p^n (1-p) +
    (1-p)^n p), positive and falling in n. Equal gains: the earlier problem. O(extra log Q).
    """
    heap = [
        (-_gain(n, p), i) for i, (n, p) in enumerate(zip(counts, rates, strict=True)) if n < high
    ]
    heapq.heapify(heap)
    while extra > 0 and heap:
        _, i = heap[0]
        counts[i] += 1
        extra -= 1
        if counts[i] < high:
            heapq.heapreplace(heap, (-_gain(counts[i], rates[i]), i))
        else:
            heapq.heappop(heap)
    return extra


def _gain(n: int, p: float) -> float:
    q = 1 - p
    return p * q * q * (p**n * q + q**n * p)


def share(extra: int, counts: list[int], members: Sequence[int], high: int) -> int:
    """Spread `extra` evenly over `members`, remainder to the first; returns what is left."""
    open_ = [i for i in members if counts[i] < high]
    while extra > 0 and open_:
        each, more = divmod(extra, len(open_))
        for rank, i in enumerate(open_):
            given = min(each + (rank < more), high - counts[i])
            counts[i] += given
            extra -= given
        open_ = [i for i in open_ if counts[i] < high]
    return extra

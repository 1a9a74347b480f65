"""The subset of given size with the largest variance, exactly and for many groups at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def most_varied(values: Tensor, group: Tensor, wanted: Callable[[int], int]) -> Tensor:
    """[M] bool: in each group of size m, the wanted(m) values of largest population variance.

    The optimum is always the k largest and the n - k smallest for some k, so one sort and one scan
    over k find it (the lemma of PODS, arXiv:2504.13818). Equal variances: k nearest to n/2, then
    the smaller k. Equal values: the order of positions. O(M log M).
    """
    size = torch.bincount(group)
    n = torch.tensor([wanted(int(m)) for m in size.tolist()], dtype=torch.int64)
    start = size.cumsum(0) - size
    values = values.to(torch.float64)
    order = values.round(decimals=12).argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]  # by group, largest first
    best = _best_k(values[order], size, start, n)
    owner = group[order]
    rank = torch.arange(len(values)) - start[owner]
    chosen = torch.zeros(len(values), dtype=torch.bool)
    chosen[order] = (rank < best[owner]) | (rank >= (size - n + best)[owner])
    return chosen


def _best_k(ordered: Tensor, size: Tensor, start: Tensor, n: Tensor) -> Tensor:
    """[groups] int64: how many of the largest to take."""
    centred = ordered - ordered.sum() / max(len(ordered), 1)  # a shift helps rounding only
    first, second = (_prefix(centred**power) for power in (1, 2))
    tries = n + 1  # k = 0..n
    which = torch.repeat_interleave(torch.arange(len(n)), tries)
    k = torch.arange(len(which)) - (tries.cumsum(0) - tries)[which]
    many, low, high = n[which], start[which], (start + size)[which]
    rest = high - (many - k)
    divisor = many.clamp(min=1)

    def chosen(prefix: Tensor) -> Tensor:
        return (prefix[low + k] - prefix[low] + prefix[high] - prefix[rest]) / divisor

    variance = (chosen(second) - chosen(first) ** 2).clamp(min=0)
    best = torch.zeros(len(n), dtype=torch.float64).scatter_reduce(0, which, variance, "amax")
    tied = variance >= (best * (1 - 1e-10))[which]
    worst = 2**62
    balance = (2 * k - many).abs() * (many + 1) + k
    balance = torch.where(tied, balance, worst)
    least = torch.full((len(n),), worst).scatter_reduce(0, which, balance, "amin")
    return least % (n + 1)


def _prefix(x: Tensor) -> Tensor:
    """Sums of the first 0, 1, 2, ... values."""
    return torch.cat([x.new_zeros(1), x.cumsum(0)])

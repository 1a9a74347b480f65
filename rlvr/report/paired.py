"""Is one model better than another on the same problems? Statistics of paired differences.

Not covered: how much another seed would have changed either run; each side is one model as it is.
Problems are the unit: the spread of a difference over problems holds the noise of sampling too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05  # two-sided
RESAMPLES = 10_000
EXACT = 16  # up to so many problems that differ, every sign is tried
DETECT = 1.959964 + 0.841621  # normal quantiles: level 5% two-sided, power 80%


@dataclass(frozen=True)
class Difference:
    """B minus A, with a 95% interval; `p` is two-sided.

    `detectable` is the smallest true difference that such a comparison would have found four times
    in five; None where nothing is known about the spread. `adjusted` is p after Holm's correction
    for all comparisons made together.
    """

    problems: int
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    detectable: float | None
    paired: bool = True
    adjusted: float | None = None

    @property
    def better(self) -> str | None:
        """ "a" or "b"; None: not distinguishable. The interval and the corrected test must agree."""
        p = self.p if self.adjusted is None else self.adjusted
        if p is None or p >= LEVEL or self.low is None or self.high is None:
            return None
        return "b" if self.low > 0 else "a" if self.high < 0 else None


def paired(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Difference:
    """Compare success rates in [0, 1] of the same problems in the same order; at least one problem.

    The interval is the percentile bootstrap over problems, the test flips the signs of the
    differences (Fisher's randomisation test), exactly where few differ.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    gaps = second - first
    problems, mean = len(gaps), float(gaps.mean())
    rng = np.random.default_rng(seed)
    error = float(gaps.std(ddof=1)) / math.sqrt(problems) if problems > 1 else 0.0
    low, high = _bootstrap(gaps, rng)
    return Difference(
        problems=problems,
        a=float(first.mean()),
        b=float(second.mean()),
        difference=mean,
        low=low,
        high=high,
        p=_sign_flips(gaps, rng),
        detectable=DETECT * error if error else None,
    )


def unpaired(
    a: tuple[float, float | None], b: tuple[float, float | None], problems: int = 0
) -> Difference:
    """Compare two means with their standard errors, where single problems are not known."""
    mean = b[0] - a[0]
    if a[1] is None or b[1] is None or not a[1] + b[1]:
        return Difference(problems, a[0], b[0], mean, None, None, None, None, paired=False)
    error = math.hypot(a[1], b[1])
    p = math.erfc(abs(mean) / error / math.sqrt(2))
    low, high = mean - 1.959964 * error, mean + 1.959964 * error
    return Difference(problems, a[0], b[0], mean, low, high, p, DETECT * error, paired=False)


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """The same with `adjusted` filled in (Holm 1979): the chance of any false finding is at most LEVEL."""
    tested = sorted((each.p, index) for index, each in enumerate(differences) if each.p is not None)
    found, largest = list(differences), 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(p * (len(tested) - rank), 1.0))
        found[index] = replace(found[index], adjusted=largest)
    return found


def _bootstrap(gaps: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """2.5% and 97.5% points of the mean over resampled problems."""
    # as counts of equal differences: a resample is then a short multinomial, however many problems
    values, counts = np.unique(gaps, return_counts=True)
    means = rng.multinomial(len(gaps), counts / len(gaps), size=RESAMPLES) @ values / len(gaps)
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _sign_flips(gaps: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Share of sign patterns whose mean is at least as far from 0 as the observed one."""
    sizes = np.abs(gaps[gaps != 0])
    observed = abs(float(gaps.sum())) * (1 - 1e-12)  # equal sums may differ in their last bits
    if not len(sizes):
        return 1.0
    if len(sizes) <= EXACT:
        bits = (np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes))) & 1
        sums = np.abs((1 - 2 * bits) @ sizes)
        return float((sums >= observed - 1e-12).mean())
    values, counts = np.unique(sizes, return_counts=True)
    positive = rng.binomial(counts, 0.5, size=(RESAMPLES, len(counts)))
    sums = np.abs((2 * positive - counts) @ values)
    return float((1 + (sums >= observed - 1e-12).sum()) / (1 + RESAMPLES))

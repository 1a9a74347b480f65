"""Several estimators on the same groups: a table of how they differ, and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rlvr.errors import UserError
from rlvr.lab.weights import Weighed

COLUMNS = ("mean |A|", "std A", "zero %", "ESS", "ESS tokens", "same sign %", "correlation")


@dataclass(frozen=True)
class Compared:
    """One estimator's batches, in the same order as every other's."""

    name: str
    batches: Sequence[Weighed]

    def advantage(self) -> Tensor:
        """[N] of judged responses."""
        return torch.cat([each.weights.advantage[each.scores.valid] for each in self.batches])

    def mean_of(self, key: str) -> float:
        total: float = sum(each.report["summary"][key] for each in self.batches)
        return total / len(self.batches)


def table(compared: Sequence[Compared]) -> str:
    """Sign agreement and correlation are with the first estimator."""
    first = compared[0].advantage()
    width = max(16, *(len(each.name) + 2 for each in compared))
    lines = ["".join(["estimator".ljust(width), *(column.rjust(13) for column in COLUMNS)])]
    for each in compared:
        a = each.advantage()
        numbers = (
            float(a.abs().mean()) if len(a) else 0.0,
            float(a.std()) if len(a) > 1 else 0.0,
            100 * float((a == 0).double().mean()) if len(a) else 0.0,
            each.mean_of("effective_responses"),
            each.mean_of("effective_tokens"),
            100 * float((a.sign() == first.sign()).double().mean()) if len(a) else 0.0,
            _correlation(a, first),
        )
        lines.append("".join([each.name.ljust(width), *(f"{x:13.4g}" for x in numbers)]))
    return "\n".join(lines)


def _correlation(a: Tensor, b: Tensor) -> float:
    x, y = a - a.mean(), b - b.mean()
    norm = float(x.norm() * y.norm())
    return float((x * y).sum()) / norm if norm > 0 else 0.0


def plot(compared: Sequence[Compared], path: Path) -> None:
    """Advantage of right and of wrong responses against the prompt's success rate."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("--plot needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for each in compared:
        rate, advantage, right = _points(each.batches)
        colour = axes.plot([], [], label=each.name)[0].get_color()
        for mask, marker in ((right, "o-"), (~right, "x--")):
            x, y = _by_rate(rate[mask], advantage[mask])
            axes.plot(x, y, marker, color=colour, markersize=4, linewidth=1)
    axes.axhline(0, color="grey", linewidth=0.5)
    axes.set(
        xlabel="success rate of the prompt",
        ylabel="mean advantage (solid: right, dashed: wrong)",
        title="What each estimator makes of the same groups",
    )
    axes.legend()
    figure.tight_layout()
    try:
        figure.savefig(path)
    except OSError as error:
        raise UserError(f"--plot {path}: {error.strerror}") from None
    except ValueError:
        raise UserError(f"--plot {path}: not the name of a .png, .svg or .pdf file") from None
    finally:
        pyplot.close(figure)


def _points(batches: Sequence[Weighed]) -> tuple[Tensor, Tensor, Tensor]:
    pieces = []
    for each in batches:
        valid = each.scores.valid
        rate = each.scores.group_mean(each.scores.correct)
        pieces.append((rate[valid], each.weights.advantage[valid], each.scores.correct[valid]))
    rate, advantage, right = (torch.cat(column) for column in zip(*pieces, strict=True))
    return rate, advantage, right


def _by_rate(rate: Tensor, advantage: Tensor) -> tuple[list[float], list[float]]:
    values, where = rate.round(decimals=6).unique(return_inverse=True)
    total = torch.zeros(len(values), dtype=torch.float64).index_add(0, where, advantage)
    return values.tolist(), (total / torch.bincount(where, minlength=len(values))).tolist()

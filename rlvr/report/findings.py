"""What is suspicious about a run, each in a sentence with its number and what to look at.

Not covered: anything that needs another run (seeds, `rlvr compare`) or the texts of the responses.
The thresholds are rules of thumb; a finding is a reason to look, not a proof.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from rlvr.report import wording
from rlvr.report.headline import best, early, late, mean, tenth, total
from rlvr.report.origins import Setting
from rlvr.report.read import Metrics, number
from rlvr.report.responses import Responses

SOLVED = 0.95  # of the responses are right: low entropy and equal rewards are then no worry


def findings(metrics: Metrics, responses: Responses, settings: list[Setting]) -> list[str]:
    """In the order of how much they endanger the run's conclusion; empty for a healthy run."""
    found = [*_unfinished(metrics, settings), *_broken(metrics, responses)]
    for check in CHECKS:
        found += check(metrics)
    return [*found, *_truncated(metrics, responses)]


def _unfinished(metrics: Metrics, settings: list[Setting]) -> Iterator[str]:
    wanted = next(
        (int(s.value) for s in settings if s.name == "steps" and s.value.isdecimal()), None
    )
    done = metrics.steps[-1]["step"] if metrics.steps else 0
    if wanted is not None and done < wanted:
        yield f"The run is at step {done} of {wanted}; rlvr train --resume --out goes on with it."
    if metrics.unreadable:
        yield f"{wording.plural(metrics.unreadable, 'line')} of metrics.jsonl could not be read."


def _broken(metrics: Metrics, responses: Responses) -> Iterator[str]:
    broken = int(total(metrics, "broken_verdicts") or responses.broken.total())
    if broken:
        detail = responses.broken.most_common(1)[0][0][:160] if responses.broken else ""
        said = f" Most often: {detail}" if detail else ""
        share = (
            f" ({wording.percent(broken / responses.total, 2)} of responses)"
            if responses.total
            else ""
        )
        yield (
            f"{wording.plural(broken, 'verdict')} broken{share}: our side failed to judge, "
            f"so these responses were left out of training.{said}"
        )


def _equal_rewards(metrics: Metrics) -> Iterator[str]:
    shares = metrics.numbers("informative_groups")
    silent = 0
    while silent < len(shares) and shares[-1 - silent] == 0:
        silent += 1
    rate = late(metrics.numbers("correct_rate"))
    if silent >= min(5, len(shares)) and silent:
        why = (
            f", with {wording.percent(rate, 0)} of the responses right" if rate is not None else ""
        )
        yield (
            f"No group was informative in the last {wording.plural(silent, 'step')}{why}: "
            "nothing is learnt any more. Other problems, or more responses a problem, would help."
        )
        return
    known = [share for share in shares if share is not None]
    if known and statistics.fmean(known) < 0.2:
        yield (
            f"Only {wording.percent(statistics.fmean(known), 0)} of the groups were informative: "
            "the rest of what was sampled taught nothing. Problems may be too easy or too hard."
        )


def _falling(metrics: Metrics) -> Iterator[str]:
    values = metrics.numbers("correct_rate")
    width = tenth(len(values))
    windows = [mean(values[at : at + width]) for at in range(0, len(values) - width + 1)]
    peak, last = max((each for each in windows if each is not None), default=0.0), late(values)
    if len(values) >= 10 and last is not None and last < 0.6 * peak - 0.02:
        yield (
            f"The share of right responses in training fell from {wording.percent(peak)} to "
            f"{wording.percent(last)}: the policy got worse, or the problems harder. A lower learning rate, fewer "
            "optimiser steps a batch or a KL term would hold it."
        )


def _entropy(metrics: Metrics) -> Iterator[str]:
    values = metrics.numbers("entropy")
    first, last = early(values), late(values)
    rate = late(metrics.numbers("correct_rate"))
    if first and last is not None and last < 0.1 * first and (rate is None or rate < SOLVED):
        yield (
            f"Entropy collapsed from {wording.plain(first)} to {wording.plain(last)} nats a token "
            "before the problems were solved: the responses hardly vary. Clip-higher, a lower "
            "learning rate or an entropy bonus keep it up."
        )


def _held_out(metrics: Metrics) -> Iterator[str]:
    for task, split in metrics.tasks():
        evals = metrics.of(task, split)
        last, top = evals[-1], best(evals)
        if top is None or number(last.get("accuracy")) is None:
            continue
        error = (number(last.get("stderr")) or 0.0) ** 2 + (number(top.get("stderr")) or 0.0) ** 2
        if top["accuracy"] - last["accuracy"] > max(1.96 * error**0.5, 0.01):
            yield (
                f"Accuracy on {task}, {split} fell from {wording.percent(top['accuracy'])} at step "
                f"{top['step']} to {wording.percent(last['accuracy'])} at the end: an earlier "
                "checkpoint may be the better model."
            )
        unjudged = int(number(last.get("unjudged")) or 0)
        if unjudged:
            problems = wording.plural(unjudged, "held-out problem")
            yield f"{problems} of {task}, {split} could not be judged."


def _clipping(metrics: Metrics) -> Iterator[str]:
    share = mean(metrics.numbers("clip_fraction"))
    if share is not None and share > 0.3:
        yield (
            f"{wording.percent(share, 0)} of the trained tokens were clipped on average: the "
            "policy moves far within a batch. Fewer optimiser steps a batch or a lower learning "
            "rate would keep it near."
        )


def _gradients(metrics: Metrics) -> Iterator[str]:
    norms = [
        (n, row["step"]) for n, row in zip(metrics.numbers("grad_norm"), metrics.steps, strict=True)
    ]
    known = [(norm, step) for norm, step in norms if norm is not None]
    if len(known) < 10:
        return
    usual = statistics.median(norm for norm, _ in known)
    spikes = [step for norm, step in known if usual > 0 and norm > 20 * usual]
    if spikes:
        where = ", ".join(map(str, spikes[:5])) + (" and others" if len(spikes) > 5 else "")
        steps = wording.plural(len(spikes), "step")
        yield f"The gradient norm rose above 20 times its median in {steps}: {where}."


def _gap(metrics: Metrics) -> Iterator[str]:
    gap = mean(metrics.numbers("sampler_gap"))
    if gap is not None and gap > 0.05:
        yield (
            f"The log-probabilities of sampler and trainer differ by {wording.plain(gap)} a token "
            "on average: the ratios are off from the start. Different precision or kernels are the "
            "usual reason."
        )


def _truncated(metrics: Metrics, responses: Responses) -> Iterator[str]:
    share = late(metrics.numbers("truncated_rate"))
    if share is None and responses.ended:
        newest = responses.ended[-tenth(len(responses.ended)) :]
        share = sum(e.truncated for e in newest) / max(sum(e.responses for e in newest), 1)
    if share is not None and share > 0.1:
        yield (
            f"{wording.percent(share, 0)} of the latest responses ran into the token limit and "
            "were judged without their end: raise --sampler.max_tokens, or shape the length."
        )


CHECKS: Sequence[Callable[[Metrics], Iterator[str]]] = (
    _falling,
    _equal_rewards,
    _entropy,
    _held_out,
    _clipping,
    _gradients,
    _gap,
)

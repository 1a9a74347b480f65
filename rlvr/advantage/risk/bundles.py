"""Questions gathered into bundles, and virtual exams drawn across each bundle's responses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class Exams:
    """E exams. A response sits in at most one.

    -1: left over, its group was larger than the smallest of the bundle.
    """

    exam: Tensor  # [N] int64
    score: Tensor  # [E] float64, sum of rewards, rescaled to a full bundle
    bundle: Tensor  # [E] int64
    size: Tensor  # [E] questions in the exam's bundle


def draw(scores: Scores, size: int, seed: int | None) -> Exams:
    """Bundles of `size` prompts; exam j takes response xi_i(j) of each of the bundle's prompts.

    With a seed, the prompts are shuffled and xi_i are random permutations; without, prompts stay
    consecutive and responses in sampling order. Prompts without a valid response are in no bundle.
    A bundle has as many exams as its smallest group; the last bundle may be smaller, its scores are
    scaled by size / questions.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)

    def order(n: int) -> Tensor:
        return torch.arange(n) if generator is None else torch.randperm(n, generator=generator)

    prompts = (scores.prompt_size > 0).nonzero().squeeze(1)
    prompts = prompts[order(len(prompts))]
    members = _members(scores)
    exam = torch.full((len(scores.reward),), -1, dtype=torch.int64)
    bundle_of: list[int] = []
    size_of: list[int] = []
    for number, start in enumerate(range(0, len(prompts), size)):
        chosen = [members[int(q)] for q in prompts[start : start + size]]
        exams = min(len(rows) for rows in chosen)
        for rows in chosen:
            shuffled = rows[order(len(rows))][:exams]
            exam[shuffled] = len(bundle_of) + torch.arange(exams)
        bundle_of += [number] * exams
        size_of += [len(chosen)] * exams
    sizes = torch.tensor(size_of, dtype=torch.int64)
    seated = exam >= 0
    score = torch.zeros(len(bundle_of), dtype=torch.float64)
    score = score.index_add(0, exam[seated], scores.reward[seated])
    return Exams(exam, score * size / sizes, torch.tensor(bundle_of, dtype=torch.int64), sizes)


def _members(scores: Scores) -> dict[int, Tensor]:
    """Prompt index to the rows of its valid responses, in order."""
    rows = scores.valid.nonzero().squeeze(1)
    rows = rows[scores.group[rows].argsort(stable=True)]
    counts = scores.prompt_size.to(torch.int64).tolist()
    return dict(enumerate(rows.split(counts)))

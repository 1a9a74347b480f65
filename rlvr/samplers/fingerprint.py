"""What a set of weights looks like in a few numbers: enough to tell a missing, old or damaged tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Fingerprint:
    """Names, and for each tensor its size, sum and a sum that knows the order of the elements.

    Taken of the values as the engine holds them (`dtype`), summed in float64, so that sender and
    receiver reach the same numbers.
    """

    dtype: torch.dtype
    tensors: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    def over(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The same weights, each taken down as it passes."""
        for name, tensor in weights:
            values = tensor.detach().to(self.dtype).flatten().to(torch.float64)
            # one turn of a cosine over the tensor: any exchange of unequal elements shows
            order = torch.linspace(0, 3.0, len(values), dtype=torch.float64, device=values.device)
            sums = torch.stack([values.sum(), (values * order.cos()).sum()]).tolist()
            self.tensors[name] = (len(values), *sums)
            yield name, tensor

    def differs(self, other: Fingerprint) -> str | None:
        """The first thing in which `other` is not this, in words; None: nothing."""
        for name, mine in self.tensors.items():
            theirs = other.tensors.get(name)
            if theirs is None:
                return f"{name} did not arrive"
            if mine != theirs:
                return f"{name} arrived with other values"
        return None

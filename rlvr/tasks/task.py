"""What a task is: a frozen dataclass that gives the problems of a split, and says who judges them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, overload

from rlvr.types import Problem


class Task(Protocol):
    """Settings are its fields. `verifier` names the verifier that reads the answers it asks for,
    `max_tokens` is how long a response may be where the user does not say.
    """

    verifier: ClassVar[str]
    max_tokens: ClassVar[int]

    def problems(self, split: str) -> Sequence[Problem]:
        """All problems of `split` ("train" or "test", others where the data has them), by index.

        Raises UserError when the split or the data is not there.
        """
        ...


@dataclass(frozen=True)
class Generated(Sequence[Problem]):
    """Problems made on demand by index: nothing is stored, every machine makes the same ones."""

    make: Callable[[int], Problem]
    size: int

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Problem]:
        return (self.make(index) for index in range(self.size))

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | Sequence[Problem]:
        if isinstance(index, slice):
            return [self.make(each) for each in range(*index.indices(self.size))]
        if not -self.size <= index < self.size:
            raise IndexError(index)
        return self.make(index % self.size)

"""A key-value cache written in place: no copy a step, finished rows dropped, one prefill for a whole group."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class Rows(CacheLayerMixin):
    """One layer: buffers [rows, heads, columns, head size], filled from the left."""

    is_sliding = False

    def __init__(self, columns: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.columns = columns
        self.filled = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, _, size = key_states.shape
        self.keys = key_states.new_empty(rows, heads, self.columns, size)
        self.values = value_states.new_empty(rows, heads, self.columns, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        end = self.filled + key_states.shape[-2]
        self.keys[:, :, self.filled : end] = key_states
        self.values[:, :, self.filled : end] = value_states
        self.filled = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, rows: Tensor) -> None:
        """Keep, repeat or reorder rows."""
        assert self.keys is not None
        assert self.values is not None
        keys, values = self.keys, self.values
        self.keys = keys.new_empty(len(rows), *keys.shape[1:])
        self.values = values.new_empty(len(rows), *values.shape[1:])
        self.keys[:, :, : self.filled] = keys[:, :, : self.filled].index_select(0, rows)
        self.values[:, :, : self.filled] = values[:, :, : self.filled].index_select(0, rows)

    def get_seq_length(self) -> int:
        return self.filled

    def get_max_length(self) -> int:
        return self.columns

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.filled + query_length, 0


class RowCache(Cache):
    """All layers of a model whose attention is full in every layer or masked by the model itself."""

    def __init__(self, layers: int, columns: int) -> None:
        super().__init__(layers=[Rows(columns) for _ in range(layers)])

    def select(self, rows: Tensor) -> None:
        for layer in self.layers:
            assert isinstance(layer, Rows)
            layer.select(rows)


def left_padded(
    prompts: list[tuple[int, ...]], pad: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids and attention mask [prompts, longest prompt], padded on the left."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)

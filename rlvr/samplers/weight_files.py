"""Weights by way of a folder: safetensors written aside, flushed to the disk, renamed, read back."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rlvr.errors import UserError
from rlvr.samplers.fingerprint import Fingerprint

if TYPE_CHECKING:
    from rlvr.samplers.vllm_http import Server

SHARD = 2 * 2**30  # bytes: what is held in main memory at a time


class WeightFiles:
    """Writer and server see the same folder under the same path: one box, or a shared file system."""

    again = True  # what was put can be sent to a server once more

    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        """`folder`: where a folder of our own is made; "": the system's place for temporary files."""
        self.dtype = dtype
        try:
            self.root = Path(tempfile.mkdtemp(prefix="rlvr-weights-", dir=folder or None))
            self.root.chmod(0o755)  # the server may run as somebody else
        except OSError as error:
            raise UserError(f"--sampler.folder {folder}: {error.strerror}") from None
        self.path = self.root
        self._device = torch.device("cpu")  # of the trainer's weights
        self._numbers = itertools.count()

    def put(self, weights: Iterable[tuple[str, Tensor]]) -> Fingerprint:
        """Write them; returns the fingerprint of what can be read back."""
        part, old = self.root / "part", self.path
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for number, shard in enumerate(self._shards(weights)):
            file = part / f"model-{number:05}.safetensors"
            save_file(shard, file)
            _flush(file)
        _flush(part)
        self.path = self.root / f"weights-{next(self._numbers)}"
        part.rename(self.path)
        _flush(self.root)
        if old != self.root:
            shutil.rmtree(old)
        return self.fingerprint()

    def fingerprint(self) -> Fingerprint:
        """Of what the files hold now, summed where the trainer sums."""
        found = Fingerprint(self.dtype)
        for file in sorted(self.path.glob("*.safetensors")):
            with safe_open(file, framework="pt", device=str(self._device)) as opened:
                for _ in found.over((name, opened.get_tensor(name)) for name in opened.keys()):  # noqa: SIM118
                    pass
        return found

    async def send(self, server: Server) -> None:
        await server.read_weights(str(self.path))

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def _shards(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
        shard: dict[str, Tensor] = {}
        size = 0
        for name, tensor in weights:
            self._device = tensor.device
            held = tensor.detach().to("cpu", self.dtype).contiguous()
            if any(held.data_ptr() == other.data_ptr() for other in shard.values()):
                held = held.clone()  # tied weights: a file holds no tensor twice
            if shard and size + held.nbytes > SHARD:
                yield shard
                shard, size = {}, 0
            shard[name] = held
            size += held.nbytes
        if shard:
            yield shard


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""The trainer's half of vLLM's own weight transfer: NCCL from one GPU to another, CUDA IPC between two programs on one.

Written after the source of vLLM 0.32 (`vllm/distributed/weight_transfer`). It has not been run on a GPU yet.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio.to_thread
import torch
from torch import Tensor

from rlvr.errors import UserError
from rlvr.samplers.fingerprint import Fingerprint

if TYPE_CHECKING:
    from rlvr.samplers.vllm_http import Server


class Transfer:
    """Sends from the trainer's GPU. `received` can only say what was handed to vLLM: the canary says the rest."""

    again = False  # the policy may have moved on when a server comes back

    def __init__(self, backend: str, dtype: torch.dtype) -> None:
        """`backend`: nccl or ipc."""
        try:
            import vllm.distributed.weight_transfer  # noqa: F401
        except ImportError:
            raise UserError(
                f"--sampler.transport {backend} needs vLLM in the trainer's environment too: "
                "pip install 'rlvr[vllm]', or --sampler.transport files"
            ) from None
        if not torch.cuda.is_available():
            raise UserError(
                f"--sampler.transport {backend} sends from a GPU, and this machine has none: "
                "--sampler.transport files works everywhere"
            )
        self.backend = backend
        self.dtype = dtype
        self._weights: list[tuple[str, Tensor]] = []
        self._sender: Any = None

    def put(self, weights: Iterable[tuple[str, Tensor]]) -> Fingerprint:
        """Hold them until they are sent; returns their fingerprint."""
        taken = Fingerprint(self.dtype)
        self._weights = [
            (name, tensor.detach().to(self.dtype)) for name, tensor in taken.over(weights)
        ]
        return taken

    def fingerprint(self) -> Fingerprint:
        raise NotImplementedError("what was sent is not kept")

    async def send(self, server: Server) -> None:
        workers = await server.workers()
        try:
            await anyio.to_thread.run_sync(self._send, server.url, workers, server.patience)
        finally:
            self._weights = []

    def close(self) -> None:
        if self._sender is not None:
            self._sender.shutdown()

    def _send(self, url: str, workers: int, timeout: float) -> None:
        if self._sender is None:
            from vllm.distributed.weight_transfer.clients import HTTPVLLMWeightSyncClient
            from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

            self._sender = WeightTransferTrainerFactory.trainer_init(
                self._settings(url, workers),
                client=HTTPVLLMWeightSyncClient(url, timeout=timeout),
                source=self._source(),
            )
        self._sender.send_weights()

    def _settings(self, url: str, workers: int) -> Any:
        if self.backend == "ipc":
            from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo

            return IPCTrainerInitInfo(rank=0, packed=True)
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        return NCCLTrainerInitInfo(
            rank=0,
            master_address=_own_address(url),
            master_port=_free_port(),
            world_size=1 + workers,
        )

    def _source(self) -> Any:
        """What vLLM iterates at every send: the weights that were put last."""
        from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

        class Put(WeightSource):  # type: ignore[misc]  # vLLM has no types here
            def metadata(source) -> list[Any]:
                return [ParamMeta(n, t.dtype, tuple(t.shape)) for n, t in self._weights]

            def __iter__(source) -> Iterator[tuple[str, Tensor]]:
                return iter(self._weights)

        return Put()


def _own_address(url: str) -> str:
    """This machine's address as the server's machine sees it. Nothing is sent."""
    parts = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname or "127.0.0.1", parts.port or 80))
        return str(probe.getsockname()[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])

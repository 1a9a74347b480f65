"""A vLLM server on another GPU or box: requests over HTTP, weights through a folder or vLLM's own transfer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rlvr.errors import UserError
from rlvr.samplers.sampler import Limits

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from rlvr.samplers.server_engine import VllmServerEngine

USUAL_KEY = "env:VLLM_API_KEY"  # vLLM's own variable; it need not be there


@dataclass(frozen=True)
class VllmServer(Limits):
    """vLLM behind a URL, on a second GPU or box: checked weight sync, survives the server's restart."""

    url: str = "http://127.0.0.1:8000"
    key: str = USUAL_KEY  # where the server's --api-key is found: env:NAME
    transport: str = "files"  # of weights: files, nccl (GPU to GPU), ipc (two programs on one GPU)
    folder: str = ""  # for files: one that both see under this path; "": for temporary files
    slots: int = 0  # responses in flight; 0: as many as the server writes at the same time
    timeout: float = 120.0  # seconds without a byte after which a request is lost
    patience: float = 240.0  # seconds that a server may be away, or take to load weights

    def __post_init__(self) -> None:
        super().__post_init__()
        address = urlsplit(self.url)
        if address.username or address.password:
            raise ValueError("url must hold no password: settings are written to files (see key)")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(f"url is like http://127.0.0.1:8000, not '{self.url}'")
        if not self.key.startswith("env:"):
            raise ValueError(f"key names a variable, {USUAL_KEY}: settings are written to files")
        if self.transport not in ("files", "nccl", "ipc"):
            raise ValueError(f"transport is files, nccl or ipc, not '{self.transport}'")
        if self.slots < 0 or min(self.timeout, self.patience) <= 0:
            raise ValueError("slots must not be negative, timeout and patience above 0")

    @property
    def secret(self) -> str | None:
        """The key itself. Raises UserError when its variable is not there."""
        name = self.key.removeprefix("env:")
        if name not in os.environ and self.key != USUAL_KEY:
            raise UserError(f"--sampler.key: there is no environment variable {name}")
        return os.environ.get(name)

    def open(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> VllmServerEngine:
        try:
            from rlvr.samplers.server_engine import VllmServerEngine
        except ImportError as error:
            raise UserError(
                f"sampler vllm_server needs {error.name}: pip install 'rlvr[server]'"
            ) from None
        return VllmServerEngine(self, model, tokenizer)

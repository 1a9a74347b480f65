"""All that this project knows of a vLLM server's HTTP: the one module to change when its routes change.

Routes without /v1 are vLLM's development ones: they need VLLM_SERVER_DEV_MODE=1, and its --api-key does not guard
them. Not covered: servers behind a path that rewrites routes, more than one model a server, LoRA adapters by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from rlvr.errors import UserError

STARTED = "default"  # the label of the weights that a server has from its start
TOKENS_A_MESSAGE = 16  # of a response that is being written


class Lost(Exception):
    """The server is not there, or failed by its own fault: what was asked may be asked again."""


class Refused(Exception):
    """The server says that what was asked is wrong."""


@dataclass(frozen=True)
class Wanted:
    """One response, please."""

    prompt_ids: Sequence[int]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stop: Sequence[str]
    stop_ids: Sequence[int]
    seed: int


@dataclass
class Written:
    """A response as far as it has been received."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str = ""  # stop or length, once it is whole


@dataclass(frozen=True)
class Facts:
    """What a server says of itself; None: it does not say."""

    version: str
    device: str
    dtype: str  # of the weights
    length: int  # prompt and response together
    slots: int  # responses it writes at the same time
    logprobs: str  # which ones it reports
    chunked: bool  # whether a prompt may pass through the model in pieces
    transfer: str | None  # backend of its weight transfer
    sizes: Mapping[str, int | None]  # of the model: vocab_size, hidden_size, num_hidden_layers


class Server:
    """A vLLM server at `url`. Every call raises Lost or Refused; a wrong key or address is the user's mistake."""

    def __init__(self, url: str, key: str | None, *, timeout: float, patience: float) -> None:
        """`timeout`: seconds without a byte; `patience`: seconds for a load of weights."""
        self.url = url
        self.patience = patience
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 10.0), pool=None),
            limits=httpx2.Limits(max_connections=None),
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    # what it is

    async def facts(self) -> Facts:
        """Raises UserError when this is no vLLM server that can be used, or the key is wrong."""
        try:
            version = str((await self._get("/version"))["version"])
            await self._get("/v1/models")  # the one of these routes that wants the key
            config = (await self._get("/server_info", config_format="json"))["vllm_config"]
            model, schedule = config["model_config"], config["scheduler_config"]
            return Facts(
                version=version,
                device=str(config["device_config"]["device"]),
                dtype=str(model["dtype"]).removeprefix("torch."),
                length=int(model["max_model_len"]),
                slots=int(schedule["max_num_seqs"]),
                logprobs=str(model["logprobs_mode"]),
                chunked=bool(schedule["enable_chunked_prefill"]),
                transfer=(config.get("weight_transfer_config") or {}).get("backend"),
                sizes=_sizes(str((await self._rpc("get_model_inspection"))[0])),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"{self.url} does not answer as a vLLM server does ({_text(error)})"
            ) from error

    async def label(self) -> str:
        """The name of the weights it has, `STARTED` after a start."""
        return str((await self._get("/weight_info"))["weight_version"])

    async def workers(self) -> int:
        return int((await self._get("/get_world_size"))["world_size"])

    # what it answers

    async def write(self, wanted: Wanted, into: Written) -> None:
        """One response, which grows in `into` as it is written."""
        body = {
            "prompt": list(wanted.prompt_ids),
            "max_tokens": wanted.max_tokens,
            "temperature": wanted.temperature,
            "top_p": wanted.top_p,
            "top_k": wanted.top_k,
            "seed": wanted.seed,
            "stop": list(wanted.stop),
            "stop_token_ids": list(wanted.stop_ids),
            "ignore_eos": True,  # the model's own ends are among stop_token_ids
            # said outright: a server's defaults come from the model's generation config
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logprobs": 0,  # of the chosen token alone
            "return_token_ids": True,
            "stream": True,
            "stream_interval": TOKENS_A_MESSAGE,
        }
        try:
            async with self._http.sse("/v1/completions", method="POST", json=body) as events:
                await self._check(events.response)
                async for event in events:
                    if event.data == "[DONE]":
                        break
                    _take(event.json(), into)
        except httpx2.TransportError as error:
            raise Lost(_text(error)) from error
        except ValueError as error:
            raise Lost("a message of /v1/completions is not JSON") from error
        if into.finish not in ("stop", "length"):
            raise Lost(f"a response ended with '{into.finish or 'nothing'}'")

    async def prompt_logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probabilities at temperature 1 of every token after the first, L - 1 each."""
        body = {
            "prompt": [list(each) for each in sequences],
            "max_tokens": 1,
            "temperature": 1.0,
            "prompt_logprobs": 0,
        }
        answer = await self._call("POST", "/v1/completions", json=body)
        choices = sorted(answer["choices"], key=lambda each: int(each["index"]))
        return [
            [float(row[str(token)]["logprob"]) for row, token in zip(rows, ids, strict=True)]
            for rows, ids in (
                (each["prompt_logprobs"][1:], ids[1:])
                for each, ids in zip(choices, sequences, strict=True)
            )
        ]

    # what it answers with

    async def pause(self) -> None:
        """Drop what is being written and begin nothing."""
        await self._call("POST", "/pause", params={"mode": "abort"})

    async def read_weights(self, folder: str) -> None:
        """Have it read the safetensors files of a folder, as it sees it."""
        await self._rpc("reload_weights", weights_path=folder)

    async def resume(self, label: str) -> None:
        """Forget what was computed with older weights, call the ones it has `label`, go on."""
        answer = await self._call("POST", "/reset_prefix_cache")
        if not answer["success"]:
            raise Lost("its prefix cache is in use")
        await self._call("POST", "/update_weight_version", json={"new_version": label})
        await self._call("POST", "/resume")

    # how it is asked

    async def _rpc(self, method: str, **kwargs: str) -> list[Any]:
        body = {"method": method, "kwargs": kwargs}
        answer = await self._call("POST", "/collective_rpc", json=body, timeout=self.patience)
        results: list[Any] = answer["results"]
        return results

    async def _get(self, path: str, **params: str) -> Any:
        return await self._call("GET", path, params=params)

    async def _call(self, method: str, path: str, **more: Any) -> Any:
        """The answer's JSON; None where there is none."""
        try:
            response = await self._http.request(method, path, **more)
            await self._check(response)
            return response.json() if response.content else None
        except httpx2.TransportError as error:
            raise Lost(_text(error)) from error
        except ValueError as error:
            raise Lost(f"{path} is not answered with JSON") from error

    async def _check(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        await response.aread()
        path = response.request.url.path
        if status in (401, 403):
            raise UserError(
                f"the server at {self.url} refuses the key ({status}): --sampler.key env:NAME "
                "names the variable that holds what the server got as --api-key"
            )
        if status == 404:
            raise UserError(
                f"the server at {self.url} has no {path}: start vLLM "
                "0.28 or newer with VLLM_SERVER_DEV_MODE=1 (docs/vllm.md has the line)"
            )
        if status >= 500 or status == 429:
            raise Lost(f"{path}: {status} {_message(response)}")
        raise Refused(f"{path}: {status} {_message(response)}")


def _take(chunk: Any, into: Written) -> None:
    """The news of one message."""
    try:
        if "error" in chunk:
            raise Lost(" ".join(str(chunk["error"]["message"]).split()))
        (news,) = chunk["choices"]
        tokens, logprobs = news["token_ids"], news["logprobs"]["token_logprobs"]
        if len(tokens) != len(logprobs):
            raise Lost(f"{len(tokens)} tokens came with {len(logprobs)} log-probabilities")
        into.tokens += tokens
        into.logprobs += logprobs
        into.finish = news["finish_reason"] or into.finish
    except (KeyError, TypeError, ValueError) as error:
        raise Lost(f"a message that is none of vLLM's: {chunk!r:.200}") from error


def _sizes(inspection: str) -> dict[str, int | None]:
    """The sizes that vLLM's drawing of its model gives away."""
    patterns = {
        "vocab_size": r"org_vocab_size=(\d+)",
        "hidden_size": r"embedding_dim=(\d+)",
        "num_hidden_layers": r"\(layers\):.*\n\s*\(0(?:-\d+)?\): (\d+) x",
    }
    found = {name: re.search(pattern, inspection) for name, pattern in patterns.items()}
    return {name: int(match.group(1)) if match else None for name, match in found.items()}


def _text(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _message(response: httpx2.Response) -> str:
    """What an answer says went wrong, on one line."""
    try:
        error = response.json()["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        text = response.text
    return " ".join(text.split())[:300]

"""A small HTTP server with the routes of a vLLM one, for what a real one does not do on demand.

Its "model" writes the letter of the weights it holds: token 7 when it has been given some, 8 when it has just started.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "\n".join(
    [
        "LlamaForCausalLM()(",
        "  (embed_tokens): VocabParallelEmbedding(embedding_dim=128, org_vocab_size=99)",
        "  (layers): ModuleList()(",
        "    (0-3): 4 x LlamaDecoderLayer()(",
    ]
)


class StandIn:
    """`answers` overrides a path: a status and a body; `hang` seconds before a response, `posted` what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.failures: dict[str, int] = {}  # path -> how many 500s before it works
        self.hang = 0.0
        self.tokens = 4
        self.logprob = -0.5  # of every token of a prompt
        self.label = "default"
        self.loads: list[str] = []  # folders
        self.posted: list[dict[str, Any]] = []  # to /v1/completions
        self.restart_after = -1  # responses
        self.keys: set[str | None] = set()
        self.lock = threading.Lock()
        self.model = MODEL
        self.config: dict[str, Any] = {
            "model_config": {
                "dtype": "torch.float32",
                "max_model_len": 512,
                "logprobs_mode": "processed_logprobs",
            },
            "scheduler_config": {"max_num_seqs": 8, "enable_chunked_prefill": False},
            "device_config": {"device": "cpu"},
            "weight_transfer_config": None,
        }

    def restart(self) -> None:
        self.label = "default"

    def reply(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path in self.answers:
            return self.answers[path]
        if self.failures.get(path, 0) > 0:
            self.failures[path] -= 1
            return 500, {"error": {"message": "made to fail"}}
        if path == "/version":
            return 200, {"version": "0.32.0"}
        if path == "/server_info":
            return 200, {"vllm_config": self.config}
        if path == "/weight_info":
            return 200, {"weight_version": self.label}
        if path == "/update_weight_version":
            self.label = body["new_version"]
        if path == "/collective_rpc":
            if body["method"] == "reload_weights":
                self.loads.append(body["kwargs"]["weights_path"])
            return 200, {"results": [self.model]}
        if path == "/v1/completions":
            rows = [
                [None, *({str(i): {"logprob": self.logprob}} for i in p[1:])]
                for p in body["prompt"]
            ]
            return 200, {
                "choices": [{"index": n, "prompt_logprobs": row} for n, row in enumerate(rows)]
            }
        return 200, {"success": True}

    def write(self) -> Iterator[dict[str, Any]]:
        """The messages of one response."""
        for number in range(self.tokens):
            token = 8 if self.label == "default" else 7
            last = number == self.tokens - 1
            yield {
                "choices": [
                    {
                        "token_ids": [token],
                        "logprobs": {"token_logprobs": [-0.5]},
                        "finish_reason": "length" if last else None,
                    }
                ]
            }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    it: StandIn

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._reply({})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length) or b"{}")
        if self.path == "/v1/completions" and "stream" in body:
            self._write(body)
        else:
            self._reply(body)

    def _reply(self, body: dict[str, Any]) -> None:
        self.it.keys.add(self.headers.get("Authorization"))
        status, answer = self.it.reply(self.path.split("?")[0], body)
        self._send(status, answer if isinstance(answer, str) else json.dumps(answer))

    def _send(self, status: int, text: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def _write(self, body: dict[str, Any]) -> None:
        it = self.it
        with it.lock:
            it.posted.append(body)
            if it.restart_after == len(it.posted):
                it.restart()
        time.sleep(it.hang)
        if "/v1/completions" in it.answers or it.failures.get("/v1/completions", 0) > 0:
            return self._reply(body)
        messages = [*map(json.dumps, it.write()), "[DONE]"]
        text = "".join(f"data: {message}\n\n" for message in messages)
        self._send(200, text, "text/event-stream")


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away is what some tests are about


@contextmanager
def stand_in() -> Iterator[tuple[StandIn, str]]:
    """A running one and its address."""
    it = StandIn()
    server = Quiet(("127.0.0.1", 0), type("Bound", (Handler,), {"it": it}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield it, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

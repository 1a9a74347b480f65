"""Sampler vllm_server where the server errs: a small HTTP server stands in for vLLM."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlvr.errors import SafetyStop, UserError
from rlvr.samplers.server_engine import VllmServerEngine, mixed
from rlvr.samplers.server_weights import wrong
from rlvr.samplers.vllm_http import Facts
from rlvr.samplers.vllm_server import VllmServer
from rlvr.types import Answer, Problem, Request
from tests.samplers.stand_in import StandIn, stand_in

KEY = "RLVR_TEST_KEY"
SECRET = "s3cret-of-the-test"
MODEL: Any = SimpleNamespace(
    config=SimpleNamespace(vocab_size=99, hidden_size=128, num_hidden_layers=4),
    generation_config=SimpleNamespace(eos_token_id=1),
)
TOKENIZER: Any = SimpleNamespace(
    eos_token_id=1, decode=lambda ids, skip_special_tokens: " ".join(map(str, ids))
)
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}

Opener = Callable[..., VllmServerEngine]


@pytest.fixture
def there() -> Iterator[tuple[StandIn, str]]:
    with stand_in() as running:
        yield running


@pytest.fixture
def it(there: tuple[StandIn, str]) -> StandIn:
    return there[0]


@pytest.fixture
def opened(there: tuple[StandIn, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    monkeypatch.setenv(KEY, SECRET)
    engines: list[VllmServerEngine] = []

    def open_engine(*, load: bool = True, **settings: Any) -> VllmServerEngine:
        given = {"url": there[1], "key": f"env:{KEY}", "patience": 1.0, "timeout": 5.0, **settings}
        engine = VllmServer(**given).open(MODEL, TOKENIZER)
        engines.append(engine)
        if load:
            engine.load(WEIGHTS.items(), 0)
        return engine

    yield open_engine
    for engine in engines:
        engine.close()


def requests(count: int, responses: int = 2) -> list[Request]:
    return [Request(Problem(str(n), ""), (2, 3, n), responses) for n in range(count)]


def tokens(answers: list[Answer]) -> set[int]:
    return {token for answer in answers for token in answer.rollout.tokens.tolist()}


# opening


@pytest.mark.parametrize(
    ("path", "status", "body", "says"),
    [
        ("/v1/models", 401, '{"error": "Unauthorized"}', "refuses the key (401)"),
        ("/server_info", 404, "{}", "VLLM_SERVER_DEV_MODE=1"),
        ("/version", 200, "<html>hello</html>", "not answered with JSON"),
        ("/version", 200, '{"release": 3}', "does not answer as a vLLM server does"),
        ("/version", 200, '{"version": "0.25.1"}', "runs vLLM 0.25.1: 0.28 is the oldest"),
        ("/version", 503, "starting", "/version: 503 starting"),
    ],
)
def test_what_is_no_usable_server_is_one_line(
    it: StandIn, opened: Opener, path: str, status: int, body: str, says: str
) -> None:
    it.answers[path] = (status, body)
    with pytest.raises(UserError) as caught:
        opened()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_nobody_at_the_url_is_one_line_after_patience(opened: Opener) -> None:
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"there is no vLLM server at http://127\.0\.0\.1:9 "):
        opened(url="http://127.0.0.1:9")
    assert 0.9 < time.monotonic() - begun < 10


FACTS = {
    "version": "0.32.0",
    "device": "cpu",
    "dtype": "float32",
    "length": 512,
    "slots": 8,
    "logprobs": "processed_logprobs",
    "chunked": False,
    "transfer": None,
    "sizes": {"vocab_size": 99, "hidden_size": 128, "num_hidden_layers": None},
}


@pytest.mark.parametrize(
    ("change", "settings", "says"),
    [
        ({}, {}, None),
        ({"version": "0.33.1rc1.dev5+g123"}, {}, None),
        ({"version": "0.27.0"}, {}, "0.28 is the oldest"),
        ({"sizes": {"vocab_size": 32000}}, {}, "vocab_size is 32000 there and 99 here"),
        ({"sizes": {"num_hidden_layers": 5}}, {}, "num_hidden_layers is 5 there and 4 here"),
        ({"logprobs": "raw_logprobs"}, {}, "--logprobs-mode processed_logprobs"),
        ({"length": 64}, {"max_tokens": 64}, "too few for --sampler.max_tokens 64"),
        ({"chunked": True}, {}, "--no-enable-chunked-prefill"),
        ({"chunked": True, "device": "cuda"}, {}, None),
        ({"dtype": "int8"}, {}, "holds weights as int8"),
        ({}, {"transport": "nccl"}, "no weight transfer nccl: start it with"),
        ({"transfer": "nccl"}, {"transport": "nccl"}, None),
    ],
)
def test_a_server_that_will_not_do_is_told_apart(
    change: dict[str, Any], settings: dict[str, Any], says: str | None
) -> None:
    found = wrong(Facts(**{**FACTS, **change}), VllmServer(**settings), MODEL.config)
    assert found is None if says is None else says in str(found)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "localhost:8000"}, "url is like"),
        ({"url": f"http://me:{SECRET}@here:8000"}, "must hold no password"),
        ({"key": SECRET}, "key names a variable"),
        ({"transport": "pigeon"}, "files, nccl or ipc"),
        ({"patience": 0.0}, "above 0"),
    ],
)
def test_settings_are_checked_and_no_secret_is_repeated(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError) as caught:
        VllmServer(**settings)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_key_goes_along_and_a_missing_variable_is_said(it: StandIn, opened: Opener) -> None:
    opened()
    assert it.keys == {f"Bearer {SECRET}"}
    with pytest.raises(UserError, match="no environment variable RLVR_NO_SUCH"):
        opened(key="env:RLVR_NO_SUCH")


# responses


def test_every_response_has_a_seed_of_its_own(it: StandIn, opened: Opener) -> None:
    engine = opened()
    assert len(list(engine.stream(requests(3), seed=4))) == 6
    seeds = {body["prompt"][-1]: set() for body in it.posted}
    for body in it.posted:
        seeds[body["prompt"][-1]].add(body["seed"])
    assert seeds == {n: {mixed(4, n, 0), mixed(4, n, 1)} for n in range(3)}
    assert len(set.union(*seeds.values())) == 6


def test_a_failure_of_the_server_is_tried_again_with_the_same_seed(
    it: StandIn, opened: Opener
) -> None:
    engine = opened(slots=1)
    it.failures["/v1/completions"] = 2
    assert len(list(engine.stream(requests(1, responses=1), seed=0))) == 1
    assert len(it.posted) == 3
    assert len({body["seed"] for body in it.posted}) == 1


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, '{"error": {"message": "out of order"}}', "500 out of order"),
        (200, '{"choices": []}', "text/event-stream"),
    ],
)
def test_a_server_that_always_fails_stops_the_run(
    it: StandIn, opened: Opener, status: int, body: str, says: str
) -> None:
    engine = opened()
    it.answers["/v1/completions"] = (status, body)
    with pytest.raises(SafetyStop, match=says):
        list(engine.stream(requests(1), seed=0))


def test_messages_that_are_not_vllms_stop_the_run(
    it: StandIn, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened()
    monkeypatch.setattr(it, "write", lambda: iter([{"choices": [{"text": "?"}]}]))
    with pytest.raises(SafetyStop, match="none of vLLM's"):
        list(engine.stream(requests(1, responses=1), seed=0))


def test_what_the_server_refuses_is_the_users_to_mend(it: StandIn, opened: Opener) -> None:
    engine = opened()
    it.answers["/v1/completions"] = (400, '{"error": {"message": "prompt too long"}}')
    with pytest.raises(UserError, match="refuses: /v1/completions: 400 prompt too long"):
        list(engine.stream(requests(1), seed=0))
    assert len(it.posted) == 2  # nothing was tried again


def test_a_server_that_stays_away_is_waited_for_once(it: StandIn, opened: Opener) -> None:
    """Not once by each response."""
    engine = opened()
    it.answers["/v1/completions"] = it.answers["/weight_info"] = (503, "gone")
    begun = time.monotonic()
    with pytest.raises(SafetyStop, match="stayed away for 1 s: /weight_info: 503 gone"):
        list(engine.stream(requests(20), seed=0))
    with pytest.raises(SafetyStop, match="stayed away for 1 s"):
        engine.load(WEIGHTS.items(), 1)
    assert time.monotonic() - begun < 8


def test_a_server_that_hangs_stops_the_run(it: StandIn, opened: Opener) -> None:
    engine = opened(timeout=0.3)
    it.hang = 2.0
    with pytest.raises(SafetyStop, match="ReadTimeout"):
        list(engine.stream(requests(1, responses=1), seed=0))


def test_no_more_responses_are_in_flight_than_there_are_slots(
    it: StandIn, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(slots=3)
    busy, most = 0, 0
    write = it.write

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal busy, most
        with it.lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.05)
        with it.lock:
            busy -= 1
        return write()

    monkeypatch.setattr(it, "write", counted)
    assert len(list(engine.stream(requests(6), seed=0))) == 12
    assert most == 3


def test_closing_the_engine_ends_a_stream_in_another_thread(it: StandIn, opened: Opener) -> None:
    engine = opened(slots=1)
    it.hang = 3.0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: list(engine.stream(requests(4), seed=0)))
        while not it.posted:
            time.sleep(0.01)
        begun = time.monotonic()
        engine.close()
        with pytest.raises(CancelledError):
            running.result()
        assert time.monotonic() - begun < 2


# weights


def test_a_restarted_server_gets_its_weights_again_before_anything_is_taken(
    it: StandIn, opened: Opener
) -> None:
    engine = opened(slots=2)
    it.restart_after = 5
    answers = list(engine.stream(requests(8), seed=0))
    assert len({(each.request.prompt_ids, each.index) for each in answers}) == 16
    assert tokens(answers) == {7}
    assert len(it.loads) == 2
    assert it.loads[0] == it.loads[1]
    assert len(it.posted) > 16  # what the weights of its start had written was asked for again
    assert engine.cancelled == 4 * (len(it.posted) - 16)


def test_a_restarted_server_must_answer_as_before(it: StandIn, opened: Opener) -> None:
    engine = opened()
    (scored,) = engine.score([((2, 3), (4, 5, 6))])
    assert scored.tolist() == [-0.5] * 3
    it.restart()
    assert tokens(list(engine.stream(requests(1), seed=0))) == {7}
    it.restart()
    it.logprob = -0.6
    with pytest.raises(SafetyStop, match=r"answers otherwise with the same weights, by up to 0\.1"):
        list(engine.stream(requests(1), seed=0))


def test_a_restart_that_is_cut_short_is_done_again(it: StandIn, opened: Opener) -> None:
    engine = opened()
    it.restart()
    it.failures["/resume"] = 1  # its weights have our name by then, and nobody knows what they are
    assert tokens(list(engine.stream(requests(2), seed=0))) == {7}
    assert len(it.loads) == 3


def test_somebody_elses_weights_stop_the_run(it: StandIn, opened: Opener) -> None:
    engine = opened()
    it.label = "mine"
    with pytest.raises(SafetyStop, match="calls them 'mine'"):
        list(engine.stream(requests(1), seed=0))


def test_files_that_changed_are_not_given_again(it: StandIn, opened: Opener) -> None:
    engine = opened()
    (file,) = engine.weights.transport.path.glob("*.safetensors")  # type: ignore[attr-defined]
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    it.restart()
    with pytest.raises(SafetyStop, match="on the disk: b arrived with other values"):
        list(engine.stream(requests(1), seed=0))
    assert len(it.loads) == 1


def test_a_first_load_that_fails_says_what_to_look_at(it: StandIn, opened: Opener) -> None:
    engine = opened(load=False)
    it.failures["/collective_rpc"] = 1
    with pytest.raises(UserError, match=r"made to fail \(is --sampler.folder seen by both"):
        engine.load(WEIGHTS.items(), 0)


def test_nothing_is_sampled_before_weights_were_loaded(opened: Opener) -> None:
    with pytest.raises(RuntimeError, match="no weights"):
        next(opened(load=False).stream(requests(1), seed=0))

"""What every sampler must do, tried on a real model. The engines that are not installed are skipped."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlvr.batch import rows_of
from rlvr.errors import UserError
from rlvr.learn import score
from rlvr.policy import Optimizer, Policy
from rlvr.pretrained import Model
from rlvr.samplers.sampler import Engine
from rlvr.samplers.transformers import Transformers, _truncate
from rlvr.samplers.vllm import Vllm
from rlvr.samplers.vllm_server import VllmServer
from rlvr.sync import Sync
from rlvr.tasks.arithmetic import Arithmetic
from rlvr.types import Answer, Finish, Group, Request
from tests.samplers.conftest import KEY

Opener = Callable[..., Engine]

NEEDS_VLLM = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here"
    ),
]
VLLM = pytest.param(Vllm, id="vllm", marks=NEEDS_VLLM)
SERVER = pytest.param(VllmServer, id="vllm_server", marks=NEEDS_VLLM)
# how many responses an engine writes at the same time
WIDTH = {Transformers: "rows", Vllm: "slots", VllmServer: "slots"}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(Model(), Optimizer(), steps=1)


@pytest.fixture(params=[pytest.param(Transformers, id="transformers"), VLLM, SERVER])
def sampler(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def engine(sampler: Any, policy: Policy, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens an engine with the policy's weights as version 0; closed when the test ends."""
    opened: list[Engine] = []
    where = {}
    if sampler is VllmServer:
        where = {"url": request.getfixturevalue("served").url, "key": f"env:{KEY}"}

    def open_engine(width: int | None = None, **settings: Any) -> Engine:
        settings |= where
        if width is not None:
            settings[WIDTH[sampler]] = width
        engine = sampler(**settings).open(policy.base, policy.tokenizer)
        opened.append(engine)
        Sync(policy, engine, [((5, 6, 7), (8, 9))])(0)
        return engine

    yield open_engine
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def requests(policy: Policy) -> list[Request]:
    """Ragged: 1, 2, 3, ... responses to prompts of different lengths."""
    problems = Arithmetic().problems("test")[:6]
    return [
        Request(problem, tuple(policy.tokenizer.encode(str(problem.prompt))), number + 1)
        for number, problem in enumerate(problems)
    ]


def grouped(answers: Iterable[Answer]) -> list[Group]:
    """The answers by problem; every response that was asked for must be there once."""
    found: dict[str, dict[int, Answer]] = {}
    for answer in answers:
        held = found.setdefault(answer.request.problem.id, {})
        assert answer.index not in held
        held[answer.index] = answer
    groups = []
    for held in found.values():
        request = held[0].request
        assert sorted(held) == list(range(request.responses))
        groups.append(
            Group(request.problem, tuple(held[i].rollout for i in range(request.responses)))
        )
    return groups


def texts(groups: list[Group]) -> dict[str, list[str]]:
    return {group.problem.id: [r.text for r in group.rollouts] for group in groups}


def test_groups_have_the_size_that_was_asked_for(engine: Opener, requests: list[Request]) -> None:
    groups = grouped(engine(max_tokens=48).stream(requests, seed=0))
    sizes = {group.problem.id: len(group.rollouts) for group in groups}
    assert sizes == {request.problem.id: request.responses for request in requests}


def test_a_request_for_nothing_gives_no_group(engine: Opener, requests: list[Request]) -> None:
    none = Request(requests[0].problem, requests[0].prompt_ids, 0)
    assert grouped(engine().stream([none], seed=0)) == []


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_the_trainer(
    engine: Opener, requests: list[Request], policy: Policy, temperature: float
) -> None:
    for group in grouped(engine(max_tokens=48, temperature=temperature).stream(requests, seed=0)):
        for rollout in group.rollouts:
            ids = torch.tensor([*rollout.prompt_ids, *rollout.tokens.tolist()])[None]
            with torch.no_grad():
                logits = policy.base(input_ids=ids).logits[0, len(rollout.prompt_ids) - 1 : -1]
            expected = torch.log_softmax(logits / temperature, -1)
            expected = expected.gather(-1, rollout.tokens[:, None])[:, 0]
            assert rollout.logprobs.shape == rollout.tokens.shape
            torch.testing.assert_close(rollout.logprobs, expected, atol=1e-4, rtol=0)


def test_in_16_bit_the_sampler_rounds_as_the_trainer_does(requests: list[Request]) -> None:
    """What is left is how kernels of other shapes round; in another type the distance is larger."""
    policy = Policy(Model(dtype="bfloat16"), Optimizer(), steps=1)
    gaps = {}
    for dtype in ("bfloat16", "float32"):
        engine = Transformers(max_tokens=48, dtype=dtype).open(policy.base, policy.tokenizer)
        rollouts = [answer.rollout for answer in engine.stream(requests, seed=0)]
        rows = rows_of(rollouts, *[torch.ones(sum(each.length for each in rollouts))] * 2)
        logp, _ = score(policy, rows, 4096, 1.0)
        gaps[dtype] = float((torch.cat([each.logprobs for each in rollouts]) - logp).abs().mean())
    assert gaps["bfloat16"] < 1e-3
    assert gaps["bfloat16"] < gaps["float32"]


def test_a_seed_says_it_all_whatever_the_waves(engine: Opener, requests: list[Request]) -> None:
    first = texts(grouped(engine(max_tokens=48).stream(requests, seed=5)))
    assert first == texts(grouped(engine(max_tokens=48).stream(requests, seed=5)))
    assert first != texts(grouped(engine(max_tokens=48).stream(requests, seed=6)))
    greedy = texts(grouped(engine(max_tokens=48).stream(requests, seed=5, greedy=True)))
    small = texts(grouped(engine(max_tokens=48, width=2).stream(requests, seed=9, greedy=True)))
    assert greedy == small


def test_greedy_takes_the_likeliest_token(
    engine: Opener, requests: list[Request], policy: Policy
) -> None:
    (group,) = grouped(engine(max_tokens=48).stream(requests[:1], seed=0, greedy=True))
    (rollout,) = group.rollouts
    ids = torch.tensor([*rollout.prompt_ids, *rollout.tokens.tolist()])[None]
    with torch.no_grad():
        logits = policy.base(input_ids=ids).logits[0, len(rollout.prompt_ids) - 1 : -1]
    assert logits.argmax(-1).tolist() == rollout.tokens.tolist()


def test_the_end_of_sequence_is_kept_and_truncation_is_marked(
    engine: Opener, requests: list[Request], policy: Policy
) -> None:
    whole = [r for g in grouped(engine(max_tokens=48).stream(requests, seed=0)) for r in g.rollouts]
    for rollout in whole:
        ended = int(rollout.tokens[-1]) == policy.tokenizer.eos_token_id
        assert ended == (rollout.finish is Finish.STOP)
        assert ended or rollout.length == 48
    assert any(rollout.finish is Finish.STOP for rollout in whole)
    cut = [r for g in grouped(engine(max_tokens=3).stream(requests, seed=0)) for r in g.rollouts]
    assert all(rollout.truncated and rollout.length == 3 for rollout in cut)


def test_stop_strings_end_a_response(engine: Opener, requests: list[Request]) -> None:
    for group in grouped(engine(max_tokens=48, stop=("\n",)).stream(requests, seed=0)):
        for rollout in group.rollouts:
            assert rollout.text.count("\n") == 1
            assert rollout.text.endswith("\n")
            assert rollout.finish is Finish.STOP


def test_the_first_token_follows_the_models_law(
    engine: Opener, requests: list[Request], policy: Policy
) -> None:
    """3,000 first tokens against the model's own distribution, within five standard errors."""
    request = Request(requests[3].problem, requests[3].prompt_ids, 3000)
    (group,) = grouped(engine(max_tokens=1, width=3000, temperature=2.0).stream([request], seed=1))
    with torch.no_grad():
        logits = policy.base(input_ids=torch.tensor([request.prompt_ids])).logits[0, -1]
    law = torch.softmax(logits / 2.0, -1)
    counts = Counter(int(rollout.tokens[0]) for rollout in group.rollouts)
    for token in law.topk(5).indices.tolist():
        share, error = float(law[token]), float((law[token] * (1 - law[token]) / 3000).sqrt())
        assert counts[token] / 3000 == pytest.approx(share, abs=5 * error + 1e-4)


def test_every_response_carries_the_version(
    engine: Opener, requests: list[Request], policy: Policy
) -> None:
    running = engine(max_tokens=4)
    running.load(policy.weights(), version=7)
    assert {each.rollout.version for each in running.stream(requests, seed=0)} == {7}


def test_a_request_may_bring_its_own_limit(engine: Opener, requests: list[Request]) -> None:
    asked = [replace(each, max_tokens=4 + n) for n, each in enumerate(requests)]
    for answer in engine(max_tokens=48).stream(asked, seed=0):
        limit = 4 + asked.index(answer.request)
        assert answer.rollout.length <= limit
        assert answer.rollout.truncated == (
            answer.rollout.length == limit and answer.rollout.finish is Finish.LENGTH
        )


def test_closing_the_stream_cancels_the_rest_and_counts_it(
    engine: Opener, requests: list[Request]
) -> None:
    """What was handed out and what was cancelled is what the responses had by then.

    An engine elsewhere goes on writing between the end of a response and its arrival.
    """
    running = engine(max_tokens=48)
    stream = running.stream(requests, seed=0)
    first = next(stream)
    stream.close()  # type: ignore[attr-defined]
    total = sum(each.responses for each in requests)
    most = 48 if hasattr(running, "elsewhere") else first.rollout.length + 1
    assert 0 < running.cancelled <= (total - 1) * most
    assert len(grouped(running.stream(requests, seed=0))) == len(requests)


def test_responses_come_out_before_the_last_one_is_written(
    engine: Opener, requests: list[Request]
) -> None:
    running = engine(max_tokens=48)
    if hasattr(running, "elsewhere"):
        pytest.skip("responses are not begun all at once there; that they stream is the test above")
    lengths = [each.rollout.length for each in running.stream(requests, seed=0)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_truncated_sampling_keeps_the_likeliest_and_is_refused_for_training() -> None:
    logprobs = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    assert _truncate(logprobs, 2, 1.0).isfinite().tolist() == [[True, True, False, False]]
    assert _truncate(logprobs, 0, 0.6).isfinite().tolist() == [[True, True, False, False]]
    assert _truncate(logprobs, 0, 0.5).isfinite().tolist() == [[True, False, False, False]]
    with pytest.raises(UserError, match="bias the importance ratio"):
        Transformers(top_k=5).refuse_truncated()

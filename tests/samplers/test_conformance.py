"""What every sampler must do, tried on a real model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from rlvr.errors import UserError
from rlvr.policy import Model, Optimizer, Policy
from rlvr.samplers.transformers import Transformers, TransformersEngine, _truncate
from rlvr.tasks.arithmetic import Arithmetic
from rlvr.types import Finish, Group, Request

Engine = Callable[..., TransformersEngine]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(Model(), Optimizer(), steps=1)


@pytest.fixture(scope="module")
def engine(policy: Policy) -> Engine:
    return lambda **settings: Transformers(**settings).open(policy.base, policy.tokenizer)


@pytest.fixture(scope="module")
def requests(policy: Policy) -> list[Request]:
    """Ragged: 1, 2, 3, ... responses to prompts of different lengths."""
    problems = Arithmetic().problems("test")[:6]
    return [
        Request(problem, tuple(policy.tokenizer.encode(str(problem.prompt))), number + 1)
        for number, problem in enumerate(problems)
    ]


def texts(groups: list[Group]) -> dict[str, list[str]]:
    return {group.problem.id: [r.text for r in group.rollouts] for group in groups}


def test_groups_have_the_size_that_was_asked_for(engine: Engine, requests: list[Request]) -> None:
    groups = list(engine(max_tokens=48).stream(requests, seed=0))
    sizes = {group.problem.id: len(group.rollouts) for group in groups}
    assert sizes == {request.problem.id: request.responses for request in requests}


def test_a_request_for_nothing_gives_no_group(engine: Engine, requests: list[Request]) -> None:
    none = Request(requests[0].problem, requests[0].prompt_ids, 0)
    assert list(engine().stream([none], seed=0)) == []


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_the_trainer(
    engine: Engine, requests: list[Request], policy: Policy, temperature: float
) -> None:
    for group in engine(max_tokens=48, temperature=temperature).stream(requests, seed=0):
        for rollout in group.rollouts:
            ids = torch.tensor([*rollout.prompt_ids, *rollout.tokens.tolist()])[None]
            with torch.no_grad():
                logits = policy.base(input_ids=ids).logits[0, len(rollout.prompt_ids) - 1 : -1]
            expected = torch.log_softmax(logits / temperature, -1)
            expected = expected.gather(-1, rollout.tokens[:, None])[:, 0]
            assert rollout.logprobs.shape == rollout.tokens.shape
            torch.testing.assert_close(rollout.logprobs, expected, atol=1e-4, rtol=0)


def test_a_seed_says_it_all_whatever_the_waves(engine: Engine, requests: list[Request]) -> None:
    first = texts(list(engine(max_tokens=48).stream(requests, seed=5)))
    assert first == texts(list(engine(max_tokens=48).stream(requests, seed=5)))
    assert first != texts(list(engine(max_tokens=48).stream(requests, seed=6)))
    greedy = texts(list(engine(max_tokens=48).stream(requests, seed=5, greedy=True)))
    small = texts(list(engine(max_tokens=48, rows=2).stream(requests, seed=9, greedy=True)))
    assert greedy == small


def test_greedy_takes_the_likeliest_token(
    engine: Engine, requests: list[Request], policy: Policy
) -> None:
    (group,) = engine(max_tokens=48).stream(requests[:1], seed=0, greedy=True)
    (rollout,) = group.rollouts
    ids = torch.tensor([*rollout.prompt_ids, *rollout.tokens.tolist()])[None]
    with torch.no_grad():
        logits = policy.base(input_ids=ids).logits[0, len(rollout.prompt_ids) - 1 : -1]
    assert logits.argmax(-1).tolist() == rollout.tokens.tolist()


def test_the_end_of_sequence_is_kept_and_truncation_is_marked(
    engine: Engine, requests: list[Request], policy: Policy
) -> None:
    whole = [r for g in engine(max_tokens=48).stream(requests, seed=0) for r in g.rollouts]
    for rollout in whole:
        ended = int(rollout.tokens[-1]) == policy.tokenizer.eos_token_id
        assert ended == (rollout.finish is Finish.STOP)
        assert ended or rollout.length == 48
    assert any(rollout.finish is Finish.STOP for rollout in whole)
    cut = [r for g in engine(max_tokens=3).stream(requests, seed=0) for r in g.rollouts]
    assert all(rollout.truncated and rollout.length == 3 for rollout in cut)


def test_stop_strings_end_a_response(engine: Engine, requests: list[Request]) -> None:
    for group in engine(max_tokens=48, stop=("\n",)).stream(requests, seed=0):
        for rollout in group.rollouts:
            assert rollout.text.count("\n") == 1
            assert rollout.text.endswith("\n")
            assert rollout.finish is Finish.STOP


def test_the_first_token_follows_the_models_law(
    engine: Engine, requests: list[Request], policy: Policy
) -> None:
    """3,000 first tokens against the model's own distribution, within five standard errors."""
    request = Request(requests[3].problem, requests[3].prompt_ids, 3000)
    (group,) = engine(max_tokens=1, rows=3000, temperature=2.0).stream([request], seed=1)
    with torch.no_grad():
        logits = policy.base(input_ids=torch.tensor([request.prompt_ids])).logits[0, -1]
    law = torch.softmax(logits / 2.0, -1)
    counts = Counter(int(rollout.tokens[0]) for rollout in group.rollouts)
    for token in law.topk(5).indices.tolist():
        share, error = float(law[token]), float((law[token] * (1 - law[token]) / 3000).sqrt())
        assert counts[token] / 3000 == pytest.approx(share, abs=5 * error + 1e-4)


def test_every_response_carries_the_version(engine: Engine, requests: list[Request]) -> None:
    running = engine(max_tokens=4)
    running.load([], version=7)
    assert {r.version for g in running.stream(requests, seed=0) for r in g.rollouts} == {7}


def test_truncated_sampling_keeps_the_likeliest_and_is_refused_for_training() -> None:
    logprobs = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    assert _truncate(logprobs, 2, 1.0).isfinite().tolist() == [[True, True, False, False]]
    assert _truncate(logprobs, 0, 0.6).isfinite().tolist() == [[True, True, False, False]]
    assert _truncate(logprobs, 0, 0.5).isfinite().tolist() == [[True, False, False, False]]
    with pytest.raises(UserError, match="bias the importance ratio"):
        Transformers(top_k=5).refuse_truncated()

"""A sync is checked: weights that did not arrive whole never answer."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from rlvr.errors import WEIGHT_SYNC, SafetyStop
from rlvr.policy import Optimizer, Policy
from rlvr.pretrained import Model
from rlvr.prompts import encode
from rlvr.samplers.fingerprint import Fingerprint
from rlvr.samplers.sampler import Copying
from rlvr.samplers.transformers import Transformers, TransformersEngine
from rlvr.samplers.vllm import Vllm
from rlvr.sync import Sync, sentences
from rlvr.tasks.arithmetic import Arithmetic

Weights = list[tuple[str, Tensor]]


class Copied(TransformersEngine):
    """Answers with a copy of the weights, as an engine on another device does."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(Transformers(), copy.deepcopy(model), tokenizer)
        self.dtype = torch.float32
        self.take: Callable[[Weights], None] = self.copy
        self._received = Fingerprint(self.dtype)

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self._received = Fingerprint(self.dtype)
        self.take([(name, t.clone()) for name, t in self._received.over(weights)])
        self.version = version

    def copy(self, weights: Weights) -> None:
        self.model.load_state_dict(dict(weights), strict=False)

    def received(self) -> Fingerprint:
        return self._received

    @torch.no_grad()
    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Tensor]:
        found = []
        for prompt, rest in sequences:
            logits = self.model(input_ids=torch.tensor([[*prompt, *rest]])).logits[0]
            logp = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
            found.append(logp.gather(-1, torch.tensor(rest)[:, None])[:, 0])
        return found


@dataclass
class Faults:
    """What can go wrong on the way of the weights, between what is sent and what answers."""

    copy: Callable[[Weights], None]
    last: Weights = field(default_factory=list)

    def skipped(self, weights: Weights) -> None:
        """Nothing happens at all."""

    def truncated(self, weights: Weights) -> None:
        """The last third does not arrive."""
        self.copy(weights[: len(weights) * 2 // 3])

    def stale(self, weights: Weights) -> None:
        """The version before arrives again."""
        self.copy(self.last)

    def noisy(self, weights: Weights) -> None:
        """Some values are damaged."""
        damaged = [(n, t + 0.05 * torch.randn_like(t) if "mlp" in n else t) for n, t in weights]
        self.copy(damaged)


@pytest.fixture
def policy() -> Policy:
    return Policy(Model(), Optimizer(lr=1e-3, warmup=0), steps=50)


def prompts(policy: Policy) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    problems = Arithmetic().problems("train")
    return sentences(problems, lambda problem: encode(policy.tokenizer, problem))


def move(policy: Policy) -> None:
    """A real optimiser step on a made-up loss."""
    ids = torch.randint(3, 90, (4, 24))
    policy.base(input_ids=ids, labels=ids).loss.backward()
    policy.step(1)


class Wire:
    """A generator that ends early: the sender's own iterator is cut, as a lost connection would."""

    def __init__(self, engine: Any, keep: int) -> None:
        self.engine, self.keep, self.load = engine, keep, engine.load
        engine.load = self

    def __call__(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self.load(itertools.islice(weights, self.keep), version)


def test_a_sharing_engine_is_told_the_version(policy: Policy) -> None:
    engine = Transformers().open(policy.base, policy.tokenizer)
    sync = Sync(policy, engine, prompts(policy))
    sync(4)
    assert (engine.version, sync.version) == (4, 4)
    assert not isinstance(engine, Copying)


def test_good_syncs_pass_and_the_gap_is_small(policy: Policy) -> None:
    engine = Copied(policy.base, policy.tokenizer)
    sync = Sync(policy, engine, prompts(policy))
    for version in range(5):
        sync(version)
        assert sync.gap is not None
        assert sync.gap < 1e-4
        move(policy)
    assert sync.version == 4


@pytest.mark.parametrize("fault", ["skipped", "truncated", "stale", "noisy"])
def test_every_fault_is_caught(policy: Policy, fault: str) -> None:
    engine = Copied(policy.base, policy.tokenizer)
    sync = Sync(policy, engine, prompts(policy))
    sync(0)
    faults = Faults(engine.copy, [(n, t.clone()) for n, t in policy.weights()])
    engine.take = getattr(faults, fault)
    move(policy)
    with pytest.raises(SafetyStop, match="did not take the weights of version 1"):
        sync(1)
    assert sync.version == 0


def test_a_small_step_that_is_skipped_shows_too(policy: Policy) -> None:
    """A step far below the tolerance: the policy says something new, the engine what it said before."""
    engine = Copied(policy.base, policy.tokenizer)
    sync = Sync(policy, engine, prompts(policy))
    sync(0)
    engine.take = Faults(engine.copy).skipped
    with torch.no_grad():
        for each in policy.base.parameters():
            each.mul_(1 + 3e-6)
    with pytest.raises(SafetyStop, match="answers as before"):
        sync(1)


def test_a_cut_connection_is_caught_by_the_fingerprint(policy: Policy) -> None:
    engine = Copied(policy.base, policy.tokenizer)
    Wire(engine, keep=3)
    with pytest.raises(SafetyStop, match=r"did not arrive|log-probabilities"):
        Sync(policy, engine, prompts(policy))(0)


def test_one_failure_is_tried_again(policy: Policy, caplog: pytest.LogCaptureFixture) -> None:
    engine = Copied(policy.base, policy.tokenizer)
    tries = iter([Faults(engine.copy).skipped, engine.copy])
    sync = Sync(policy, engine, prompts(policy))
    sync(0)
    engine.take = lambda weights: next(tries)(weights)
    move(policy)
    sync(1)
    assert sync.version == 1
    assert "attempt 1" in caplog.text


def test_a_load_that_raises_or_hangs_stops_the_run(policy: Policy) -> None:
    engine = Copied(policy.base, policy.tokenizer)
    sync = Sync(policy, engine, prompts(policy), deadline=0.5)

    def raises(weights: Weights) -> None:
        raise OSError("no such device")

    engine.take = raises
    with pytest.raises(SafetyStop, match="OSError: no such device"):
        sync(0)
    release = threading.Event()
    engine.take = lambda weights: release.wait(60) and None
    started = time.monotonic()
    with pytest.raises(SafetyStop, match=r"within 0\.5 s"):
        sync(0)
    assert time.monotonic() - started < 5
    release.set()
    for thread in threading.enumerate():
        if thread.name == WEIGHT_SYNC:
            thread.join()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's
def test_a_lora_reaches_the_engine_merged() -> None:
    policy = Policy(Model(lora_rank=4), Optimizer(lr=1e-2, warmup=0), steps=9)
    engine = Copied(policy.base, policy.tokenizer)
    engine.model = Policy(Model(), Optimizer(), steps=1).base  # an engine has no LoRA layers
    sync = Sync(policy, engine, prompts(policy))
    for version in range(3):
        sync(version)
        move(policy)


def test_a_fingerprint_tells_order_and_size() -> None:
    def of(**tensors: Tensor) -> Fingerprint:
        found = Fingerprint(torch.float32)
        assert [name for name, _ in found.over(tensors.items())] == list(tensors)
        return found

    one = of(a=torch.arange(6.0), b=torch.ones(2))
    assert one.differs(of(a=torch.arange(6.0), b=torch.ones(2))) is None
    assert one.differs(of(a=torch.arange(6.0))) == "b did not arrive"
    swapped = torch.tensor([1.0, 0, 2, 3, 4, 5])
    assert one.differs(of(a=swapped, b=torch.ones(2))) == "a arrived with other values"
    assert one.differs(of(a=torch.arange(6.0), b=torch.ones(3))) == "b arrived with other values"


@pytest.fixture
def vllm(policy: Policy) -> Iterator[Any]:
    engine = Vllm(max_tokens=48).open(policy.base, policy.tokenizer)
    yield engine
    engine.close()


needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here"
)


@needs_vllm
@pytest.mark.vllm
def test_vllm_agrees_to_1e_4_after_each_of_20_steps(policy: Policy, vllm: Any) -> None:
    sync = Sync(policy, vllm, prompts(policy))
    gaps = []
    for version in range(21):
        sync(version)
        gaps.append(sync.gap)
        move(policy)
    assert max(gaps) < 1e-4, gaps


@needs_vllm
@pytest.mark.vllm
@pytest.mark.parametrize("fault", ["skipped", "truncated", "stale", "noisy"])
def test_vllm_faults_are_caught_every_time(policy: Policy, vllm: Any, fault: str) -> None:
    """Five faulty syncs in a row after a good one, each caught; then a good one goes through."""
    sync = Sync(policy, vllm, prompts(policy))
    sync(0)
    load = vllm.server.load
    faults = Faults(load, [(n, t.clone()) for n, t in policy.weights()])
    for version in range(1, 6):
        move(policy)
        vllm.server.load = lambda weights: getattr(faults, fault)(list(weights))
        with pytest.raises(SafetyStop, match=f"did not take the weights of version {version}"):
            sync(version)
    vllm.server.load = load
    sync(6)
    assert sync.version == 6

"""The update: any cut of a batch gives the gradient of the whole, packed, shared or padded alike."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor, nn

from rlvr.advantage.weigh import Weights
from rlvr.batch import Batch, Part, Row
from rlvr.bench.memory import peak
from rlvr.learn import Learner
from rlvr.loss import reference
from rlvr.loss.clip.ppo import PPO
from rlvr.loss.kl import NoKL
from rlvr.loss.policy_loss import policy_loss
from rlvr.policy import Optimizer, Policy
from rlvr.pretrained import DEMO_MODEL, Model
from rlvr.types import Finish, Rollout


@pytest.fixture(scope="module")
def policy() -> Policy:
    """In float64, so that what is compared is the algebra and not the rounding."""
    policy = Policy(Model(), Optimizer(), steps=1)
    policy.base.double()
    return policy


@pytest.fixture(scope="module")
def batch(policy: Policy) -> Batch:
    """Ragged groups of like prompts, with old log-probabilities off the policy's own."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for length, responses in ((5, 3), (9, 1), (7, 4)):
        prompt = torch.randint(3, 90, (length,), generator=generator)
        for _ in range(responses):
            count = int(torch.randint(1, 12, (1,), generator=generator))
            tokens = torch.randint(3, 90, (count,), generator=generator)
            weight = torch.randn(count, generator=generator)
            old = padded_logp(policy, prompt, tokens).detach()
            old = old + 0.1 * torch.randn(count, generator=generator)
            rows.append(Row(prompt, tokens, weight.double(), weight.abs().double(), old))
    return Batch(tuple(rows))


def padded_logp(policy: Policy, prompt: Tensor, tokens: Tensor) -> Tensor:
    """By the model's own forward and a full log-softmax [L]."""
    logits = policy.base(input_ids=torch.cat([prompt, tokens])[None]).logits[
        0, len(prompt) - 1 : -1
    ]
    return torch.log_softmax(logits, -1).gather(-1, tokens[:, None])[:, 0]


def gradient(policy: Policy) -> Tensor:
    grads = [each.grad.flatten() for each in policy.model.parameters() if each.grad is not None]
    policy.optimizer.zero_grad()
    return torch.cat(grads)


def learned(policy: Policy, batch: Batch, budget: int) -> Tensor:
    for part in batch.parts(budget):
        policy_loss(policy.hidden(part), policy.head, part, PPO()).loss.backward()
    return gradient(policy)


def specified(policy: Policy, batch: Batch) -> Tensor:
    """One response at a time, full logits, PPO written out."""
    total = torch.zeros((), dtype=torch.float64)
    for row in batch.rows:
        ratio = (padded_logp(policy, row.prompt, row.tokens) - row.old_logp).exp()
        clipped = ratio.clamp(0.8, 1.2)
        total = total - torch.minimum(ratio * row.weight, clipped * row.weight).sum()
    total.backward()
    return gradient(policy)


@pytest.mark.parametrize("budget", [1, 15, 30, 60])
def test_any_cut_gives_the_same_gradient(policy: Policy, batch: Batch, budget: int) -> None:
    whole = learned(policy, batch, 10_000)
    cut = learned(policy, batch, budget)
    assert (cut - whole).norm() <= 1e-6 * whole.norm()


def test_the_gradient_is_the_specified_one(policy: Policy, batch: Batch) -> None:
    expected = specified(policy, batch)
    assert (learned(policy, batch, 40) - expected).norm() <= 1e-6 * expected.norm()


def test_scores_are_the_models_own(policy: Policy, batch: Batch) -> None:
    """Old and reference log-probabilities and entropies come from the same head, no gradient."""
    part = Part.pack(batch.rows)
    logp, entropy = policy.score(part, 1.0)
    wanted = torch.cat([padded_logp(policy, row.prompt, row.tokens) for row in batch.rows])
    assert not logp.requires_grad
    assert torch.allclose(logp.double(), wanted.detach(), atol=1e-5)
    full = torch.cat(
        [
            policy.base(input_ids=torch.cat([row.prompt, row.tokens])[None]).logits[
                0, len(row.prompt) - 1 : -1
            ]
            for row in batch.rows
        ]
    ).log_softmax(-1)
    assert torch.allclose(entropy.double(), -(full.exp() * full).sum(-1).detach(), atol=1e-5)


@pytest.mark.parametrize("rank", [0, 4])
def test_the_reference_stays_what_it_was(batch: Batch, rank: int) -> None:
    of = Policy(Model(lora_rank=rank), Optimizer(lr=0.01, warmup=0), steps=10)
    of.keep_reference()
    names = ("weight", "scale", "old_logp")
    part = Part.pack(
        [replace(row, **{each: getattr(row, each).float() for each in names}) for row in batch.rows]
    )
    before, _ = of.score(part, 1.0)
    for _ in range(2):  # LoRA's first step moves nothing: one factor is zero
        policy_loss(of.hidden(part), of.head, part, PPO()).loss.backward()
        of.step(1)
    with of.reference():
        reference, _ = of.score(part, 1.0)
    assert torch.equal(reference, before)
    assert (of.score(part, 1.0)[0] - before).abs().max() > 1e-3


def test_no_logits_of_the_whole_batch_are_held(tmp_path: Path) -> None:
    """2,048 response tokens of a vocabulary of 32,000 are 250 MiB of logits; an update takes less
    than half of one such copy, the plain loss several."""
    sizes = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64}
    config = transformers.Qwen2Config(
        vocab_size=32_000, hidden_size=32, num_hidden_layers=1, **sizes
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_MODEL / name, tmp_path)
    of = Policy(Model(name=str(tmp_path), device="cpu"), Optimizer(lr=0.0), steps=9)
    made = torch.Generator().manual_seed(0)
    rollouts = [
        Rollout(
            (1, 2, 3),
            torch.randint(32_000, (128,), generator=made),
            torch.full((128,), -10.0),
            "",
            Finish.LENGTH,
            0,
        )
        for _ in range(16)
    ]
    scale = torch.full((2048,), 1 / 2048, dtype=torch.float64)
    advantage = torch.tensor([1.0, -1.0] * 8, dtype=torch.float64)
    weight = (advantage.repeat_interleave(128) * scale).float()
    weights = Weights(
        advantage, torch.ones(16, dtype=torch.bool), scale, torch.ones_like(scale), weight, {}
    )
    learner = Learner(of, PPO(), NoKL(), 1, 1, 4096, 1.0, 0.0)
    copy = 2048 * 32_000 * 4
    learner(rollouts, weights, 1, 0)  # gradients and moments are there from now on
    with peak(of.device) as ours:
        learned = learner(rollouts, weights, 2, 0)
    assert learned.tokens == 2048
    part = Part.pack(Batch.of(rollouts, weight, scale.float()).rows)
    with peak(of.device) as naive:
        reference.policy_loss(of.hidden(part), of.head, part, PPO()).loss.backward()
    assert ours.extra < 0.5 * copy
    assert naive.extra > 2 * copy


@pytest.mark.parametrize("rank", [0, 4])
def test_checkpointed_layers_give_the_same_gradient_and_keep_less(batch: Batch, rank: int) -> None:
    gradients, kept = [], []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = Model(gradient_checkpointing=checkpointed, lora_rank=rank)
        of = Policy(model, Optimizer(), steps=1)
        of.model.double()
        for name, each in of.model.named_parameters():
            if "lora_B" in name:  # zero at first: the other factor would have no gradient
                nn.init.normal_(each, std=0.02)
        sizes: list[int] = []

        def count(tensor: Tensor, into: list[int] = sizes) -> Tensor:
            into.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            (part,) = batch.parts(10_000)
            hidden = of.hidden(part)
        kept.append(sum(sizes))
        policy_loss(hidden, of.head, part, PPO()).loss.backward()
        gradients.append(gradient(of))
    assert (gradients[1] - gradients[0]).norm() <= 1e-6 * gradients[0].norm()
    assert kept[1] < kept[0] / 3

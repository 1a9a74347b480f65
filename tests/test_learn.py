"""The update: any cut of a batch gives the gradient of the whole, packed, shared or padded alike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rlvr.batch import Batch, Row
from rlvr.loss.clip.ppo import PPO
from rlvr.loss.policy_loss import policy_loss
from rlvr.policy import Model, Optimizer, Policy


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


def learned(policy: Policy, batch: Batch, budget: int, share: bool) -> Tensor:
    for part in batch.parts(budget, share=share):
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


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("budget", [1, 15, 30, 60, 10_000])
def test_any_cut_gives_the_same_gradient(
    policy: Policy, batch: Batch, budget: int, share: bool
) -> None:
    whole = learned(policy, batch, 10_000, share=False)
    cut = learned(policy, batch, budget, share)
    assert (cut - whole).norm() <= 1e-6 * whole.norm()


def test_the_gradient_is_the_specified_one(policy: Policy, batch: Batch) -> None:
    expected = specified(policy, batch)
    assert (learned(policy, batch, 40, share=True) - expected).norm() <= 1e-6 * expected.norm()


def test_no_logits_of_the_whole_batch_are_held(policy: Policy, batch: Batch) -> None:
    """The head itself never runs as a layer: the loss reads hidden states in chunks."""
    head: nn.Module = policy.base.get_output_embeddings()
    called = []
    handle = head.register_forward_hook(lambda *_: called.append(1))
    learned(policy, batch, 40, share=True)
    handle.remove()
    assert called == []


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
            (part,) = batch.parts(10_000, share=True)
            hidden = of.hidden(part)
        kept.append(sum(sizes))
        policy_loss(hidden, of.head, part, PPO()).loss.backward()
        gradients.append(gradient(of))
    assert (gradients[1] - gradients[0]).norm() <= 1e-6 * gradients[0].norm()
    assert kept[1] < kept[0] / 3

"""What only a GPU can show: compiled kernels, 16-bit products, variable-length attention, a run in bfloat16.

Never run where there is no CUDA device; `benchmarks/gpu.sh` runs it first.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlvr import registry
from rlvr.attention import attach, packed_forward
from rlvr.cli import main
from rlvr.loss import reference, selftest
from rlvr.loss.clip.dapo import DAPO
from rlvr.loss.head import Head, token_logprobs
from rlvr.loss.kl import K3
from rlvr.loss.policy_loss import policy_loss
from tests.loss.cases import Case, case, worst
from tests.loss.test_policy_loss import ALLOWED, PLAIN, fitted, made
from tests.test_attention import LENGTHS, MODELS, laid, model, pack, padded, whole_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device that torch can use"),
]
DEVICE = torch.device("cuda")


def there(part: Case) -> Case:
    """On the GPU, leaves of a graph of their own."""

    def move(each: Any) -> Any:
        if isinstance(each, Tensor):
            return each.detach().to(DEVICE).requires_grad_(each.requires_grad)
        return tuple(move(item) for item in each) if isinstance(each, tuple) else each

    head = Head(**{field.name: move(getattr(part.head, field.name)) for field in fields(Head)})
    moved = {field.name: move(getattr(part, field.name)) for field in fields(Case)}
    return Case(**{**moved, "head": head})


def test_the_self_test_passes() -> None:
    found = list(selftest.run())
    assert [name for name, passed, _ in found if not passed] == []
    assert any("on cuda" in name and "Triton" in detail for name, _, detail in found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("clip", registry.builtin("clip"))
@pytest.mark.parametrize(("softcap", "temperature", "rank"), [(None, 1.0, 0), (8.0, 0.7, 3)])
def test_the_loss_is_the_specifications(
    clip: str, softcap: float | None, temperature: float, rank: int, dtype: torch.dtype
) -> None:
    part = case(
        200, 64, 5003, bias=True, rank=rank, softcap=softcap, temperature=temperature, dtype=dtype
    )
    if dtype == torch.bfloat16:
        part = replace(part, **{name: getattr(part, name).float() for name in PLAIN})
    rule, on = fitted(made("clip", clip), part, temperature), there(part)
    options: Any = {"temperature": temperature, "entropy_bonus": 0.01, "kl": K3(0.1)}
    exact = part.to(torch.float64)
    wanted = reference.policy_loss(exact.hidden, exact.head, exact, rule, **options)
    found = policy_loss(on.hidden, on.head, on, rule, chunk=48, **options)
    slopes = [each.cpu() for each in torch.autograd.grad(found.loss, on.leaves)]
    # gradients of logits are rounded to 16 bit too, before their products
    assert worst(slopes, list(torch.autograd.grad(wanted.loss, exact.leaves))) < 2 * ALLOWED[dtype]
    said = part.scale != 0
    assert torch.allclose(found.logp.cpu()[said].double(), wanted.logp[said], atol=5e-5)


def test_no_decision_to_clip_flips_at_a_real_vocabulary() -> None:
    generator = torch.Generator(DEVICE).manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, device=DEVICE)

    matrix = (normal(151_936, 896) / 896**0.5).bfloat16()
    tokens = torch.randint(151_936, (1024,), generator=generator, device=DEVICE)
    hidden = ((14 + 4 * normal(1024, 1)) * matrix[tokens] + normal(1024, 896)).bfloat16()
    with torch.no_grad():
        found, entropy = token_logprobs(hidden, Head(matrix), tokens)
        exact = [
            reference.token_logprobs(rows.double(), Head(matrix.double()), at)
            for rows, at in zip(hidden.split(256), tokens.split(256), strict=True)
        ]
    wanted = torch.cat([each for each, _ in exact])
    assert float((found.double() - wanted).abs().quantile(0.99)) < 2e-5
    assert torch.allclose(entropy.double(), torch.cat([each for _, each in exact]), atol=1e-3)
    old, rule = wanted.float() + 0.1 * normal(1024), DAPO()
    decided = [
        ((logp.float() - old).exp() > rule.high) | ((logp.float() - old).exp() < rule.low)
        for logp in (found, wanted)
    ]
    assert torch.equal(*decided)


@pytest.mark.parametrize("name", MODELS)
def test_variable_length_attention_is_padded_attention(name: str) -> None:
    """In bfloat16, against float32 padded on the CPU: off by rounding alone, gradients too."""
    of = model(MODELS[name])
    ids, positions, bounds = pack()
    wanted = padded(of, ids)
    wanted.square().sum().backward()
    slopes = [each.grad for each in of.parameters()]
    of.zero_grad(set_to_none=True)
    of = of.to(DEVICE)
    with torch.autocast("cuda", torch.bfloat16):
        attach(of)
        found = packed_forward(
            of, ids[None].to(DEVICE), positions[None].to(DEVICE), bounds.to(DEVICE)
        )
    assert len(found) == sum(LENGTHS)
    assert worst([found.detach().float().cpu()], [wanted.detach()]) < 0.05
    found.float().square().sum().backward()
    pairs = [
        (each.grad.flatten().cpu(), slope.flatten())
        for each, slope in zip(of.parameters(), slopes, strict=True)
        if slope is not None and each.grad is not None
    ]
    every = [torch.cat(side) for side in zip(*pairs, strict=True)]
    assert worst(every[:1], every[1:]) < 0.1


@pytest.mark.parametrize("name", MODELS)
def test_a_shared_prompt_passes_once(name: str) -> None:
    """In bfloat16 through a variable-length kernel, against float32 row by row on the CPU."""
    of = model(MODELS[name])
    ids, positions, bounds, prefix, rows = laid()
    wanted = whole_rows(of, ids, rows)
    wanted.square().sum().backward()
    slopes = torch.cat([each.grad.flatten() for each in of.parameters() if each.grad is not None])
    of.zero_grad(set_to_none=True)
    of = of.to(DEVICE)
    with torch.autocast("cuda", torch.bfloat16):
        attach(of)
        found = packed_forward(
            of, ids[None].to(DEVICE), positions[None].to(DEVICE), bounds.to(DEVICE), prefix
        )
    assert worst([found.detach().float().cpu()], [wanted.detach()]) < 0.05
    found.float().square().sum().backward()
    own = torch.cat(
        [each.grad.flatten().cpu() for each in of.parameters() if each.grad is not None]
    )
    assert worst([own], [slopes]) < 0.1


def test_the_demo_trains_in_bfloat16(tmp_path: Path) -> None:
    flags = ["--steps", "10", "--eval.problems", "32", "--out", str(tmp_path / "run")]
    assert main(["train", *flags]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    steps = [row for row in rows if row.get("kind") == "step"]
    assert len(steps) == 10
    assert all(row["grad_norm"] > 0 for row in steps)
    # the sampler computes as the trainer does: what is left is how kernels of other shapes round
    assert all(row["sampler_gap"] < 0.02 for row in steps)

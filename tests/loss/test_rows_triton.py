"""The kernels against rows in plain PyTorch: on a GPU as compiled, elsewhere in Triton's interpreter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rlvr import registry
from rlvr.loss.rows import Shape, Stats, TorchRows, merged

pytest.importorskip("triton", reason="Triton is not installed")

from rlvr.loss.rows_triton import TritonRows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [Shape(), Shape(0.7), Shape(1.0, 6.0), Shape(1.3, 6.0)]


def numbers(rows: int, vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, vocabulary, generator=made)
    tokens = torch.randint(vocabulary, (rows,), generator=made)
    bias = torch.randn(vocabulary, generator=made)
    return logits.to(DEVICE), tokens.to(DEVICE), bias.to(DEVICE)


def exact(shape: Shape, bias: Tensor | None) -> TorchRows:
    return TorchRows(shape, None if bias is None else bias.double())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("vocabulary", "block"), [(257, 512), (1000, 256), (512, 512), (3, 64)])
def test_stats(shape: Shape, biased: bool, vocabulary: int, block: int) -> None:
    logits, tokens, bias = numbers(6, vocabulary)
    used = bias if biased else None
    found = TritonRows(shape, used, block).stats(logits, tokens)
    wanted = exact(shape, used).stats(logits.double(), tokens)
    for name in ("logp", "lse", "entropy"):
        a, b = getattr(found, name).double(), getattr(wanted, name)
        assert torch.allclose(a, b, rtol=0, atol=1e-5), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("vocabulary", "block"), [(257, 512), (1000, 256), (512, 512), (3, 64)])
def test_gradient(shape: Shape, biased: bool, vocabulary: int, block: int) -> None:
    logits, tokens, bias = numbers(6, vocabulary)
    used = bias if biased else None
    g, e = torch.randn(2, 6, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    stats = TorchRows(shape, used).stats(logits, tokens)
    place = torch.tensor([3, -1, 4, 5, -1, 6], device=DEVICE)
    found = torch.full((8, vocabulary), 9.0, device=DEVICE)
    TritonRows(shape, used, block).gradient(logits, tokens, stats, g, e, found, place)
    wanted = torch.full((8, vocabulary), 9.0, device=DEVICE, dtype=torch.float64)
    double = Stats(*(each.double() for each in (stats.logp, stats.lse, stats.entropy)))
    exact(shape, used).gradient(
        logits.double(), tokens, double, g.double(), e.double(), wanted, place
    )
    assert (wanted[[0, 1, 2, 7]] == 9).all()
    assert torch.allclose(found.double(), wanted, rtol=0, atol=1e-5)


def test_gradients_in_16_bit_are_rounded_only_at_the_end() -> None:
    logits, tokens, _ = numbers(4, 300)
    g = torch.ones(4, device=DEVICE)
    stats = TorchRows(Shape()).stats(logits, tokens)
    place = torch.arange(4, device=DEVICE)
    wide, narrow = (
        torch.empty(4, 300, device=DEVICE, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    )
    for out in (wide, narrow):
        TritonRows(Shape()).gradient(logits, tokens, stats, g, 0 * g, out, place)
    assert torch.allclose(narrow.float(), wide, rtol=2**-7, atol=1e-30)


def test_rows_that_are_all_but_impossible() -> None:
    """Everything far below zero, whole blocks of -inf, one certain token."""
    logits = torch.full((3, 96), -1e3, device=DEVICE)
    logits[1, :64] = -torch.inf
    logits[1, 64:] = 0
    logits[2, 0] = 1e4
    tokens = torch.tensor([5, 70, 0], device=DEVICE)
    found = TritonRows(Shape(), None, 32).stats(logits, tokens)
    wanted = torch.tensor([96.0, 32.0, 1.0], device=DEVICE).log()
    assert torch.allclose(found.logp, -wanted, atol=1e-4)
    assert torch.allclose(found.entropy, wanted, atol=1e-4)
    out = torch.empty_like(logits)
    ones = torch.ones(3, device=DEVICE)
    TritonRows(Shape(), None, 32).gradient(
        logits, tokens, found, ones, ones, out, torch.arange(3, device=DEVICE)
    )
    assert out.isfinite().all()
    assert torch.allclose(out.sum(1), 0 * ones, atol=1e-4)


def test_rows_further_apart_than_their_length() -> None:
    logits, tokens, _ = numbers(3, 128)
    spread = torch.full((3, 200), torch.nan, device=DEVICE)
    spread[:, :128] = logits
    found = TritonRows(Shape()).stats(spread[:, :128], tokens)
    assert torch.equal(found.logp, TritonRows(Shape()).stats(logits, tokens).logp)


@pytest.mark.skipif(DEVICE == "cuda", reason="the kernels as compiled: tests/test_gpu.py")
@pytest.mark.parametrize("clip", registry.builtin("clip"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("softcap", "temperature", "kl"), [(None, 1.0, "none"), (8.0, 0.7, "k3")])
def test_the_whole_loss_with_the_kernels(
    clip: str,
    dtype: torch.dtype,
    softcap: float | None,
    temperature: float,
    kl: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chunks, places and products around the kernels, as on a GPU."""
    from rlvr.loss import head
    from tests.loss.cases import case
    from tests.loss.test_policy_loss import ALLOWED, PLAIN, both, fitted, made

    monkeypatch.setattr(head, "rows_for", lambda _, shape, bias: TritonRows(shape, bias))
    part = case(
        13, 8, 300, bias=True, rank=2, softcap=softcap, temperature=temperature, dtype=dtype
    )
    if dtype == torch.bfloat16:
        part = replace(part, **{name: getattr(part, name).float() for name in PLAIN})
    rule = fitted(made("clip", clip), part, temperature)
    options = {"temperature": temperature, "entropy_bonus": 0.01, "kl": made("kl", kl)}
    found, wanted, error = both(part, rule, chunk=7, **options)
    assert error < 2 * ALLOWED[dtype]
    size = float(wanted.per_token.abs().sum())
    assert abs(found.loss.item() - wanted.loss.item()) < 1e-5 * size


@pytest.mark.parametrize("shape", [Shape(), Shape(0.7, 6.0)])
@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("cut", [1, 120, 299])
def test_shards_of_the_vocabulary_merge_to_the_whole(shape: Shape, kernels: bool, cut: int) -> None:
    """Statistics of both pieces give those of whole rows, and these each piece's gradient."""
    logits, tokens, bias = numbers(9, 300)
    logits[3, :cut] = -200  # a piece that carries no probability
    pieces = [
        (logits[:, :cut], torch.where(tokens < cut, tokens, -1), bias[:cut]),
        (logits[:, cut:], torch.where(tokens >= cut, tokens - cut, -1), bias[cut:]),
    ]
    rows = [TritonRows(shape, each) if kernels else TorchRows(shape, each) for *_, each in pieces]
    parts = [each.stats(y, at) for each, (y, at, _) in zip(rows, pieces, strict=True)]
    found, wanted = merged(parts), exact(shape, bias).stats(logits.double(), tokens)
    for name in ("logp", "lse", "entropy"):
        a, b = getattr(found, name).double(), getattr(wanted, name)
        assert torch.allclose(a, b, rtol=0, atol=1e-5), name
    g, e = torch.randn(2, 9, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    place = torch.arange(9, device=DEVICE)
    slopes = [torch.empty_like(y) for y, _, _ in pieces]
    for each, (y, at, _), slope in zip(rows, pieces, slopes, strict=True):
        each.gradient(y, at, found, g, e, slope, place)
    whole = torch.empty(9, 300, device=DEVICE, dtype=torch.float64)
    exact(shape, bias).gradient(
        logits.double(), tokens, wanted, g.double(), e.double(), whole, place
    )
    assert torch.allclose(torch.cat(slopes, 1).double(), whole, rtol=0, atol=1e-5)


def test_offsets_beyond_two_to_the_31() -> None:
    """The second row begins 2^31 numbers behind the first, as row 14,135 of a vocabulary of 152k.

    Of the memory between them nothing is touched.
    """
    logits, tokens, _ = numbers(2, 300)
    apart = 2**31 + 4096
    far, out = (
        torch.empty(apart + 300, dtype=dtype, device=DEVICE).as_strided((2, 300), (apart, 1))
        for dtype in (torch.float32, torch.bfloat16)
    )
    far.copy_(logits)
    found = TritonRows(Shape()).stats(far, tokens)
    wanted = TritonRows(Shape()).stats(logits, tokens)
    for name in ("logp", "lse", "entropy"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-6), (
            name
        )  # adjacent loads sum in another order
    g = torch.ones(2, device=DEVICE)
    place, near = torch.arange(2, device=DEVICE), torch.empty_like(logits)
    TritonRows(Shape()).gradient(far, tokens, found, g, 0 * g, out, place)
    TritonRows(Shape()).gradient(logits, tokens, found, g, 0 * g, near, place)
    assert torch.allclose(out.float(), near, rtol=2**-7, atol=1e-30)

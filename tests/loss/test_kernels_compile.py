"""The kernels compile for the GPUs they are meant for; no GPU is needed for that."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

# each of a process of its own: this one's kernels may be the interpreter's
PROGRAM = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rlvr.loss import rows_triton as kernels

SHARED = dict(logits="*fp32", stride="i64", tokens="*i64", lse="*fp32", entropy="*fp32", vocabulary="i32")
STATS = dict(SHARED, logp="*fp32")
GRADIENT = dict(SHARED, g="*fp32", e="*fp32", place="*i64", out="*bf16", out_stride="i64")
for kernel, types in ((kernels._stats_kernel, STATS), (kernels._gradient_kernel, GRADIENT)):
    for cap, biased in ((0.0, False), (30.0, True)):
        fixed = dict(inverse_temperature=1.25, cap=cap, biased=biased, block=kernels.BLOCK)
        given = dict(types, bias="*bf16") if biased else types
        if not biased:
            fixed["bias"] = None
        source = ASTSource(
            fn=kernel,
            signature={name: given.get(name, "constexpr") for name in kernel.arg_names},
            constexprs={(kernel.arg_names.index(name),): value for name, value in fixed.items()},
        )
        target = GPUTarget("cuda", int(sys.argv[1]), 32)
        built = triton.compile(source, target=target, options={"num_warps": kernels.WARPS})
        assert len(built.asm["cubin"]) > 1000
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_for(capability: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(capability)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]

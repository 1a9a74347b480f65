#!/bin/sh
# Everything that needs a GPU, in one go: does it compute what it should, how fast, with how much memory.
# Written without a GPU at hand and NEVER RUN ON ONE so far: read what fails as the script's fault first.
#
#   sh benchmarks/gpu.sh [results folder]
#
# One GPU with 80 GB, about 15 minutes, no network. With trl==1.16.0 and liger-kernel installed they are
# measured too. Clocks and power limits are shown, never set. A part that fails does not stop the others.
set -u
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

part() { # name, command...
    name=$1
    shift
    echo "== $name"
    "$@" >"$out/$name.txt" 2>"$out/$name.err" && rm -f "$out/$name.err" || echo "   failed, see $out/$name.err"
    tail -n 20 "$out/$name.txt"
}

state() {
    nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.draw,power.limit,temperature.gpu --format=csv
    "$python" -c "import torch, triton; print('torch', torch.__version__, 'triton', triton.__version__)"
}

loss() { # one line of shapes: rows width; vocabulary is Qwen's
    for width in 896 1536 2048 3584; do
        for rows in 4096 16384; do
            "$python" -m rlvr bench loss --device cuda --rows $rows --width $width --vocabulary 151936 --rounds 10
        done
    done
}

part gpu_state_before state
part gpu_tests "$python" -m pytest -m gpu tests
part gpu_kernels "$python" -m pytest tests/loss/test_rows_triton.py # as compiled, where there is a GPU
part gpu_doctor "$python" -m rlvr doctor
part loss_gpu loss
part update_gpu "$python" benchmarks/update_vs_trl.py
part step_gpu "$python" benchmarks/step_head.py
part gpu_state_after state

cat <<'GOALS'
== goals (design: one GPU, bfloat16)
loss_gpu, 16384 x 1536: rlvr at most 1.35x of "three products" (floor 74 % or more), at most 0.85x of trl,
  peak at most 5 GB, logp p99 at most 2e-5, dW error at most 2e-3, flips 0
update_gpu: response tokens/s and peak memory against TRL
GOALS

#!/bin/sh
# Everything that needs a GPU, in one go: does it compute what it should, how fast, with how much memory.
#
#   sh benchmarks/gpu.sh [results folder]
#
# One GPU with 80 GB, no network. With trl==1.16.0 and liger-kernel installed they are measured too. Clocks and
# power limits are shown, never set. A part that fails, or takes longer than LIMIT seconds, does not stop the others.
set -u
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

part() { # name, command...
    name=$1
    shift
    began=$(date +%s)
    timeout "${LIMIT:-300}" "$@" >"$out/$name.txt" 2>"$out/$name.err" && rm -f "$out/$name.err" || echo "   failed, see $out/$name.err"
    echo "== $name: $(($(date +%s) - began)) s"
    tail -n 20 "$out/$name.txt"
}

state() {
    part "$1" nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.draw,power.limit,temperature.gpu --format=csv
}

loss() { # rows width
    part "loss_gpu_$1_$2" "$python" -m rlvr bench loss --device cuda --rows "$1" --width "$2" --vocabulary 151936 --rounds 10
}

state gpu_state_before
part gpu_tests "$python" -m pytest -q tests/test_gpu.py
part gpu_kernels "$python" -m pytest -q tests/loss/test_rows_triton.py # as compiled, where there is a GPU
part gpu_doctor "$python" -m rlvr doctor
loss 16384 1536 # the goals: at most 1.35x of "three products" (floor 74 % or more), 0.85x of trl, 5 GB, no flips
loss 4096 896
loss 16384 3584
part update_gpu "$python" benchmarks/update_vs_trl.py
part step_gpu "$python" benchmarks/step_head.py
for sleep in 0 1 2; do # with vLLM installed: the demo through its engine, checked at every sync
    part "vllm_gpu_sleep_$sleep" "$python" -m rlvr train --sampler vllm --sampler.sleep $sleep --steps 8 --out "$(mktemp -d)/run"
done
part sampler_gpu "$python" -m rlvr train --steps 8 --out "$(mktemp -d)/run"
state gpu_state_after

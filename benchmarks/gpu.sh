#!/bin/sh
# The grid against its contenders on a GPU: `benchmarks/gpu.sh`, from a machine with torch, in minutes.
# Weights are random, so nothing is downloaded but the packages that are missing.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
"$PYTHON" -c 'import steerscope' 2>/dev/null || "$PYTHON" -m pip install --quiet .
grid() {
    "$PYTHON" benchmarks/grid.py "$@" --device cuda
}
grid gpt2-124m --cells 144 --prompts 8 \
    --contenders steerscope transformers_batch transformers_loop hooked_loop matmul_bound
grid gpt2-124m --dtype bfloat16 --cells 144 --prompts 8 \
    --contenders steerscope transformers_batch matmul_bound
grid qwen3-0.6b --dtype bfloat16 --cells 112 --prompts 8 \
    --contenders steerscope transformers_batch matmul_bound
grid qwen3-4b --dtype bfloat16 --cells 72 --prompts 4 --repetitions 2 \
    --contenders steerscope transformers_batch

#!/usr/bin/env bash
# Everything about kernels/ that needs a GPU, in one go: the tests marked gpu, then the table. Twenty minutes at most.
# Usage, from the root: bash benchmarks/attention_on_gpu.sh [folder for results]
set -eu
cd "$(dirname "$0")/.."
out=${1:-runs/attention-gpu}
python -m pytest -q -m gpu tests
python -m benchmarks.attention device=cuda "out=$out"
python -m benchmarks.step device=cuda

#!/usr/bin/env bash
# Stepping on a GPU: the tests that need one, then the figures. From the repository's root, torch with CUDA installed:
#   bash benchmarks/step_on_gpu.sh
set -eu
python3 -m pytest -m gpu tests/test_world_model_graphs.py tests/test_kernels_gpu.py
for graphs in true false; do
    echo "== graphs=$graphs"
    python3 -m benchmarks.step device=cuda parts=[batches] batches=[1,8,64,256,1024] steps=2000 graphs=$graphs
done
python3 -m benchmarks.step device=cuda parts=[plans,guessing,age]

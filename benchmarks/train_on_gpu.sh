#!/usr/bin/env bash
# Train and measure Pong on one CUDA GPU from a checkout: benchmarks/train_on_gpu.sh [recording] [out] [steps]
# Needs torch (2.11 or newer, CUDA) and the packages of pyproject.toml; the recording is made first if it is missing.
# Written without a GPU at hand: it has not been run on one yet.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${1:-data/pong} out=${2:-runs/pong-gpu} steps=${3:-20000}
python3 -c 'import torch; assert torch.cuda.is_available(), "no CUDA device"; print(torch.__version__, torch.cuda.get_device_name())'
[ -d "$data" ] || python3 -m recorders.collect env=ALE/Pong-v5 steps=400000 workers="$(nproc)" out="$data"
python3 -m world_model.train data="$data" out="$out" name=Pong-v0 device=cuda \
    trainer.steps="$steps" trainer.batch=64 trainer.moments=512 trainer.save_seconds=120
python3 -m benchmarks.step world="$out/world" device=cuda
if python3 -c 'import ale_py' 2>/dev/null; then
    python3 -m world_model.evaluate world="$out/world" env=ALE/Pong-v5 device=cuda batch=200
fi

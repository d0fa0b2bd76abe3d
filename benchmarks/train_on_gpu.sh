#!/usr/bin/env bash
# Make the worlds that ship, larger budgets, on CUDA GPUs: benchmarks/train_on_gpu.sh [Pong|Breakout] [steps] [gpus]
# Collects if there is no recording, trains, measures along the run, distils to 1 and 2 passes, compares and evaluates.
# Broken off, it goes on when it is run again. Needs torch (2.11 or newer, CUDA) and the packages of pyproject.toml
# with the extra `evaluate`.
# Written without a GPU at hand: it has not been run on one yet.
set -euo pipefail
cd "$(dirname "$0")/.."
game=${1:-Pong} steps=${2:-20000} gpus=${3:-1}
data=data/${game,,} out=runs/${game,,}-gpu
python3 -c 'import torch; assert torch.cuda.is_available(), "no CUDA device"; print(torch.__version__, torch.cuda.get_device_name())'
[ -d "$data" ] || python3 -m recorders.collect env="ALE/$game-v5" steps=400000 workers="$(nproc)" out="$data"
torchrun --standalone --nproc_per_node="$gpus" -m world_model.train data="$data" out="$out" name="$game-v0" device=cuda \
    cache="$out/cache" sampler.reuse=true sampler.still=14 trainer.steps="$steps" trainer.batch=64 trainer.moments=512 \
    trainer.save_seconds=120 trainer.report_seconds=300 keep=true
python3 -m benchmarks.compute_curve run="$out"
for passes in 2 1; do
    python3 -m world_model.distill world="$out/world" data="$data" out="$out-$passes" cache="$out/cache" passes="$passes" \
        device=cuda trainer.batch=32 trainer.steps=$((steps / 4))
done
python3 -m benchmarks.samplers world="$out/world" beside="[$out-2/world,$out-1/world]" out="$out/passes.md" device=cuda batch=100
for world in "$out" "$out-2" "$out-1"; do
    python3 -m benchmarks.step world="$world/world" device=cuda
    python3 -m world_model.evaluate world="$world/world" device=cuda batch=200
done

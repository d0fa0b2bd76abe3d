#!/usr/bin/env bash
# A learned world of a real game, from recording it to its report: examples/make_world.sh [Pong|Breakout] [settings]
# Records, trains, distils to 2 and 1 passes, compares those, sets how often rewards come, evaluates. Broken off, it goes
# on when it is run again.
# Settings are those of world_model.train (trainer.steps=100 for a look at how it goes). `make world GAME=Breakout` is this.
set -euo pipefail
cd "$(dirname "$0")/.."
game=${1:-Pong}
shift || true
case $game in
    Pong) settings=(trainer.errors.size=64 sampler.steps=2) ;;
    Breakout) settings=(init=envs/worlds/Pong-v0 trainer.steps=4300 trainer.own_after=0.15 trainer.own_share=0.6
        trainer.noise_draws=16 trainer.undecided_share=0.3 trainer.expect_share=0.5 trainer.moments=96 trainer.astray=0.01
        trainer.loss.rarity=0.2 trainer.errors.size=32 trainer.errors.frame=0.2 sampler.steps=2) ;;
    *) echo "make_world: no settings for $game; there are Pong and Breakout" >&2; exit 2 ;;
esac
python=$PWD/.venv/bin/python
[ -x "$python" ] || python=python3
data=data/${game,,} run=runs/${game,,}

if [ ! -d "$data" ]; then
    again=()  # what a collection that was broken off has stays
    [ ! -d "$data.part" ] || again=(append=true "seed=$(date +%s)")
    "$python" -m recorders.collect env="ALE/$game-v5" steps=200000 out="$data.part" "${again[@]}"
    mv "$data.part" "$data"
fi
"$python" -m world_model.train data="$data" out="$run" name="$game-v0" sampler.reuse=true sampler.still=14 "${settings[@]}" "$@"
for passes in 2 1; do
    "$python" -m world_model.distill world="$run/world" data="$data" out="$run-$passes" cache="$run/cache" passes="$passes"
done
"$python" -m benchmarks.samplers world="$run/world" beside="[$run-2/world,$run-1/world]" out="$run/passes.md"
"$python" -m world_model.calibrate world="$run/world" data="$data" out="$run/calibrated"
"$python" -m world_model.evaluate world="$run/calibrated"
echo "play it: $python play.py world=$run/calibrated"

#!/usr/bin/env bash
# A learned world of a real game, from recording it to its report:
#     examples/make_world.sh [Pong|Breakout|Doom|CarRacing|PongBreakout] [settings]
# Pong and Breakout: records, trains, distils to 2 and 1 passes, compares those, sets how often rewards come, evaluates.
# Doom and CarRacing (pip install -e '.[doom]', '.[racing]'): records, trains an AR-VAE, then a world on its tokens, evaluates.
# PongBreakout: one world of both, from the recordings that the first two make. Broken off, it goes on when it is run again.
# Settings are those of world_model.train (trainer.steps=100 for a look at how it goes). `make world GAME=Breakout` is this.
set -euo pipefail
cd "$(dirname "$0")/.."
game=${1:-Pong}
shift || true
python=$PWD/.venv/bin/python
[ -x "$python" ] || python=python3
data=data/${game,,} run=runs/${game,,}

record() {  # folder, settings: what a collection that was broken off has stays
    local to=$1 again=()
    shift
    [ ! -d "$to" ] || return 0
    [ ! -d "$to.part" ] || again=(append=true "seed=$(date +%s)")
    "$python" -m recorders.collect "$@" out="$to.part" "${again[@]}"
    mv "$to.part" "$to"
}

tokens=(sampler.steps=3 sampler.shift=2.0 trainer.batch=4 trainer.frames=12 model.window=12 trainer.noise_draws=1
    trainer.undecided_share=0 trainer.expect_share=0 trainer.hard_share=0.3 trainer.own_after=0.3 trainer.own_share=0.6
    trainer.astray=0.5 trainer.context_noise=0.15 trainer.steps=2400)
breakout=(trainer.own_share=0.6 trainer.noise_draws=16 trainer.undecided_share=0.3 trainer.expect_share=0.5
    trainer.moments=96 trainer.astray=0.01 trainer.loss.rarity=0.2 trainer.errors.size=32 trainer.errors.frame=0.2)
case $game in
    Pong | Breakout)
        record "$data" env="ALE/$game-v5" steps=200000
        settings=(sampler.reuse=true sampler.still=14 sampler.steps=2)
        case $game in
            Pong) settings+=(trainer.errors.size=64) ;;
            Breakout) settings+=(init=envs/worlds/Pong-v0 trainer.steps=4300 trainer.own_after=0.15 "${breakout[@]}") ;;
        esac ;;
    Doom)
        record "$data" env=Doom/DefendTheLine-v0 steps=150000
        vae=(vae.tokens=48 vae.channels=12 vae.dim=160 vae.heads=5 loss.jitter=0.2 trainer.steps=2400)
        settings=(model.dim=224 model.heads=7 "${tokens[@]}" trainer.steps=4000 contexts=24) ;;
    CarRacing)
        record "$data" env=CarRacing-v3 repeat=4 steps=40000
        vae=(vae.tokens=36 vae.channels=8 vae.dim=128 vae.heads=4 trainer.steps=1200)
        settings=(model.dim=192 model.heads=6 "${tokens[@]}") ;;
    PongBreakout)
        record data/pong env=ALE/Pong-v5 steps=200000
        record data/breakout env=ALE/Breakout-v5 steps=200000
        [ -d "$data" ] || "$python" -m recorders.merge "inputs=[data/pong,data/breakout]" "conditions=[Pong,Breakout]" out="$data"
        settings=(init=envs/worlds/Pong-v0 blend=envs/worlds/Breakout-v0 sampler.reuse=true sampler.still=14 sampler.steps=2
            sampler.shift=1.0 trainer.own_after=0.0 trainer.switch_share=0.15 "${breakout[@]}"
            trainer.batch=2 trainer.moments=64 trainer.noise_draws=8 trainer.expect_share=0.25 trainer.openings=2 trainer.loss.opening=0.1
            trainer.optimizer.warmup=100 trainer.optimizer.decay=0.6 trainer.optimizer.matrix_lr=5e-4 trainer.optimizer.lr=2.5e-4
            trainer.steps=1600) ;;
    *) echo "make_world: no settings for $game; there are Pong, Breakout, Doom, CarRacing and PongBreakout" >&2; exit 2 ;;
esac

if [ -n "${vae:-}" ]; then
    "$python" -m world_model.train_vae data="$data" out="$run-vae" cache="$run/cache" "vae.patch=[16,16]" vae.encoder_layers=3 \
        vae.decoder_layers=3 "${vae[@]}"
    settings+=("vae=$run-vae/vae" "cache=$run/cache")
fi
"$python" -m world_model.train data="$data" out="$run" name="$game-v0" "${settings[@]}" "$@"
world=$run/world
case $game in
    Pong | Breakout)
        for passes in 2 1; do
            "$python" -m world_model.distill world="$run/world" data="$data" out="$run-$passes" cache="$run/cache" passes="$passes"
        done
        "$python" -m benchmarks.samplers world="$run/world" beside="[$run-2/world,$run-1/world]" out="$run/passes.md"
        "$python" -m world_model.calibrate world="$run/world" data="$data" out="$run/calibrated"
        world=$run/calibrated ;;
esac
case $game in
    PongBreakout) for condition in Pong Breakout; do "$python" -m world_model.evaluate world="$world" condition="$condition"; done ;;
    *) "$python" -m world_model.evaluate world="$world" ;;
esac
echo "play it: $python play.py world=$world"

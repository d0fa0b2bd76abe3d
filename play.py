"""Play a learned world: `python play.py`, `python play.py world=Pong-v0 fps=30 scale=6 seed=1 record=recordings/mine`.

Arrow keys or W and S move in Pong; P pauses, N makes a single step, R resets, Esc quits. Without a display a script
plays instead and leaves play.gif and a recording.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from envs import PlayReport, WorldEnv, display_problem, play_in_window, play_scripted
from recorders import Command, settings
from world_model import EngineConfig, WorldError, allocator


@dataclass(kw_only=True)
class PlayConfig(Command):
    """What to play and how."""

    world: str = "Pong-v0"
    """a shipped world, or the folder of a trained one"""
    fps: float | None = None
    """steps per second; the real game's when not given"""
    scale: int | None = None
    """screen pixels per pixel of the world's frames; what suits the picture when not given"""
    seed: int = 0
    """decides the starting clip and all noise of the first episode; later ones count on from it"""
    record: str | None = None
    """where to record; a script without a display records to recordings/<world> anyway"""
    steps: int = 300
    """how many steps a script plays when there is no display"""
    film: str = "play.gif"
    """what a script without a display writes"""
    device: str = "cpu"
    """where the network runs: cpu or cuda"""
    dtype: str = "auto"
    """number format of the network: auto, fp32 or bf16"""
    passes: int | None = None
    """network calls per frame; the world's own number when not given"""
    engine: EngineConfig = field(default_factory=lambda: EngineConfig(lookahead="repeat"))
    """by which plan frames are drawn, and what is guessed while nobody waits; a script leaves no time for guesses"""


ConfigStore.instance().store(name="play", node=PlayConfig)


def play(config: PlayConfig) -> PlayReport:
    """Play as `config` says, in a window if there is a display.

    Raises:
        WorldError: if the world does not exist or is damaged.
        ValueError: if an option makes no sense; the message says which and why.
    """
    allocator.keep_memory()
    problem = display_problem()
    engine = config.engine if problem is None else replace(config.engine, lookahead="off", ahead=1)
    env = WorldEnv(config.world, device=config.device, dtype=config.dtype, passes=config.passes, engine=engine)
    how: dict[str, Any] = {"fps": config.fps, "scale": config.scale, "seed": config.seed}
    record = config.record
    if problem is None:
        report = play_in_window(env, record=record, **how)
        if engine.lookahead != "off":
            print(f"{100 * env.stats().hit_rate:.0f}% of the frames were drawn before they were asked for.")
        if report.replaced:
            print(f"{report.replaced} actions gave way to newer keys while the world was busy.")
    else:
        print(f"No display ({problem}): a script plays {config.steps} steps instead.", flush=True)
        record = record or f"recordings/{env.name}"
        report = play_scripted(env, steps=config.steps, film=Path(config.film), record=record, **how)
        print(f"The film is {config.film}.")
    env.close()
    if record:
        print(f"The recording is in {record}.")
    return report


@hydra.main(version_base="1.3", config_path=None, config_name="play")
def main(cfg: DictConfig) -> None:
    """Entry point; bad input ends with one line and exit code 2."""
    try:
        report = play(cast(PlayConfig, settings(cfg)))
    except (WorldError, ValueError) as error:
        print(f"play.py: {error}", file=sys.stderr)
        sys.exit(2)
    if report.latencies_ms:
        p50, p99 = report.percentile_ms(50), report.percentile_ms(99)
        print(f"{len(report.latencies_ms)} steps, p50 {p50:.1f} ms, p99 {p99:.1f} ms, score {sum(report.scores):+g}")


if __name__ == "__main__":
    main()

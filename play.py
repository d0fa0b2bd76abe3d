"""Play a learned world: `python play.py`, `python play.py world=Pong-v0 fps=30 scale=6 seed=1 record=recordings/mine`.

Without `world=` you choose among those that ship and those in runs/. Arrow keys play; hold Backspace to go back in
time, T hands over to a script, C puts the real game beside, F1 lists the rest, Esc quits. Without a display a script
plays instead and leaves play.gif and a recording.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from envs import DEFAULT, PlayReport, WorldEnv, choose_world, display_problem, play_in_window, play_scripted
from recorders import Command, command, settings
from world_model import EngineConfig, WorldError, allocator


@dataclass(kw_only=True)
class PlayConfig(Command):
    """What to play and how."""

    world: str | None = None
    """a shipped world, or the folder of a trained one; you choose when not given"""
    fps: float | None = None
    """steps per second; the real game's when not given"""
    scale: int | None = None
    """screen pixels per pixel of the world's frames; what suits the picture when not given"""
    seed: int = 0
    """decides the starting clip and all noise of the first episode; later ones count on from it"""
    record: str | None = None
    """where to record from the beginning on; otherwise to recordings/<world and hash>, by key and by scripts"""
    saves: str = "saves"
    """where saved games lie, by world"""
    keys: Any = None
    """keys of one's own to the name of an action, a command or `nothing`, e.g. `'keys={j: LEFT, m: pause}'`"""
    agent: str | None = None
    """whom T hands over to after the script: `module:function` from a picture, uint8 [H, W, 3], to an action; plays
    in the script's stead where there is no display"""
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
    keys = _keys(config)
    problem = display_problem()
    world = config.world or (DEFAULT if problem else choose_world())
    if world is None:
        return PlayReport(quit=True)
    engine = config.engine if problem is None else replace(config.engine, lookahead="off", ahead=1)
    env = WorldEnv(world, device=config.device, dtype=config.dtype, passes=config.passes, engine=engine)
    how: dict[str, Any] = {"fps": config.fps, "scale": config.scale, "seed": config.seed}
    record = config.record
    if problem is None:
        report = play_in_window(env, record=record, saves=config.saves, keys=keys, player=config.agent, **how)
        record = report.recording
        if engine.lookahead != "off":
            print(f"{100 * env.stats().hit_rate:.0f}% of the frames were drawn before they were asked for.")
        if report.replaced:
            print(f"{report.replaced} actions gave way to newer keys while the world was busy.")
        if report.dropped:
            print(f"{report.dropped} steps were due and dropped: the world took longer than 1/fps.")
    else:
        who = config.agent or "a script"
        print(f"No display ({problem}): {who} plays {config.steps} steps instead.", flush=True)
        record = record or f"recordings/{env.label}"
        report = play_scripted(env, steps=config.steps, film=Path(config.film), record=record, player=config.agent,
                               **how)
        print(f"The film is {config.film}.")
    env.close()
    if record:
        print(f"The recording is in {record}.")
    return report


def _keys(config: PlayConfig) -> dict[str, str]:
    """The keys of one's own, by name: YAML reads digits as numbers."""
    if config.keys is not None and not isinstance(config.keys, dict):
        raise ValueError(f"keys must be like 'keys={{j: LEFT, m: pause}}', in quotes, got {config.keys!r}")
    return {str(key): str(name) for key, name in (config.keys or {}).items()}


@command("play")
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

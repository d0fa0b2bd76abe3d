"""Record a game: `python -m recorders.collect env=ALE/Pong-v5 steps=100000 out=data/pong seed=0`."""

import itertools
import multiprocessing
import sys
from dataclasses import dataclass
from typing import Any, Protocol, cast

import gymnasium
import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from .behaviours import Mixture, behaviour_for
from .collection import open_segments, segment_names
from .command import Command, command, settings
from .games import PONG, GameConfig, MissingGame, game_card, game_for, make_game
from .layout import RecordingError
from .preprocess import FrameConfig
from .progress import Progress
from .recorder import Recorder
from .schema import Extra
from .storage import storage_at
from .zarr_recorder import ZarrRecorder

ACTOR = Extra("uint8", description="place in `behaviours` of who acted")
LIVES = Extra("int16", description="lives left after the step")


@dataclass(kw_only=True)
class CollectConfig(Command):
    """Which game is recorded, how long and where."""

    env: str = PONG
    """a Gymnasium id"""
    out: str = MISSING
    """folder of the recording, or its address in an object store; it must not hold one yet"""
    steps: int = 100_000
    """actions in all"""
    seed: int = 0
    """decides every episode's seed and all random choices of the players"""
    workers: int = 1
    """processes, each with its own game; they share the steps"""
    append: bool = False
    """add to a recording that exists; take another seed then"""
    kwargs: Any = None  # a dict; Hydra sets no typed one that is null
    """for gymnasium.make; null takes what suits the game"""
    size: list[int] | None = None
    """height and width of the frames; null takes what suits the game"""
    crop: list[int] | None = None
    """top, bottom, left, right of the game's picture to keep; null takes what suits the game"""
    repeat: int | None = None
    """steps of the game for which an action is held; null takes what suits the game"""
    fps: float | None = None
    """steps per second of the game; null takes what suits the game"""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.workers < 1 or self.seed < 0:
            raise ValueError(
                "steps and workers must be at least 1 and seed at least 0, "
                f"got steps={self.steps}, workers={self.workers}, seed={self.seed}"
            )

    def game(self) -> GameConfig:
        """The game's settings: what suits it, and over it what was asked for."""
        game = game_for(self.env)
        frame = FrameConfig(size=self.size or game.frame.size, crop=self.crop or game.frame.crop)
        kwargs = game.kwargs if self.kwargs is None else self.kwargs
        return GameConfig(id=game.id, kwargs=kwargs, frame=frame, repeat=self.repeat or game.repeat,
                          fps=self.fps or game.fps, keys=game.keys)  # fmt: skip


class _Counter(Protocol):
    """Where progress is reported to."""

    def update(self, steps: int) -> object: ...


def collect(config: CollectConfig) -> str:
    """Record as `config` says, with a progress bar.

    Returns:
        The recording's folder or address.

    Raises:
        MissingGame: if the game is not installed or not known.
        RecordingError: if `out` holds a recording already.
        ValueError: if the game's actions are neither counted nor vectors, or a setting makes no sense.
    """
    if not config.append and segment_names(storage_at(config.out)):
        raise RecordingError(
            f"{config.out} already holds a recording: choose another out, or append=true and a new seed"
        )
    extras = extras_for(config)  # before any process starts: is the game there?
    with Progress(total=config.steps, unit="step", unit_scale=True, desc=f"recording {config.env}") as bar:
        if config.workers == 1:
            collect_segment(config, 0, config.steps, bar, extras)
        else:
            _collect_in_processes(config, bar, extras)
    return config.out


def extras_for(config: CollectConfig) -> dict[str, Extra]:
    """What is recorded with each step besides: who acted and, where a game counts them, lives.

    What is appended to holds what it did before.
    """
    env = make_game(config.game())
    _, info = env.reset(seed=config.seed)
    env.close()
    extras = {"actor": ACTOR} | ({"lives": LIVES} if info.get("lives") else {})
    segments = open_segments(storage_at(config.out)) if config.append else []
    if segments:
        extras = {name: extra for name, extra in extras.items() if name in segments[0].fields}
    return extras


def collect_segment(config: CollectConfig, worker: int, steps: int, progress: _Counter,
                    extras: dict[str, Extra]) -> None:  # fmt: skip
    """Record `steps` actions into one segment; the last episode is cut when they are done.

    Args:
        config: game, folder and seed.
        worker: number of this process; decides its episodes' seeds together with `config.seed`.
        steps: actions to record.
        progress: told about every 100 steps.
        extras: of `extras_for`.
    """
    env = make_game(config.game())
    space = env.action_space
    counted = isinstance(space, gymnasium.spaces.Discrete) and space.start == 0
    vectors = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 and space.is_bounded()
    if not (counted or vectors):
        raise ValueError(f"collect plays games with actions 0 to n-1 or vectors between finite bounds, {config.env} "
                         f"has {space}")  # fmt: skip
    card, shape = game_card(env), cast(tuple[int, ...], env.observation_space.shape)
    player = behaviour_for(config.env, card["action_meanings"], shape, space)
    meta = {"game": card, "behaviours": player.names, "collect": {"seed": config.seed, "worker": worker}}
    with ZarrRecorder(
        config.out, env.observation_space, env.action_space, extras=extras, meta=meta, shared=True
    ) as recorder:
        episode = done = 0
        while done < steps:
            source = np.random.SeedSequence([config.seed, worker, episode])
            done += _record_episode(env, player, recorder, source, steps - done, progress, extras)
            episode += 1
    env.close()


def _record_episode(
    env: gymnasium.Env[Any, Any],
    player: Mixture,
    recorder: Recorder,
    source: np.random.SeedSequence,
    limit: int,
    progress: _Counter,
    extras: dict[str, Extra],
) -> int:
    """Record one episode of at most `limit` actions; returns how many there were."""
    seed, rng = int(source.generate_state(1)[0] >> 1), np.random.default_rng(source)
    observation, _ = env.reset(seed=seed)
    player.reset(rng)
    recorder.begin(seed=seed)
    terminated = truncated = False
    steps = 0
    while steps < limit and not (terminated or truncated):
        action = player.act(observation, rng)
        after, reward, terminated, truncated, info = env.step(action)
        known = {"actor": player.actor, "lives": info.get("lives", 0)}
        chosen = {name: known[name] for name in extras}
        recorder.add(observation, action, float(reward), terminated, truncated, **chosen)
        observation = after
        steps += 1
        if steps % 100 == 0:
            progress.update(100)
    progress.update(steps % 100)
    recorder.end(observation, wait=False, cut=not (terminated or truncated))
    return steps


class _SharedCounter:
    """Counts steps across processes, and stops one whose starter was killed."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def update(self, steps: int) -> None:
        starter = multiprocessing.parent_process()
        if starter is not None and not starter.is_alive():
            sys.exit("the command that started this process is gone; what was recorded is kept")
        with self._value.get_lock():
            self._value.value += steps


def _work(config: CollectConfig, worker: int, steps: int, value: Any, extras: dict[str, Extra]) -> None:
    collect_segment(config, worker, steps, _SharedCounter(value), extras)


def _collect_in_processes(config: CollectConfig, bar: Any, extras: dict[str, Extra]) -> None:
    """Share the steps among processes and show their common progress."""
    context = multiprocessing.get_context("spawn")
    value = context.Value("q", 0)
    ends = [config.steps * i // config.workers for i in range(config.workers + 1)]
    shares = [(i, stop - start) for i, (start, stop) in enumerate(itertools.pairwise(ends)) if stop > start]
    crew = [context.Process(target=_work, args=(config, i, steps, value, extras)) for i, steps in shares]
    for process in crew:
        process.start()
    for process in crew:
        while process.is_alive():
            process.join(0.5)
            bar.update(value.value - bar.n)
    if any(process.exitcode for process in crew):
        raise RuntimeError(f"a recording process failed, see above; what it recorded in {config.out} is kept")


ConfigStore.instance().store(name="collect", node=CollectConfig)


@command("collect")
def main(cfg: DictConfig) -> None:
    """Entry point; bad input ends with one line and exit code 2."""
    try:
        out = collect(cast(CollectConfig, settings(cfg)))
    except (MissingGame, ValueError, OSError) as error:
        print(f"recorders.collect: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"recorded into {out}")


if __name__ == "__main__":
    main()

"""Lives recordings again: `python -m recorders.replay path=recordings/Pong-v0`.

Without more, every episode is simulated anew and compared, bit for bit. `window=true` shows one instead, `film=a.gif`
writes it as a film, and `branch=120 actions=[2,2,3] out=data/branch` goes on differently from step 120.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig
from PIL import Image

from .command import Command, command, settings
from .destination import local_path
from .env_card import make_recorded_env
from .episode import Episode
from .games import MissingGame
from .layout import RecordingError
from .playback import Playhead, watch
from .progress import Progress
from .record_episodes import RecordEpisodes
from .recording import Recording, open_recording
from .resimulate import Difference, Replay, branch, resimulate


@dataclass(kw_only=True)
class ReplayConfig(Command):
    """What to live again, and how."""

    path: str = MISSING
    """the recording"""
    episode: int | None = None
    """place of one episode, from 0; null takes all, or the first where one is meant"""
    world: str | None = None
    """another world to live it in, a shipped one's name or a folder; null takes the recorded one"""
    out: str | None = None
    """where pictures of a difference go, or the recording of a branch"""
    window: bool = False
    """show an episode instead of comparing"""
    film: str | None = None
    """write an episode as this .gif or .mp4 instead of comparing"""
    fps: float | None = None
    """steps per second on show; the game's own when null"""
    branch: int | None = None
    """step from which to go on differently"""
    actions: list[Any] | None = None
    """actions to take there"""

    def __post_init__(self) -> None:
        if sum([self.window, self.film is not None, self.branch is not None]) > 1:
            raise ValueError("window, film and branch are three things: ask for one")
        if self.branch is not None and (self.out is None or not self.actions):
            raise ValueError("a branch needs the actions to take and a folder to record it in: actions=[2,2] out=...")


def replay_all(recording: Recording, episodes: list[Episode], env: gymnasium.Env[Any, Any]) -> list[Replay]:
    """Simulate episodes anew, with a progress bar; one that cannot be is told of and left out."""
    replays: list[Replay] = []
    after: Episode | None = None
    with Progress(total=sum(episode.steps for episode in episodes), desc="replaying", unit="step") as bar:
        for episode in episodes:
            try:
                replays.append(resimulate(recording, episode, env, bar.update, after))
                after = None if replays[-1].difference else episode
            except RecordingError as error:
                bar.write(f"not replayed: {error}")
                after = None
    return replays


def changes(recording: Recording, env: gymnasium.Env[Any, Any]) -> list[str]:
    """How the environment of today is another than the recorded one, as far as both can say."""
    note = getattr(env.unwrapped, "recording_card", None)
    if not callable(note):
        return []
    was, now = recording.meta, note()
    found = []
    if was.get("world_hash") != now.get("world_hash"):
        found.append(f"the world was {was.get('world_hash')}, it is {now.get('world_hash')}")
    before = was.get("run", {})
    found += [f"{key} was {before.get(key)}, it is {value}" for key, value in now.get("run", {}).items()
              if before.get(key) != value]  # fmt: skip
    return found


@contextmanager
def as_many_threads(recording: Recording) -> Iterator[None]:
    """Let torch, where the environment brought it, have the recorded number of threads, by which sums may round."""
    torch, threads = sys.modules.get("torch"), recording.meta.get("run", {}).get("threads")
    if torch is None or not isinstance(threads, int) or threads < 1:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save_pictures(difference: Difference, folder: Path) -> list[Path]:
    """Write both observations of a difference as PNG, if they are pictures; returns the files."""
    files = []
    for name, observation in (("recorded", difference.recorded), ("found", difference.found)):
        picture = np.asarray(observation)
        if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3:
            folder.mkdir(parents=True, exist_ok=True)
            files.append(folder / f"{name}.png")
            Image.fromarray(picture).save(files[-1])
    return files


def check(config: ReplayConfig, recording: Recording, episodes: list[Episode]) -> bool:
    """Replay episodes and say how it went; returns whether all came out as recorded."""
    env = _environment(config, recording)
    with as_many_threads(recording):
        for change in changes(recording, env):
            print(f"note: {change}")
        replays = replay_all(recording, episodes, env)
    env.close()
    differing = [replay for replay in replays if replay.difference is not None]
    print(f"{len(replays) - len(differing)} of {len(episodes)} episodes are the same, bit for bit "
          f"({sum(replay.steps for replay in replays)} steps compared)")  # fmt: skip
    for replay in differing:
        print(f"{replay.episode.id}: differs {replay.difference}")
    if differing and differing[0].difference is not None:
        files = save_pictures(differing[0].difference, local_path(config.out or "replay-difference", "pictures"))
        print("".join(f"  {file}\n" for file in files), end="")
    return len(replays) == len(episodes) and not differing


def record_branch(config: ReplayConfig, recording: Recording, episode: Episode) -> int:
    """Record an episode that is as the old one up to `config.branch` and goes on as `config.actions` say.

    Returns:
        Steps recorded after the branch.
    """
    assert config.out is not None and config.branch is not None
    inner = _environment(config, recording)
    note = {"branch_of": {"episode": episode.id, "step": config.branch}}
    env = RecordEpisodes(inner, config.out, actors=("branch",), meta=note)
    try:
        with as_many_threads(recording):
            branch(recording, episode, config.branch, env)
        for steps, action in enumerate(config.actions or [], start=1):
            _, _, terminated, truncated, _ = env.step(_as_action(env.action_space, action))
            if terminated or truncated:
                return steps
        return len(config.actions or [])
    finally:
        env.close()


def replay(config: ReplayConfig) -> bool:
    """Do as `config` says; returns False if a replay came out differently.

    Raises:
        RecordingError: if the recording is none, or does not say what is needed.
        MissingGame: if what was recorded cannot be made here.
        IndexError: if there is no such episode or step.
    """
    recording = open_recording(config.path)
    recording.read(config.episode or 0, 0, 0)  # is it there?
    episode = recording.episodes[config.episode or 0]
    if config.window:
        head = Playhead(episode.steps + 1, config.fps or recording.fps or 30.0)
        watch(recording.frames(episode.start, episode.stop), head, lambda place: _note(recording, episode, place))
    elif config.film:
        from .films import write_film

        write_film(recording, episode, local_path(config.film, "films"), config.fps)
        print(f"{episode.id} is in {config.film}")
    elif config.branch is not None:
        steps = record_branch(config, recording, episode)
        print(f"{config.branch} steps of {episode.id} and {steps} others are in {config.out}")
    else:
        return check(config, recording, recording.episodes if config.episode is None else [episode])
    return True


def _environment(config: ReplayConfig, recording: Recording) -> gymnasium.Env[Any, Any]:
    return make_recorded_env(recording.meta, **({"world": config.world} if config.world else {}))


def _note(recording: Recording, episode: Episode, place: int) -> str:
    """What a viewer wants to know of one observation."""
    rewards = recording.rewards[episode.start : episode.start + place]
    return f"{episode.id}  score {rewards.sum():+g}"


def _as_action(space: gymnasium.Space[Any], action: Any) -> Any:
    return int(action) if isinstance(space, gymnasium.spaces.Discrete) else np.asarray(action, space.dtype)


ConfigStore.instance().store(name="replay", node=ReplayConfig)


@command("replay")
def main(cfg: DictConfig) -> None:
    """Entry point; bad input ends with one line and exit code 2, a difference with 1."""
    try:
        same = replay(cast(ReplayConfig, settings(cfg)))
    except (MissingGame, ValueError, IndexError) as error:
        print(f"recorders.replay: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()

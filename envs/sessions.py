"""Ways to play: a person in a window, a script into a film."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from .bindings import Bindings, bindings_for
from .film import Film
from .game import Game
from .keymap import noop_action
from .picker import pick, worlds_here
from .pilot import agent, person, script
from .player import Player, PlayReport
from .slots import Slots
from .stage import Stage
from .tape import RecordingTape
from .timeline import Timeline
from .world_env import WorldEnv

FILM_COLUMNS = 320
"""about how wide a film is when nobody says"""


def display_problem() -> str | None:
    """Why no window can be opened on this machine, in a few words; None if one can."""
    from .window import display_problem  # pygame is loaded only by those who play

    return display_problem()


def choose_world() -> str | None:
    """A person chooses among the shipped worlds and those trained here, if there are several; None if they quit."""
    from .window import Window  # pygame is loaded only by those who play

    choices = worlds_here()
    if len(choices) == 1:
        return choices[0].place
    with closing(Window(choices[0].picture.shape if choices else (104, 80, 3))) as window:
        return pick(window, choices)


def keys_of(env: WorldEnv, own: Mapping[str, str] | None = None) -> Bindings:
    """The keys of the world's card, the player's, and one's own.

    Raises:
        ValueError: if a key of one's own is bound to nothing that there is.
    """
    meanings = env.world.action_meanings
    kind = env.world.actions
    noop = kind.rest if kind.continuous else noop_action(meanings)
    return bindings_for(env.world.card["actions"]["keys"], meanings, noop, own, kind)


def play_in_window(
    env: WorldEnv,
    *,
    fps: float | None = None,
    scale: int | None = None,
    seed: int = 0,
    record: str | Path | None = None,
    recordings: str | Path = "recordings",
    saves: str | Path = "saves",
    keys: Mapping[str, str] | None = None,
    player: str | None = None,
) -> PlayReport:
    """A person plays until Esc, Q or the window's cross. F1 lists what else keys do.

    Args:
        env: the world.
        fps: steps per second; the world's own when None.
        scale: window pixels per frame pixel; what suits the frames when None.
        seed: episode i is reset with seed + i.
        record: where to record from the beginning on, if at all; earlier recordings of this world may be there.
        recordings: folder in which what is recorded later on lies by the world's name and hash.
        saves: folder in which saved games lie by the world's name and hash.
        keys: keys to actions and commands of one's own, see `envs.bindings`.
        player: an agent to hand over to, `module:function`.

    Raises:
        ValueError: if fps or scale is not above 0, `record` is a file, or keys or agent make no sense.
    """
    from .window import Window  # pygame is loaded only by those who play

    fps, scale = _checked(env, fps, scale)
    bindings = keys_of(env, keys)
    pilots = [person(bindings), script(env, seed), *([agent(player)] if player else [])]
    place = record or Path(recordings) / env.label
    game = _game(env, place)
    game.recording = record is not None
    slots = Slots(Path(saves) / env.label, env)
    window = Window(env.world.observation_shape, scale, title=f"Foreframe {env.name}")
    with closing(window), closing(game), _a_core_for_the_window():
        report = Player(game, window, pilots, bindings, fps=fps, seed=seed, slots=slots, live=True).run()
    report.recording = str(place) if game.recorded else None
    return report


def play_scripted(
    env: WorldEnv,
    *,
    steps: int,
    film: Path,
    record: str | Path,
    fps: float | None = None,
    scale: int | None = None,
    seed: int = 0,
    player: str | None = None,
) -> PlayReport:
    """A script plays, as fast as the world allows, and what a window would have shown becomes a GIF.

    Args:
        env: the world.
        steps: how many steps, at least 1; a game that ends is followed by the next.
        film: where the GIF goes.
        record: where to record; earlier recordings of this world may be there.
        fps: pictures per second of the film; the world's own when None.
        scale: film pixels per frame pixel; about 320 columns when None.
        seed: decides the script's choices; episode i is reset with seed + i.
        player: an agent that plays in the script's stead, `module:function`.

    Raises:
        ValueError: if steps, fps or scale is not above 0, `record` is a file, or there is no such agent.
    """
    fps, scale = _checked(env, fps, scale)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    shape = env.world.observation_shape
    screen = Film(shape, scale or max(1, round(FILM_COLUMNS / shape[1])), steps)
    pilots = [agent(player) if player else script(env, seed)]
    game = _game(env, record)
    game.recording, game.timeline = True, Timeline(memory=0)  # nobody goes back
    with closing(screen), closing(game):
        report = Player(game, screen, pilots, keys_of(env), fps=fps, seed=seed, restart=True).run(steps)
        film.parent.mkdir(parents=True, exist_ok=True)
        screen.write(film, fps)
    return report


def _game(env: WorldEnv, record: str | Path) -> Game:
    return Game(Stage(env), lambda: RecordingTape(record, env))


def _checked(env: WorldEnv, fps: float | None, scale: int | None) -> tuple[float, int | None]:
    """`fps`, the world's own when None, and `scale`; refused unless above 0."""
    if fps is not None and not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps}")
    if scale is not None and scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")
    return fps or env.world.fps, scale


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2


@contextmanager
def _a_core_for_the_window() -> Iterator[None]:
    """The world takes all cores but one: while the window keeps one of them, every product would wait for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, min(threads, _cores() - 1)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)

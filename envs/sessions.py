"""Ways to play: a person in a window, a script into a film."""

from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recorders import Behaviour, HeldRandom, behaviour_for

from .film import Film
from .keymap import action_for, noop_action
from .player import Choose, Player, PlayReport
from .screen import Inputs
from .tape import RecordingTape
from .world_env import WorldEnv

FILM_COLUMNS = 320
"""about how wide a film is when nobody says"""


def display_problem() -> str | None:
    """Why no window can be opened on this machine, in a few words; None if one can."""
    from .window import display_problem  # pygame is loaded only by those who play

    return display_problem()


def keyboard(env: WorldEnv) -> Choose:
    """Chooses what the held keys ask for, by the keys of the world's card."""
    keys, noop = env.world.card["actions"]["keys"], noop_action(env.world.action_meanings)
    return lambda frame, inputs: action_for(inputs.held, keys, noop)


def script(env: WorldEnv, seed: int) -> Choose:
    """Chooses as the game's scripted player, or random held actions where there is none."""
    behaviour = _behaviour(env)
    rng = np.random.default_rng(seed)
    behaviour.reset(rng)

    def choose(frame: NDArray[np.uint8], inputs: Inputs) -> int:
        return behaviour.act(frame, rng)

    return choose


def play_in_window(
    env: WorldEnv,
    *,
    fps: float | None = None,
    scale: int | None = None,
    seed: int = 0,
    record: str | Path | None = None,
) -> PlayReport:
    """A person plays until Esc, Q or the window's cross.

    Args:
        env: the world.
        fps: steps per second; the world's own when None.
        scale: window pixels per frame pixel; what suits the frames when None.
        seed: episode i is reset with seed + i.
        record: where to record, if at all; earlier recordings of this world may be there.

    Raises:
        ValueError: if fps or scale is not above 0, or `record` is a file.
    """
    from .window import Window  # pygame is loaded only by those who play

    fps, scale = _checked(env, fps, scale)
    window = Window(env.world.observation_shape, scale, title=f"Foreframe {env.name}")
    with closing(window), _tape(env, record, "person") as tape:
        return Player(env, window, keyboard(env), fps=fps, seed=seed, tape=tape, live=True).run()


def play_scripted(
    env: WorldEnv,
    *,
    steps: int,
    film: Path,
    record: str | Path,
    fps: float | None = None,
    scale: int | None = None,
    seed: int = 0,
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

    Raises:
        ValueError: if steps, fps or scale is not above 0, or `record` is a file.
    """
    fps, scale = _checked(env, fps, scale)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    screen = Film(env.world.observation_shape, scale or max(1, round(FILM_COLUMNS / env.world.observation_shape[1])))
    with closing(screen), _tape(env, record, "script") as tape:
        player = Player(env, screen, script(env, seed), fps=fps, seed=seed, tape=tape, restart=True)
        report = player.run(steps)
        film.parent.mkdir(parents=True, exist_ok=True)
        screen.write(film, fps)
    return report


def _behaviour(env: WorldEnv) -> Behaviour:
    """The game's scripted player where it reads the world's pictures and actions, else held random actions."""
    mixture = behaviour_for(env.world.card["game"]["id"], env.world.action_meanings, env.world.observation_shape)
    return mixture.part("scripted") if "scripted" in mixture.names else HeldRandom(env.world.num_actions)


def _tape(env: WorldEnv, record: str | Path | None, actor: str) -> AbstractContextManager[RecordingTape | None]:
    return closing(RecordingTape(record, env, actor)) if record else nullcontext()


def _checked(env: WorldEnv, fps: float | None, scale: int | None) -> tuple[float, int | None]:
    """`fps`, the world's own when None, and `scale`; refused unless above 0."""
    if fps is not None and not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps}")
    if scale is not None and scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")
    return fps or env.world.fps, scale

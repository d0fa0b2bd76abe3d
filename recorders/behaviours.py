"""Who plays while a game is recorded: small policies and how they take turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from .behaviour import Behaviour
from .breakout_player import BreakoutPlayer
from .car_player import CarPlayer
from .doom_env import ACTIONS as DOOM_ACTIONS
from .doom_player import DoomPlayer, OffWalls
from .games import BREAKOUT, CAR_RACING, DOOM, PONG
from .pong_player import FRAME_SHAPE, PongPlayer
from .vector_behaviours import HeldVector, WanderingVector


@dataclass
class HeldRandom:
    """A random action, held for a random number of steps, then the next.

    Attributes:
        actions: how many actions there are.
        longest: an action is held for 1 to this many steps.
    """

    actions: int
    longest: int = 12

    def __post_init__(self) -> None:
        if self.actions < 1 or self.longest < 1:
            raise ValueError(f"actions and longest must be at least 1, got {self.actions} and {self.longest}")
        self._action, self._left = 0, 0

    def reset(self, rng: np.random.Generator) -> None:
        """Draw anew at the next step."""
        self._left = 0

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> int:
        """The held action, or a new one when its time is over."""
        if self._left == 0:
            self._action = int(rng.integers(self.actions))
            self._left = int(rng.integers(1, self.longest + 1))
        self._left -= 1
        return self._action


class Noisy:
    """Another behaviour, interrupted by bursts of held random actions.

    Args:
        inner: who plays outside of the bursts; it sees every observation.
        epsilon: share of steps that fall into bursts, 0 <= epsilon < 1.
        actions: how many actions there are.
        hold: a burst is one random action for 1 to this many steps.

    Raises:
        ValueError: if epsilon or hold is out of range.
    """

    def __init__(self, inner: Behaviour, epsilon: float, actions: int, hold: int = 8) -> None:
        if not 0 <= epsilon < 1 or hold < 1:
            raise ValueError(f"need 0 <= epsilon < 1 and hold >= 1, got epsilon={epsilon}, hold={hold}")
        self.inner, self.actions, self.hold = inner, actions, hold
        quiet = (1 - epsilon) / max(epsilon, 1e-9) * (hold + 1) / 2  # mean steps between two bursts
        self._start = 1 / (1 + quiet)  # chance per step that a burst begins
        self._action, self._left = 0, 0

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the past, also of the inner behaviour."""
        self._left = 0
        self.inner.reset(rng)

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> Any:
        """The burst's action, or the inner behaviour's."""
        wanted = self.inner.act(observation, rng)
        if self._left == 0:
            if rng.random() >= self._start:
                return wanted
            self._action = int(rng.integers(self.actions))
            self._left = int(rng.integers(1, self.hold + 1))
        self._left -= 1
        return self._action


class Mixture:
    """Behaviours that take turns within an episode, so that good and bad play meet in all situations.

    Args:
        parts: name to (behaviour, share of the turns); shares need not sum to one.
        turn: shortest and longest turn in steps.

    Attributes:
        names: the parts' names in order.
        actor: index into `names` of who made the latest choice.
    """

    def __init__(self, parts: dict[str, tuple[Behaviour, float]], turn: tuple[int, int] = (200, 400)) -> None:
        if not parts or min(share for _, share in parts.values()) < 0:
            raise ValueError(f"a mixture needs at least one part and no negative share, got {parts}")
        self.names = list(parts)
        self.turn = turn
        self.actor = 0
        self._behaviours = [behaviour for behaviour, _ in parts.values()]
        shares = np.array([share for _, share in parts.values()], np.float64)
        self._shares = shares / shares.sum()
        self._left = 0

    def part(self, name: str) -> Behaviour:
        """The part of that name.

        Raises:
            KeyError: if there is none.
        """
        if name not in self.names:
            raise KeyError(f"no part is called {name!r}; this mixture has {self.names}")
        return self._behaviours[self.names.index(name)]

    def reset(self, rng: np.random.Generator) -> None:
        """Start an episode with a new turn."""
        self._left = 0
        for behaviour in self._behaviours:
            behaviour.reset(rng)

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> Any:
        """The action of whose turn it is; sets `actor`."""
        if self._left == 0:
            self.actor = int(rng.choice(len(self.names), p=self._shares))
            self._left = int(rng.integers(self.turn[0], self.turn[1] + 1))
            self._behaviours[self.actor].reset(rng)
        self._left -= 1
        return self._behaviours[self.actor].act(observation, rng)


@dataclass(frozen=True)
class _Scripted:
    """A scripted player of a game and when it may play."""

    player: Callable[[], Behaviour]
    actions: int
    frame_shape: tuple[int, ...] | None = None
    """of the only pictures it can read; None: it reads any"""
    turn: tuple[int, int] = (200, 400)
    steered: Callable[[Behaviour], Behaviour] | None = None
    """what keeps whoever plays from where there is little to learn"""

    def plays(self, actions: int, frame_shape: Sequence[int]) -> bool:
        return actions == self.actions and self.frame_shape in (None, tuple(frame_shape))


_PLAYERS = {
    PONG: _Scripted(PongPlayer, 6, FRAME_SHAPE), BREAKOUT: _Scripted(BreakoutPlayer, 4, FRAME_SHAPE),
    DOOM: _Scripted(DoomPlayer, len(DOOM_ACTIONS), turn=(40, 120), steered=OffWalls),
}  # fmt: skip


def behaviour_for(env_id: str, action_meanings: Sequence[str], frame_shape: Sequence[int] = FRAME_SHAPE,
                  space: gymnasium.Space[Any] | None = None) -> Mixture:  # fmt: skip
    """The mixture that records a game.

    Pong, Breakout and Doom get 30% held random actions, 25% a scripted player and 45% that player with noise, in Doom
    all led away from most walls; any other game gets held random actions of several lengths, or where actions are
    vectors, held and wandering ones.

    Args:
        env_id: a Gymnasium id.
        action_meanings: names of the actions, one each.
        frame_shape: shape of the observations, [H, W, 3].
        space: of the actions, where they are vectors.
    """
    if env_id == CAR_RACING and isinstance(space, Box):
        return Mixture({
            "scripted": (CarPlayer(), 0.5),
            "held-random": (HeldVector(space), 0.2),
            "quick-random": (HeldVector(space, longest=3), 0.1),
            "wandering": (WanderingVector(space), 0.2),
        }, turn=(25, 80))  # fmt: skip
    if isinstance(space, Box):
        return Mixture({
            "held-random": (HeldVector(space), 0.4),
            "quick-random": (HeldVector(space, longest=3), 0.2),
            "wandering": (WanderingVector(space), 0.4),
        }, turn=(50, 200))  # fmt: skip
    n, known = len(action_meanings), _PLAYERS.get(env_id)
    if known is not None and known.plays(n, frame_shape):
        parts: dict[str, tuple[Behaviour, float]] = {
            "held-random": (HeldRandom(n), 0.30),
            "scripted": (known.player(), 0.25),
            "noisy-0.1": (Noisy(known.player(), 0.1, n), 0.15),
            "noisy-0.3": (Noisy(known.player(), 0.3, n), 0.15),
            "noisy-0.6": (Noisy(known.player(), 0.6, n), 0.15),
        }  # fmt: skip
        steered = known.steered or (lambda player: player)
        return Mixture({name: (steered(player), share) for name, (player, share) in parts.items()}, known.turn)
    return Mixture({
        "held-random": (HeldRandom(n), 0.5),
        "quick-random": (HeldRandom(n, longest=3), 0.2),
        "sticky-noisy": (Noisy(HeldRandom(n, longest=30), 0.3, n, hold=4), 0.3),
    })  # fmt: skip

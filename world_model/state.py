"""Everything the next frames of rollouts depend on: copied for nothing, cut, joined, saved."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .cache import FrameCache

if TYPE_CHECKING:
    from .rollout import World


class StateError(ValueError):
    """A state that cannot be used here: what was expected, what came, what to do."""


@dataclass
class Episode:
    """What an environment remembers of one rollout; the world itself does not read it."""

    steps: int = 0
    """taken since the episode began"""
    over: bool = False
    """terminated or truncated: there is no next step without a reset"""
    rng: dict[str, Any] | None = None
    """state of the generator that chooses starts, `np_random.bit_generator.state`"""
    notes: dict[str, Any] = field(default_factory=dict)
    """JSON values of the environment's own"""


@dataclass
class Flight:
    """Frames that are partly drawn already, without their actions (AR-Diffusion's AD plan, look-ahead)."""

    x: Tensor
    """float32 [B, F, H, W, 3] in model units, the next frame first"""
    steps: int
    """of the sampler that drew them"""
    stagger: int
    """passes by which each frame is behind the one before"""
    shift: float = 1.0
    """of the sampler's levels"""

    @property
    def plan(self) -> tuple[int, int, float]:
        """What decides at which noise levels the frames are."""
        return self.steps, self.stagger, self.shift

    def like(self, x: Tensor) -> "Flight":
        """The same plan with other frames."""
        return Flight(x, *self.plan)


@dataclass
class WorldState:
    """B rollouts that are stepped together. Each has its own seed and age.

    Noise is a function of seed and frame number, and everything else that is drawn is a function of what is here: a
    copy that is stepped with the same actions draws the same frames.
    """

    cache: FrameCache
    seeds: list[int]
    """one per rollout, not negative"""
    frames: list[int]
    """index of the next frame of each rollout; 0 is the first frame of its start"""
    world: str
    """hash of the world it belongs to"""
    flight: Flight | None = None
    episodes: list[Episode] = field(default_factory=list)
    """one per rollout"""
    conditions: list[int] = field(default_factory=list)
    """under which each is drawn: number of one of the world's conditions; 0 where it has none"""

    def __post_init__(self) -> None:
        self.episodes = self.episodes or [Episode() for _ in self.seeds]
        self.conditions = self.conditions or [0] * len(self.seeds)

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def pictures(self) -> Tensor:
        """uint8 [B, K, H, W, 3] the last pictures, newest last: memory that the next step writes, clone to keep it."""
        return self.cache.pictures

    @property
    def last_actions(self) -> Tensor:
        """[B, ...] what was told of those that led to the last frames (`Actions.told`); unknown if nobody knows."""
        return self.cache.actions[:, -1]

    @property
    def nbytes(self) -> int:
        """Memory of the past and of frames in flight, in bytes; constant while stepping."""
        return self.cache.nbytes + (self.flight.x.nbytes if self.flight else 0)

    def fork(self, n: int = 1) -> "list[WorldState]":
        """`n` copies that share this one's memory until one of them, or this one, is stepped.

        Raises:
            ValueError: if `n` is below 1.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        return [WorldState(self.cache.fork(), list(self.seeds), list(self.frames), self.world, self.flight,
                           copy.deepcopy(self.episodes), list(self.conditions)) for _ in range(n)]

    def clone(self) -> "WorldState":
        """One copy: stepping one does not touch the other."""
        return self.fork()[0]

    def __copy__(self) -> "WorldState":
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> "WorldState":
        return self.clone()

    def __reduce__(self) -> Any:
        raise TypeError("a WorldState cannot be pickled: save(path) it, and WorldState.load(path, world) it elsewhere")

    def keeping(self, pictures: int) -> "WorldState":
        """A fork that keeps so many last pictures; where there were fewer the oldest stands for those before it."""
        other = self.clone()
        have = other.pictures.shape[1]
        if have != pictures:
            earlier = other.pictures[:, :1].expand(-1, max(pictures - have, 0), -1, -1, -1)
            other.cache.replace_pictures(torch.cat([earlier, other.pictures[:, -min(have, pictures) :]], 1))
        return other

    @torch.inference_mode()
    def take(self, rows: list[int]) -> "WorldState":
        """An independent copy of some rollouts, in the order of `rows`.

        Raises:
            IndexError: if there is no such rollout.
        """
        flight = self.flight.like(self.flight.x[rows]) if self.flight else None
        return WorldState(self.cache.take(rows), [self.seeds[i] for i in rows], [self.frames[i] for i in rows],
                          self.world, flight, [copy.deepcopy(self.episodes[i]) for i in rows],
                          [self.conditions[i] for i in rows])

    @torch.inference_mode()
    def put(self, rows: list[int], other: "WorldState") -> None:
        """Rollouts `rows` become those of `other`, which holds as many, or one for all of them.

        Raises:
            StateError: if the other state is of another world, number format, device, plan or size. Nothing is changed.
            IndexError: if there is no such rollout. Nothing is changed.
        """
        if len(other) not in (1, len(rows)):
            raise StateError(f"expected a state of 1 or {len(rows)} rollouts, got {len(other)}")
        if rows and not -len(self) <= min(rows) <= max(rows) < len(self):
            raise IndexError(f"rows must lie in [0, {len(self) - 1}], got {rows}")
        check_alike(self, other)
        self.cache.put(rows, other.cache)
        if self.flight and other.flight:
            x = self.flight.x.clone()  # forks may hold it too
            x[rows] = other.flight.x
            self.flight = self.flight.like(x)
        for i, row in enumerate(rows):
            source = i if len(other) > 1 else 0
            self.seeds[row], self.frames[row] = other.seeds[source], other.frames[source]
            self.episodes[row] = copy.deepcopy(other.episodes[source])
            self.conditions[row] = other.conditions[source]

    @staticmethod
    def join(states: "list[WorldState]") -> "WorldState":
        """One batch of independent copies out of several states.

        Raises:
            StateError: if they are not of one world, number format, device and plan.
            ValueError: if there are none.
        """
        if not states:
            raise ValueError("need at least one state to join")
        for other in states[1:]:
            check_alike(states[0], other)
        whole = states[0].take([0] * sum(len(state) for state in states))
        first = 0
        for state in states:
            whole.put([*range(first, first + len(state))], state)
            first += len(state)
        return whole

    def save(self, path: str | Path) -> None:
        """Write the state to one file, complete or not at all. See `load`.

        Raises:
            StateError: if `path` lies in no folder that exists.
            OSError: if it cannot be written there, or is a folder. Nothing is left behind.
        """
        from .state_file import save_state

        save_state(self, path)

    @staticmethod
    def load(path: str | Path, world: "World") -> "WorldState":
        """Read what `save` wrote, onto the device of `world`.

        Raises:
            StateError: if the file is no state, is damaged, or belongs to another world, number format or version.
        """
        from .state_file import load_state

        return load_state(path, world)


def check_alike(one: WorldState, other: WorldState) -> None:
    """Whether two states can be stepped together.

    Raises:
        StateError: saying what differs.
    """
    names = "world", "memory", "number format and device", "sizes", "plan"
    for name, mine, its in zip(names, _kind(one), _kind(other), strict=True):
        if mine != its:
            raise StateError(f"the states do not belong together: expected {name} {mine}, got {its}; "
                             f"use states of one world, made with the same settings")


def _kind(state: WorldState) -> tuple[Any, ...]:
    cache, flight = state.cache, state.flight
    rings = [x for ring in cache.rings for x in ring.tensors().values()]
    memory = [*rings, cache.past, cache.actions, cache.pictures, *cache.decoding]
    places = sorted({(str(x.dtype), str(x.device)) for x in memory})
    sizes = [list(x.shape[1:]) for x in memory]
    return (state.world, cache.policy, places, sizes,
            (flight.plan, list(flight.x.shape[1:])) if flight else "without look-ahead")

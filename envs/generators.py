"""The random generators of environments that are stepped together, and what a state keeps of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from world_model import Episode, StateError

SEED = "np_random_seed"
"""name of the note on what a generator was seeded with"""


class Generators:
    """One generator per environment, as `np_random` of so many single environments; seeded by chance until told.

    Args:
        count: how many environments.
    """

    def __init__(self, count: int) -> None:
        self._made: list[tuple[np.random.Generator, int] | None] = [None] * count

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, place: int) -> np.random.Generator:
        return self._at(place)[0]

    @property
    def all(self) -> tuple[np.random.Generator, ...]:
        """All of them in order."""
        return tuple(self._at(place)[0] for place in range(len(self)))

    @property
    def seeds(self) -> tuple[int, ...]:
        """What each was seeded with; -1 where that is not known."""
        return tuple(self._at(place)[1] for place in range(len(self)))

    def seeded(self, seeds: Sequence[int | None]) -> "Generators":
        """Those seeded anew where `seeds` has a number, the same ones elsewhere.

        Raises:
            gymnasium.error.Error: if a seed is no integer of at least 0.
        """
        other = Generators(len(self))
        other._made = [old if seed is None else seeding.np_random(seed)
                       for old, seed in zip(self._made, seeds, strict=True)]  # fmt: skip
        return other

    @staticmethod
    def of(given: Any, count: int) -> "Generators":
        """A caller's, whose seeds nobody knows: `count` different ones, or one from which each spawns its own.

        Raises:
            ValueError: if it is neither.
        """
        ours = given.spawn(count) if isinstance(given, np.random.Generator) else given
        kinds = [type(one) for one in ours] if isinstance(ours, Sequence) else None
        if kinds != [np.random.Generator] * count or len({id(one.bit_generator) for one in ours}) != count:
            raise ValueError(f"np_random must be {count} different numpy generators, or one to spawn them from, "
                             f"got {given!r}")  # fmt: skip
        made = Generators(count)
        made._made = [(one, -1) for one in ours]
        return made

    def put(self, place: int, generator: np.random.Generator, seed: int) -> None:
        """Set one of them, and what it was seeded with."""
        self._made[place] = (generator, seed)

    def _at(self, place: int) -> tuple[np.random.Generator, int]:
        made = self._made[place]
        if made is None:
            made = self._made[place] = seeding.np_random()
        return made


def note_generator(episode: Episode, generator: np.random.Generator, seed: int | None) -> None:
    """Keep in an episode's notes everything that a generator goes on from.

    Raises:
        TypeError: if it is not of the kind that Gymnasium makes; not all of the others are JSON.
    """
    state = dict(generator.bit_generator.state)
    if state["bit_generator"] != "PCG64":
        raise TypeError(f"np_random must be a generator of PCG64 to be kept in a state, got {state['bit_generator']}")
    episode.rng, episode.notes[SEED] = state, seed


def generator_of(episode: Episode) -> tuple[np.random.Generator, int] | None:
    """A new generator that goes on from what `note_generator` kept, and its seed; None if nothing was kept.

    Raises:
        StateError: if what was kept is damaged.
    """
    if episode.rng is None:
        return None
    generator, seed = np.random.Generator(np.random.PCG64()), episode.notes.get(SEED, -1)
    try:
        generator.bit_generator.state = dict(episode.rng)
        return generator, int(seed)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise StateError(f"the state's generator is damaged ({error}); take another snapshot") from None

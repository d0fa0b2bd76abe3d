"""Games saved to go on with later."""

import os
from pathlib import Path
from typing import Any

from world_model import StateError

from .game import Game
from .saved_game import read_game, read_note, write_game
from .stage import StageState
from .timeline import Branch
from .world_env import WorldEnv

STATES = 8
"""states that are saved, the newest: one can go back to them at once"""


class Slots:
    """Numbered places for saved games of one world.

    A slot holds the world's state and the whole branch that led there, so that one can go back from it in time and a
    recording of what follows is complete. The real game beside is not saved.

    Args:
        folder: where they lie; made when the first game is saved.
        env: the world.
        count: how many there are.
    """

    def __init__(self, folder: str | Path, env: WorldEnv, count: int = 4) -> None:
        self.folder, self.count, self._env = Path(folder), count, env

    def describe(self, slot: int) -> str:
        """What is in a slot, in one line."""
        if not self._file(slot).is_file():
            return f"slot {slot}: empty"
        try:
            note = self._note(slot)
        except StateError as error:
            return f"slot {slot}: {error}"
        return f"slot {slot}: seed {note['seed']}, frame {note['steps']}, score {note['score']:+g}"

    def save(self, slot: int, game: Game) -> str:
        """Save where the game is, in place of what the slot held; complete or not at all. Returns what was saved.

        Raises:
            OSError: if it cannot be written. What the slot held is still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        branch, now = game.branch, game.stage.save().world
        older = {step: state.world for step, state in sorted(branch.states.items())[-STATES:]
                 if isinstance(state, StageState)}  # fmt: skip
        part = self._file(slot).with_suffix(".part")  # one that a killed save has left is written over
        try:
            write_game(part, branch, {**older, len(branch): now}, self._env.passes)
            os.replace(part, self._file(slot))
        finally:
            part.unlink(missing_ok=True)
        return f"saved: {self.describe(slot)}"

    def load(self, slot: int) -> Branch:
        """The branch that was saved, with states to go back to. The environment stays where it is.

        Raises:
            StateError: if the slot is empty, damaged, or of another world.
        """
        if not self._file(slot).is_file():
            raise StateError(f"slot {slot} is empty: save a game into it first")
        passes = int(self._note(slot)["passes"])
        branch, states = read_game(self._file(slot), self._env.world)
        here = self._env.snapshot()
        self._env.reset(seed=branch.seed, options=branch.start.get("options"))
        first = StageState(self._env.snapshot(), None, self._env.passes)
        self._env.restore(here)
        drawn = {step: branch.moments[step - 1].passes if step else passes for step in states}
        branch.states = {0: first}
        branch.states |= {step: StageState(state, None, drawn[step]) for step, state in states.items()}
        return branch

    def _file(self, slot: int) -> Path:
        return self.folder / f"slot-{slot}.npz"

    def _note(self, slot: int) -> dict[str, Any]:
        return read_note(self._file(slot), self._env.world.hash)

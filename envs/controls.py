"""What the player's commands do to the game and to how it is shown."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from recorders import MissingGame, RecordingError
from world_model import WorldError

from .bindings import Bindings
from .game import Game
from .keymap import Action
from .pilot import Pilot
from .screen import Inputs
from .slots import Slots
from .views import VIEWS

FASTEST, SLOWEST = 240.0, 1.0
"""steps per second"""
MOST_PASSES = 32
REFUSALS = (MissingGame, RecordingError, WorldError, ValueError, OSError)
"""what a command may meet that the game goes on after"""


class Controls:
    """Everything that keys other than the world's own change.

    Args:
        game: what is played.
        pilots: who may play, the first of them at the beginning.
        bindings: names the keys in messages.
        fps: steps per second.
        seed: the first episode's; later ones count on from it.
        slots: where games are saved, if they may be.
    """

    def __init__(self, game: Game, pilots: Sequence[Pilot], bindings: Bindings, fps: float, seed: int = 0,
                 slots: Slots | None = None) -> None:
        self.game, self.pilots, self.bindings, self.fps, self.seed = game, list(pilots), bindings, fps, seed
        self.paused = self.quit = self.help = False
        self.singles = 0
        """steps to be made while paused"""
        self.view, self.message = VIEWS[0], ""
        self.pilot = 0
        """place of who plays"""
        self.passes = game.stage.env.passes
        """of the steps to come"""
        self.condition: int | None = None
        """number of the one that the steps to come are drawn under; None: as it is where the game is"""
        self._slots, self._slot, self._episode = slots, 1, -1

    @property
    def playing(self) -> Pilot:
        """Who plays."""
        return self.pilots[self.pilot]

    @property
    def _under(self) -> int:
        """Number of the condition of the next step."""
        return int(self.game.stage.env.condition) if self.condition is None else self.condition

    def choose(self, frame: NDArray[np.uint8], inputs: Inputs) -> Action:
        """The action of who plays. A script or an agent that fails gives control back, and `message` says why."""
        if self.pilot == 0:
            return self.playing.choose(frame, inputs)
        try:
            action = self.playing.choose(frame, inputs)
            self.game.stage.env.world.actions.checked(action)
            return action
        except Exception as error:  # theirs, whatever it is: the game goes on
            self.message = f"{self.playing.name} failed, control is yours: {type(error).__name__} {error}"
            self.pilot = 0
            return self.playing.choose(frame, inputs)

    def do(self, command: str) -> None:
        """Obey; what cannot be done is told in `message`. No step may be under way."""
        self.message = ""
        try:
            self._methods()[command]()
        except REFUSALS as error:
            self.message = str(error)

    def begin(self) -> None:
        """Begin the next episode.

        Raises:
            MissingGame, ValueError: if the real game is wanted and cannot take part.
        """
        self._episode += 1
        self.singles, self.condition = 0, None
        self.game.begin(self.seed + self._episode)
        self.playing.begin()

    def status(self) -> str:
        """What holds now, in one line."""
        game, who = self.game, self.playing.name
        names = game.stage.env.conditions
        parts = [names[self._under] if names else "", f"{self.passes} passes", who if len(self.pilots) > 1 else ""]
        if len(game.timeline.branches) > 1:
            parts.append(f"branch {game.branch.number} of {game.timeline.branches[-1].number}")
        parts += ["recording" if game.recording else "", "back in time" if game.cursor is not None else ""]
        again = self.bindings.key_of("reset") or "no key"
        parts.append(f"game over: {again} plays again" if game.over else "paused" if self.paused else "")
        return "   ".join(filter(None, parts))

    def _methods(self) -> dict[str, Callable[[], None]]:
        return {"pause": self._pause, "step": self._single, "reset": self.begin, "branch": self._branch,
                "save": self._save, "load": self._load, "slot": self._next_slot, "pilot": self._hand_over,
                "record": self._record, "view": self._look_otherwise, "slower": lambda: self._speed(0.8),
                "faster": lambda: self._speed(1.25), "fewer": lambda: self._passes(-1),
                "more": lambda: self._passes(1), "condition": self._switch, "help": self._help, "quit": self._quit,
                "on": self.go_on,
                "rewind": _nothing, "forward": _nothing, "fullscreen": _nothing}  # held, or the screen's

    def _pause(self) -> None:
        self.paused, self.singles = not self.paused, 0
        if not self.paused:
            self.go_on()

    def _single(self) -> None:
        if self.paused and not self.game.over:
            self.go_on()
            self.singles += 1

    def go_on(self) -> None:
        """Go on from where the game is looked at."""
        if self.game.cursor is not None:
            self.singles, self.condition = 0, None
        before = self.game.branch
        self.game.go_on()
        if self.game.branch is not before:
            self.message = f"branch {self.game.branch.number} leaves branch {before.number} at {self.game.step}"
            self.playing.begin()

    def _branch(self) -> None:
        if len(self.game.timeline.branches) < 2:
            self.message = "there is one branch"
            return
        self.game.select(self.game.timeline.after().number)
        self.message, self.singles, self.condition = f"branch {self.game.branch.number}, at its end", 0, None
        self.playing.begin()

    def _save(self) -> None:
        self.go_on()
        self.message = self._any_slots().save(self._slot, self.game)

    def _load(self) -> None:
        self.game.adopt(self._any_slots().load(self._slot))
        self.message, self.singles, self.condition = f"slot {self._slot} loaded", 0, None
        self.playing.begin()

    def _next_slot(self) -> None:
        self._slot = self._slot % self._any_slots().count + 1
        self.message = self._any_slots().describe(self._slot)

    def _any_slots(self) -> Slots:
        if self._slots is None:
            raise ValueError("there are no slots here")
        return self._slots

    def _hand_over(self) -> None:
        self.pilot = (self.pilot + 1) % len(self.pilots)
        self.playing.begin()
        self.message = f"{self.playing.name} plays" if len(self.pilots) > 1 else "there is nobody else to play"

    def _record(self) -> None:
        if not self.game.can_record:
            raise ValueError("there is nowhere to record")
        self.game.record(not self.game.recording)
        self.message = "recording this episode, all of it" if self.game.recording else "the recording has ended"

    def _look_otherwise(self) -> None:
        if self.game.branch.first_real is not None:
            self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
            self.message = f"view: {self.view}"
            return
        self.game.stage.beside = True
        try:
            self.begin()
        except REFUSALS:
            self.game.stage.beside = False
            raise
        self.view, self.message = "both", "from a situation of the real game: the dream, and the game itself beside it"

    def _speed(self, factor: float) -> None:
        self.fps = min(max(self.fps * factor, SLOWEST), FASTEST)

    def _passes(self, more: int) -> None:
        self.passes = min(max(self.passes + more, 1), max(MOST_PASSES, self.passes))
        self.message = f"{self.passes} passes per frame"

    def _switch(self) -> None:
        env = self.game.stage.env
        if not env.conditions:
            raise ValueError("this world has one condition")
        self.condition = (self._under + 1) % len(env.conditions)
        self.message = f"from now on: {env.conditions[self.condition]}"

    def _help(self) -> None:
        self.help = not self.help

    def _quit(self) -> None:
        self.quit = True


def _nothing() -> None:
    """Obeyed elsewhere."""

"""What every key, and every button of a gamepad, does in the player."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from world_model import Actions

from .keymap import Action, action_for, vector_for

COMMANDS = {
    "p": "pause", "n": "step", "r": "reset", "backspace": "rewind", "\\": "forward", "tab": "branch",
    "f5": "save", "f9": "load", "f6": "slot", "t": "pilot", "o": "record", "c": "view", "-": "slower", "=": "faster",
    ",": "fewer", ".": "more", "g": "condition", "f11": "fullscreen", "f1": "help", "h": "help", "escape": "quit",
    "q": "quit",
}  # fmt: skip
"""keys of the player itself; a key that the world uses keeps the world's meaning"""

MEANINGS = {
    "pause": "pause, and go on", "step": "one step, while paused", "reset": "a new episode",
    "rewind": "hold to go back in time; let go to go on from there",
    "forward": "hold to go forward again, while looking back",
    "branch": "next branch", "save": "save into the slot", "load": "load the slot", "slot": "next slot",
    "pilot": "hand over to a script or an agent, and take back", "record": "record, from the episode's beginning on",
    "view": "the dream, the real game, both side by side", "slower": "fewer steps per second",
    "faster": "more steps per second", "fewer": "fewer passes per frame: faster, worse",
    "more": "more passes per frame", "condition": "the next condition, e.g. another game, in a world that has several",
    "fullscreen": "full screen", "help": "this list", "quit": "quit",
}  # fmt: skip
"""what a command does, in the order of the help"""

SHOWN = ("pause", "rewind", "branch", "pilot", "record", "help", "quit")
"""commands that the line below the picture names"""

PAD = {"pad up": "up", "pad down": "down", "pad left": "left", "pad right": "right", "pad 0": "space",
       "pad 1": "backspace", "pad 2": "o", "pad 3": "t", "pad 4": "tab", "pad 5": "c", "pad 6": "r",
       "pad 7": "p"}  # fmt: skip
"""gamepad to the key that it stands for: directions, then buttons by number (A, B, X, Y, shoulders, back, start)"""

NOTHING = "nothing"
"""what a key is bound to that should do nothing"""


@dataclass(frozen=True)
class Bindings:
    """Keys to what they do.

    Attributes:
        actions: key names, or chords joined by `+`, to the world's action ids, or to what they push in its vectors.
        commands: key names to the player's commands.
        noop: the action when no key asks for one.
        kind: what an action is.
        own: keys that were bound by hand, alone or in chords: those of a gamepad stand for themselves then.
    """

    actions: Mapping[str, Any]
    commands: Mapping[str, str]
    noop: Action
    own: frozenset[str] = frozenset()
    kind: Actions | None = None

    def action(self, held: Sequence[str], strengths: Mapping[str, float] | None = None) -> Action:
        """The action that the held keys ask for: that of the longest chord, among equals the one pressed last.

        Where actions are vectors, the sum of what the held keys push, a stick by how far it is pushed.
        """
        keys = [self._key(name) for name in held]
        if self.kind is None or not self.kind.continuous:
            return action_for(keys, self.actions, cast(int, self.noop))
        far = dict.fromkeys(keys, 1.0) | {self._key(name): value for name, value in (strengths or {}).items()}
        return vector_for(far, self.actions, cast(tuple[float, ...], self.noop), self.kind.low, self.kind.high)

    def command(self, key: str) -> str | None:
        """The player's command on a key."""
        return self.commands.get(self._key(key))

    def holds(self, held: Iterable[str], command: str) -> bool:
        """Whether a key of this command is down."""
        return any(self.command(key) == command for key in held)

    def key_of(self, command: str) -> str:
        """The first key of a command, as it is written on keyboards; empty if it has none."""
        return next((key.capitalize() for key, found in self.commands.items() if found == command), "")

    def line(self) -> str:
        """One line that names the keys that matter most."""
        single = [key for key in self.actions if "+" not in key and not key.startswith("pad ")]
        known = [f"{self.key_of(name)} {name}" for name in SHOWN if self.key_of(name)]
        return "  ".join(filter(None, [" ".join(single) + ": play" if single else "", *known]))

    def page(self, meanings: Sequence[str]) -> list[str]:
        """All keys, a line each; `meanings` names the world's actions."""
        playing = [f"{chord}: {_told(action, meanings)}" for chord, action in self.actions.items()]
        rest = []
        for command, meaning in MEANINGS.items():
            keys = [key.capitalize() for key, found in self.commands.items() if found == command]
            if keys:
                rest.append(f"{', '.join(keys)}: {meaning}")
        return playing + rest

    def _key(self, name: str) -> str:
        return name if name in self.own else PAD.get(name, name)


def bindings_for(keys: Mapping[str, Any], meanings: Sequence[str], noop: Action, own: Mapping[str, str] | None = None,
                 kind: Actions | None = None) -> Bindings:  # fmt: skip
    """The keys of a world's card, the player's, and one's own on top of them.

    Args:
        keys: key names or chords to actions, as the card has them.
        meanings: names of the actions in the order of their ids.
        noop: the action when no key asks for one.
        own: key names or chords to the name of an action, of a command, or "nothing"; what such a key did before is
            forgotten. Vectors have two actions for each number, named "<its name> -" and "<its name> +".
        kind: what an action is.

    Raises:
        ValueError: if something is bound to what is neither; the message lists what there is.
    """
    actions, commands = dict(keys), dict(COMMANDS)
    named: dict[str, Any] = {name: id for id, name in enumerate(meanings)}
    if kind is not None and kind.continuous:
        named = _ends(meanings, kind)
    names = {name.casefold(): action for name, action in named.items()}
    for key, wanted in (own or {}).items():
        actions.pop(key, None)
        commands.pop(key, None)
        if wanted.casefold() in names:
            actions[key] = names[wanted.casefold()]
        elif wanted in MEANINGS and "+" not in key:
            commands[key] = wanted
        elif wanted != NOTHING:
            raise ValueError(_unknown(key, wanted, list(named)))
    used = {name for chord in actions for name in chord.split("+")}
    by_hand = frozenset(name for chord in own or {} for name in chord.split("+"))
    return Bindings(actions, {key: name for key, name in commands.items() if key not in used}, noop, by_hand, kind)


def _ends(meanings: Sequence[str], kind: Actions) -> dict[str, tuple[float, ...]]:
    """Each number of a vector at its least and at its largest, all others 0, by name."""
    def alone(place: int, value: float) -> tuple[float, ...]:
        return tuple(value if i == place else 0.0 for i in range(len(kind.low)))

    ends = (("-", kind.low), ("+", kind.high))
    return {f"{name} {sign}": alone(i, bound[i]) for i, name in enumerate(meanings) for sign, bound in ends}


def _told(action: Any, meanings: Sequence[str]) -> str:
    """An action in words."""
    if isinstance(action, int):
        return meanings[action].lower()
    pushed = ((name, value) for name, value in zip(meanings, action, strict=True) if value)
    return ", ".join(f"{name.lower()} {value:+g}" for name, value in pushed)


def _unknown(key: str, wanted: str, meanings: Sequence[str]) -> str:
    known = [*(name.lower() for name in meanings), *MEANINGS, NOTHING]
    near = difflib.get_close_matches(wanted.casefold(), known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    chord = "a chord can only be bound to an action; " if "+" in key and wanted in MEANINGS else ""
    return f"key {key!r} is bound to {wanted!r}, which nothing here is called: {chord}{hint}expected one of {known}"

"""Which keys do what: plain data, no window library.

A world's card maps key names to actions, `{"up": 2, "w": 2, "up+space": 4}`; a `+` joins keys held together. Where
actions are vectors it maps them to what they push, `{"left": [-1, 0, 0], "up": [0, 1, 0]}`, and what is held adds up.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Action = int | tuple[float, ...]
"""an id, or a vector"""

_KEYCODES = {"up": 1073741906, "down": 1073741905, "left": 1073741904, "right": 1073741903,
             "space": 32, "return": 13, "tab": 9, "left shift": 1073742049, "left ctrl": 1073742048}  # fmt: skip


def action_for(held: Sequence[str], keys: Mapping[str, int], noop: int) -> int:
    """The action that the held keys ask for.

    Args:
        held: names of the keys that are down, in the order they went down.
        keys: key names, or chords joined by `+`, to action ids.
        noop: the action when no key matches.

    Returns:
        The action of the longest chord that is held entirely; among equals the one pressed last.
    """
    best, rank = noop, (0, -1)
    for chord, action in keys.items():
        names = chord.split("+")
        if all(name in held for name in names):
            rank_here = (len(names), max(held.index(name) for name in names))
            if rank_here > rank:
                best, rank = action, rank_here
    return best


def vector_for(strengths: Mapping[str, float], keys: Mapping[str, Sequence[float]], rest: Sequence[float],
               low: Sequence[float], high: Sequence[float]) -> tuple[float, ...]:  # fmt: skip
    """The vector that the held keys ask for.

    Args:
        strengths: names of the keys that are down to how far, 1 for a key and up to 1 for a stick.
        keys: key names, or chords joined by `+`, to what they push in each number.
        rest: the vector when nothing is held.
        low: least value of each number.
        high: largest.
    """
    total = [0.0] * len(rest)
    for chord, push in keys.items():
        names = chord.split("+")
        if all(name in strengths for name in names):
            far = min(strengths[name] for name in names)
            total = [value + far * more for value, more in zip(total, push, strict=True)]
    return tuple(min(max(value + still, least), most)
                 for value, still, least, most in zip(total, rest, low, high, strict=True))


def as_action(action: object) -> Action:
    """What a player returned: an integer, or a vector of numbers."""
    values = np.asarray(action)
    return tuple(float(value) for value in values) if values.ndim else int(values)


def noop_action(meanings: Sequence[str]) -> int:
    """The action that does nothing: the one called NOOP, else action 0."""
    return list(meanings).index("NOOP") if "NOOP" in meanings else 0


def gymnasium_keys(keys: Mapping[str, Action], noop: Action) -> dict[tuple[int, ...], Action]:
    """The same map as `gymnasium.utils.play` wants it: sorted key codes to actions.

    Raises:
        ValueError: if a key name is neither one character nor a known name.
    """
    table: dict[tuple[int, ...], Action] = {(): noop}
    for chord, action in keys.items():
        table[tuple(sorted(_keycode(name) for name in chord.split("+")))] = as_action(action)
    return table


def _keycode(name: str) -> int:
    if len(name) == 1:
        return ord(name)
    if name in _KEYCODES:
        return _KEYCODES[name]
    raise ValueError(f"unknown key {name!r} in the world's card: expected one character or one of {sorted(_KEYCODES)}")

"""Which keys do what: plain data, no window library.

A world's card maps key names to actions, `{"up": 2, "w": 2, "up+space": 4}`; a `+` joins keys held together.
"""

from collections.abc import Mapping, Sequence

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


def noop_action(meanings: Sequence[str]) -> int:
    """The action that does nothing: the one called NOOP, else action 0."""
    return list(meanings).index("NOOP") if "NOOP" in meanings else 0


def gymnasium_keys(keys: Mapping[str, int], noop: int) -> dict[tuple[int, ...], int]:
    """The same map as `gymnasium.utils.play` wants it: sorted key codes to actions.

    Raises:
        ValueError: if a key name is neither one character nor a known name.
    """
    table: dict[tuple[int, ...], int] = {(): noop}
    for chord, action in keys.items():
        table[tuple(sorted(_keycode(name) for name in chord.split("+")))] = action
    return table


def _keycode(name: str) -> int:
    if len(name) == 1:
        return ord(name)
    if name in _KEYCODES:
        return _KEYCODES[name]
    raise ValueError(f"unknown key {name!r} in the world's card: expected one character or one of {sorted(_KEYCODES)}")

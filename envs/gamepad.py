"""Gamepads as keys: `pad up`, `pad left`, ..., and `pad 0` to `pad 15` for buttons."""

from typing import Any

import pygame

DEAD = 0.5
"""how far a stick must be pushed, of 1"""

STILL = 0.1
"""how far a stick may be off its middle and count as untouched"""

_AXES = {0: ("pad left", "pad right"), 1: ("pad up", "pad down")}


class Gamepads:
    """All gamepads that are connected, whenever they are; any of them plays."""

    def __init__(self) -> None:
        pygame.joystick.init()
        self._pads: dict[int, Any] = {}
        self._down: dict[tuple[int, str], tuple[str, ...]] = {}  # keys that are down, by pad and part of it

    def keys(self, event: pygame.event.Event) -> list[tuple[str, bool]]:
        """What an event of the window says of the pads: names of keys that went down (true) or up (false)."""
        if event.type == pygame.JOYDEVICEADDED:
            pad = pygame.joystick.Joystick(event.device_index)
            self._pads[pad.get_instance_id()] = pad  # events come only while it is held
        elif event.type == pygame.JOYDEVICEREMOVED:
            self._pads.pop(event.instance_id, None)
            gone = [part for part in self._down if part[0] == event.instance_id]
            return [change for part in gone for change in self._now(part, ())]
        elif event.type in (pygame.JOYBUTTONDOWN, pygame.JOYBUTTONUP):
            name = f"pad {event.button}"
            return self._now((event.instance_id, name), (name,) * (event.type == pygame.JOYBUTTONDOWN))
        elif event.type == pygame.JOYAXISMOTION and event.axis in _AXES:
            low, high = _AXES[event.axis]
            down = (low,) * (event.value < -DEAD) + (high,) * (event.value > DEAD)
            return self._now((event.instance_id, f"axis {event.axis}"), down)
        elif event.type == pygame.JOYHATMOTION:
            x, y = event.value
            down = tuple(name for name, on in (("pad left", x < 0), ("pad right", x > 0), ("pad up", y > 0),
                                               ("pad down", y < 0)) if on)
            return self._now((event.instance_id, f"hat {event.hat}"), down)
        return []

    def strengths(self) -> dict[str, float]:
        """How far the sticks of all pads are pushed, from a tenth on: names of the keys that they are, to at most 1."""
        found: dict[str, float] = {}
        for pad in self._pads.values():
            for axis, (low, high) in _AXES.items():
                value = pad.get_axis(axis) if axis < pad.get_numaxes() else 0.0
                name, far = (low if value < 0 else high), min(abs(value), 1.0)
                if far >= STILL:
                    found[name] = max(found.get(name, 0.0), far)
        return found

    def _now(self, part: tuple[int, str], down: tuple[str, ...]) -> list[tuple[str, bool]]:
        """What has changed at a part of a pad, whose keys that are down are now these."""
        before = self._down.get(part, ())
        self._down[part] = down
        return [*((name, False) for name in before if name not in down),
                *((name, True) for name in down if name not in before)]

"""Gamepads as keys: `pad up`, `pad left`, ..., and `pad 0` to `pad 15` for buttons."""

from typing import Any

import pygame

DEAD = 0.5
"""how far a stick must be pushed, of 1"""

_AXES = {0: ("pad left", "pad right"), 1: ("pad up", "pad down")}


class Gamepads:
    """All gamepads that are connected, whenever they are; any of them plays."""

    def __init__(self) -> None:
        pygame.joystick.init()
        self._pads: dict[int, Any] = {}
        self._axes: dict[tuple[int, int], str | None] = {}
        self._hats: dict[tuple[int, int], tuple[str, ...]] = {}

    def keys(self, event: pygame.event.Event) -> list[tuple[str, bool]]:
        """What an event of the window says of the pads: names of keys that went down (true) or up (false)."""
        if event.type == pygame.JOYDEVICEADDED:
            pad = pygame.joystick.Joystick(event.device_index)
            self._pads[pad.get_instance_id()] = pad  # events come only while it is held
        elif event.type == pygame.JOYDEVICEREMOVED:
            self._pads.pop(event.instance_id, None)
        elif event.type in (pygame.JOYBUTTONDOWN, pygame.JOYBUTTONUP):
            return [(f"pad {event.button}", event.type == pygame.JOYBUTTONDOWN)]
        elif event.type == pygame.JOYAXISMOTION and event.axis in _AXES:
            low, high = _AXES[event.axis]
            now = low if event.value < -DEAD else high if event.value > DEAD else None
            return self._changed(self._axes, (event.instance_id, event.axis), now)
        elif event.type == pygame.JOYHATMOTION:
            x, y = event.value
            down = tuple(name for name, on in (("pad left", x < 0), ("pad right", x > 0), ("pad up", y > 0),
                                               ("pad down", y < 0)) if on)
            before = self._hats.get((event.instance_id, event.hat), ())
            self._hats[event.instance_id, event.hat] = down
            return [*((name, False) for name in before if name not in down),
                    *((name, True) for name in down if name not in before)]
        return []

    @staticmethod
    def _changed(states: dict[tuple[int, int], str | None], place: tuple[int, int],
                 now: str | None) -> list[tuple[str, bool]]:
        before = states.get(place)
        states[place] = now
        if before == now:
            return []
        return [*([(before, False)] if before else []), *([(now, True)] if now else [])]

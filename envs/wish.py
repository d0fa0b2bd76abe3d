"""What a person wants of the next step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .screen import Inputs


@dataclass(frozen=True)
class Wish:
    """The keys that are down, and those that went down since the step before was asked for.

    Attributes:
        held: names of the keys that were down at the last look, in the order they went down.
        pressed: names of the keys that went down since, in that order; some may be up again.
        read: when the oldest of this was read that the next step acts on, in seconds of `time.perf_counter`: when the
            first of `pressed` was, or at the last look if nothing was pressed.
        strengths: how far sticks were pushed at the last look.
    """

    held: tuple[str, ...] = ()
    pressed: tuple[str, ...] = ()
    read: float = 0.0
    strengths: Mapping[str, float] = field(default_factory=dict)

    def then(self, inputs: Inputs, now: float) -> "Wish":
        """This wish after another look at the keys, `now` in seconds."""
        return Wish(inputs.held, self.pressed + inputs.pressed, self.read if self.pressed else now,
                    inputs.strengths)

    def inputs(self) -> Inputs:
        """All of it as one look: a key that was tapped counts as held, and went down after those held all the time."""
        tapped = tuple(dict.fromkeys(reversed(self.pressed)))[::-1]  # where it was pressed last
        return Inputs((*(key for key in self.held if key not in tapped), *tapped), self.pressed,
                      strengths=self.strengths)

"""Actions that count as one when they are read off pictures."""

from collections.abc import Sequence

import numpy as np

from .actions import Actions

LOOKED_AT = 6
"""numbers of a vector whose bands make its kind"""


class ActionKinds:
    """The kind of each action: discrete ones by a table, vectors by the band that each of their numbers lies in.

    A vector's numbers are cut into three equal bands from least to largest, into two where there are more than three.

    Args:
        actions: what an action is.
        meanings: names of discrete actions, or of a vector's numbers.
        table: int [count], the kind of each discrete action, numbered from 0; None: each is its own.

    Attributes:
        count: of kinds.
        names: of the actions of each kind.
    """

    def __init__(self, actions: Actions, meanings: Sequence[str], table: np.ndarray | None = None) -> None:
        if actions.continuous:
            numbers = min(len(actions.low), LOOKED_AT)
            self._bands = 3 if numbers <= 3 else 2
            self._low, self._high = (np.array(bound[:numbers]) for bound in (actions.low, actions.high))
            self._table, self.count = None, self._bands**numbers
            self.names = [[" ".join(self._named(kind, meanings))] for kind in range(self.count)]
            return
        self._table = np.arange(actions.count) if table is None else table
        self.count = int(self._table.max()) + 1
        self.names = [[name for name, of in zip(meanings, self._table, strict=True) if of == kind]
                      for kind in range(self.count)]

    def of(self, actions: np.ndarray) -> np.ndarray:
        """Kinds int64 [...] of actions [...] or [..., A]."""
        if self._table is not None:
            return np.asarray(self._table[actions])
        share = (actions[..., : len(self._low)] - self._low) / (self._high - self._low)
        band = np.clip((share * self._bands).astype(np.int64), 0, self._bands - 1)
        return np.asarray((band * self._bands ** np.arange(band.shape[-1])).sum(-1))

    def _named(self, kind: int, meanings: Sequence[str]) -> list[str]:
        bands = ("low", "middle", "high") if self._bands == 3 else ("low", "high")
        return [f"{name} {bands[kind // self._bands**i % self._bands]}" for i, name in enumerate(meanings[:LOOKED_AT])]

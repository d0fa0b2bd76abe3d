"""A few rows on their way from whoever steps to the writer."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .layout import Field


class Block:
    """Room for a number of rows, one column per field; used over and over.

    Args:
        fields: the arrays of a row.
        capacity: rows it can hold.

    Attributes:
        columns: field name to [capacity, *shape].
        rows: rows it holds.
        taken: rows of it that the writer has taken already.
    """

    def __init__(self, fields: Mapping[str, Field], capacity: int) -> None:
        self.columns: dict[str, np.ndarray] = {name: field.zeros(capacity) for name, field in fields.items()}
        self.rows = self.taken = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Copy a row in; the caller sees to it that there is room."""
        for name, column in self.columns.items():
            column[self.rows] = row[name]
        self.rows += 1

    def clear(self) -> None:
        """Make it empty."""
        self.rows = self.taken = 0

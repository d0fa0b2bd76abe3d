"""Parquet files: the package that reads and writes them."""

from typing import Any

from .layout import RecordingError


def import_pyarrow() -> Any:
    """The pyarrow package.

    Raises:
        RecordingError: if it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise RecordingError(
            "Parquet files need pyarrow: pip install pyarrow, or pip install -e '.[export]' in the checkout"
        ) from None
    return pyarrow

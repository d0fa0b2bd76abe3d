"""What is noted beside the steps: anything JSON, with numpy arrays kept apart."""

import io
import math
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from .layout import ARRAYS, RecordingError

_REFERENCE = "$array"
_NAME = re.compile(rf"{ARRAYS}/\d{{6,}}\.npz")
MAX_ARRAYS_BYTES = 1 << 31


def split(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as JSON; numpy arrays in it go into `arrays` under their place's name and leave a reference.

    Raises:
        RecordingError: if something is neither JSON nor numpy; the message says what and where.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise RecordingError(f"{name} is an array of objects, which cannot be noted: expected numbers")
        arrays[name] = value
        return {_REFERENCE: name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str) or key == _REFERENCE]:
            raise RecordingError(f"{name} cannot be noted: keys are text other than {_REFERENCE}, got {wrong[0]!r}")
        return {str(key): split(part, f"{name}.{key}", arrays) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [split(part, f"{name}.{place}", arrays) for place, part in enumerate(value)]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    kind = type(value).__name__
    raise RecordingError(f"{name} cannot be noted: expected JSON or numpy arrays, got {value!r} ({kind})")


def join(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Inverse of `split`, but for tuples, which come back as lists.

    Raises:
        RecordingError: if an array that is referred to is not there.
    """
    if isinstance(value, dict):
        if value.keys() == {_REFERENCE}:
            name = value[_REFERENCE]
            if not isinstance(name, str) or name not in arrays:
                raise RecordingError(f"notes refer to an array {name!r}, there are {sorted(arrays)}")
            return arrays[name]
        return {key: join(part, arrays) for key, part in value.items()}
    return [join(part, arrays) for part in value] if isinstance(value, list) else value


def references(value: Any) -> bool:
    """Whether there are references to arrays in what `split` gave."""
    if isinstance(value, dict):
        return value.keys() == {_REFERENCE} or any(map(references, value.values()))
    return isinstance(value, list) and any(map(references, value))


def plain(meta: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Notes without arrays.

    Raises:
        RecordingError: if there is an array or something that is no JSON.
    """
    arrays: dict[str, np.ndarray] = {}
    noted = split(dict(meta), what, arrays)
    if arrays:
        raise RecordingError(f"{sorted(arrays)} are numpy arrays: give them as `arrays` of an episode")
    return noted


def arrays_name(number: int) -> str:
    """Where the arrays of a segment's episode lie in it."""
    return f"{ARRAYS}/{number:06d}.npz"


def check_arrays_name(name: Any) -> str:
    """The name, if arrays may lie there.

    Raises:
        RecordingError: if it is no name that `arrays_name` gives.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RecordingError(f"an episode's arrays lie in {ARRAYS}/000000.npz and so on, not in {name!r}")
    return name


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an npz file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
    return file.getvalue()


def unpack(name: str, data: bytes) -> dict[str, np.ndarray]:
    """Inverse of `pack`.

    Raises:
        RecordingError: if the bytes are not of that kind, or would take more than 2 GiB.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_ARRAYS_BYTES:
                raise RecordingError(f"{name} would unpack to {size} bytes, more than {MAX_ARRAYS_BYTES}: not read")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except RecordingError:
        raise
    except Exception as error:  # zipfile, zlib and numpy have a dozen kinds for it
        raise RecordingError(f"{name} is damaged ({error}); restore it from a copy") from None

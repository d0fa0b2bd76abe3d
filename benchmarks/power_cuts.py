"""Power cuts without a plug: what had not reached the backing file of a loop device is gone."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from recorders.progress import Progress

from .crash_campaign import Tally, finish, look_in_fork
from .crash_checks import ENDED, Claims, look
from .crash_lives import Life, wait_for
from .crash_writers import record_single

IMAGE_MB = 256


class Unavailable(RuntimeError):
    """This machine cannot mount an ext4 image; the message says why."""


def check_available(folder: Path) -> None:
    """Mount and unmount a small image.

    Raises:
        Unavailable: if that needs root, a tool or a device that is not there.
    """
    if os.geteuid() != 0:
        raise Unavailable("mounting needs root")
    image = make_image(folder / "try.img")
    with mounted(image, folder / "try"):
        pass
    image.unlink()


def make_image(image: Path) -> Path:
    """A file that holds an empty ext4 file system."""
    image.parent.mkdir(parents=True, exist_ok=True)
    with open(image, "wb") as file:
        file.truncate(IMAGE_MB << 20)
    _command("mkfs.ext4", "-q", "-F", str(image))
    return image


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """The image's file system under `place`."""
    place.mkdir(parents=True, exist_ok=True)
    _command("mount", "-o", "loop", str(image), str(place))
    try:
        yield place
    finally:
        _command("umount", str(place))


def cut_power(fsync: str, cuts: int, folder: Path, seed: int, longest_s: float, progress: bool = True) -> Tally:
    """Record onto a loop device, kill the writer, and go on with what the device held at that instant.

    Args:
        fsync: of the recorder. "episode": reported ends count as committed; "flush": reported flushes as well;
            "none": reported ends, which are expected to be lost.
        cuts: how many; each goes on with the disk that the cut before left.
        folder: to work in.
        seed: of instants.
        longest_s: no writer lives longer.
        progress: whether a bar is shown.

    Raises:
        Unavailable: if this machine cannot do it.
    """
    check_available(folder)
    (folder / "errors").mkdir()
    tally, claims, rng = Tally(), Claims(), np.random.default_rng(seed)
    image = make_image(folder / "disk-0.img")
    for cut in Progress(range(cuts), desc=f"fsync={fsync}", unit="cut", disable=not progress):
        after = folder / f"disk-{cut + 1}.img"
        delay = float(rng.uniform(0.3, 0.3 + 3 * longest_s))
        with mounted(image, folder / "before") as place:
            said = _record_and_die(fsync, place / "collection", cut, delay, folder, tally)
            _command("cp", "--sparse=always", str(image), str(after))  # at once: the image lacks dirty pages of `place`
        image.unlink()
        image = after
        claims |= {name: rows for name, rows in said.items() if rows == ENDED or fsync == "flush"}
        with mounted(image, folder / "after") as place:
            held = dict(claims)
            found = look_in_fork(partial(look, place / "collection", held), tally)
            if found.lost:
                claims.clear()  # counted once; what is left must stay
            claims |= found.seen
            last = cut == cuts - 1 and (place / "collection").exists()
            if last:
                finish(place / "collection", cuts, claims, tally)
    image.unlink()
    return tally


def _record_and_die(fsync: str, path: Path, run: int, delay_s: float, folder: Path, tally: Tally) -> Claims:
    said = Claims()
    life = Life(partial(record_single, fsync=fsync), path, run, folder / "errors", delay_s)
    wait_for([life], said)
    life.kill(said)
    tally.kills += 1
    tally.repairs += life.opened
    if error := life.error():
        tally.broken.append(error)
    return said


def _command(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        raise Unavailable(f"{words[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{' '.join(words)}: {error.stderr.strip()}") from error

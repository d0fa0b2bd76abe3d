"""Films of recordings, to look at: MP4 for sharing, MP4 without loss, and GIF."""

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from .episode import Episode
from .layout import FRAMES, RecordingError
from .leaves import is_picture_leaf, leaf_spaces, to_columns
from .recording import Recording


def write_film(recording: Recording, episode: Episode, path: Path, fps: float | None = None, *, scale: int = 1,
               picture: str | None = None, lossless: bool = False) -> None:  # fmt: skip
    """Write a film of an episode, one picture per observation.

    Args:
        recording: where the episode is.
        episode: which one.
        path: a new file; `.mp4` or `.gif` says what it becomes.
        fps: pictures per second; None takes the recording's.
        scale: pixels on a side that every pixel becomes.
        picture: which part of the observations to show; see `pictures`.
        lossless: for MP4, see `Mp4File`.

    Raises:
        RecordingError: if the file exists or is no film, there are no pictures, or a package is missing.
    """
    if path.suffix not in (".mp4", ".gif"):
        raise RecordingError(f"a film's name ends with .mp4 or .gif, got {path}")
    if path.exists():
        raise RecordingError(f"{path} exists already: choose another name")
    fps = fps or film_rate(recording)
    if FRAMES in recording.fields:
        frames = as_rgb(recording.frames(episode.start, episode.stop))
    else:
        frames = pictures(recording.observation_space, recording.read(episode).observations, picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        write_gif(path, frames, fps, scale)
    else:
        write_mp4(path, frames, fps, scale, lossless)


def film_rate(recording: Recording) -> float:
    """Pictures per second of a recording.

    Raises:
        RecordingError: if it does not say so.
    """
    if recording.fps is None:
        raise RecordingError(f"{recording.path} does not say how many steps a second has: choose fps=30, for example")
    return recording.fps


def pictures(space: gymnasium.Space[Any], observations: Any, part: str | None = None) -> np.ndarray:
    """The pictures among observations, uint8 [n, H, W, 3].

    Args:
        space: the observation space.
        observations: n values of it, as `Recording.read` gives them.
        part: which part of a Dict or Tuple to take, e.g. `"camera"`; None takes the only picture there is.

    Raises:
        RecordingError: if there is no such picture, or more than one to choose from.
    """
    name = picture_name(space, part)
    return as_rgb(np.asarray(to_columns("observation", space, observations)[name]))


def picture_name(space: gymnasium.Space[Any], part: str | None = None) -> str:
    """Name of the column that holds the pictures; see `pictures`."""
    leaves = leaf_spaces("observation", space)
    found = [name for name, leaf in leaves.items() if is_picture_leaf(leaf)]
    short = [name.removeprefix("observation").removeprefix(".") for name in found]
    if part is not None and part in short:
        return found[short.index(part)]
    if not found:
        raise RecordingError(f"a film needs pictures (uint8 [H, W, 3]), the observations are {space}: export to npz")
    if part is not None:
        raise RecordingError(f"there is no picture {part!r}; choose picture= from {short}")
    if len(found) > 1:
        raise RecordingError(f"there are several pictures: choose picture= from {short}")
    return found[0]


def as_rgb(frames: np.ndarray) -> np.ndarray:
    """Pictures [n, H, W] or [n, H, W, C] as [n, H, W, 3]; grey is repeated, a fourth channel is left out."""
    if frames.ndim == 3:
        frames = frames[..., None]
    return np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames[..., :3]


def enlarge(frame: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel of [H, W, 3] as scale x scale pixels."""
    return frame if scale == 1 else frame.repeat(scale, axis=0).repeat(scale, axis=1)


def make_even(frame: np.ndarray) -> np.ndarray:
    """[H, W, 3] with even sides, as H.264 in yuv420p needs them: the last row or column is repeated."""
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


class Mp4File:
    """An H.264 film, written picture by picture.

    Args:
        path: the file.
        fps: pictures per second.
        lossless: keep every pixel (libx264rgb, High 4:4:4 profile); not every player shows that.
        crf: how coarse a lossy film is, 0 to 51.
        keyframes: a picture that stands alone comes at least every so many.

    Raises:
        RecordingError: if PyAV is not installed.
    """

    def __init__(self, path: Path, fps: float, lossless: bool = False, crf: int = 18, keyframes: int = 60) -> None:
        self._av = _import_av()
        self._fps = Fraction(fps).limit_denominator(1001)
        self._lossless = lossless
        self._options = {"crf": "0" if lossless else str(crf), "g": str(keyframes), "bf": "0"}
        self._container = self._av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream: Any = None
        self.frames = 0

    def add(self, frame: np.ndarray) -> None:
        """Append a picture, uint8 [H, W, 3]; all have one size. Odd sides become even unless lossless."""
        if not self._lossless:
            frame = make_even(frame)
        if self._stream is None:
            self._stream = self._start(*frame.shape[:2])
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = self.frames, 1 / self._fps
        if not self._lossless:
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def _start(self, height: int, width: int) -> Any:
        stream = self._container.add_stream("libx264rgb" if self._lossless else "libx264", rate=self._fps)
        stream.height, stream.width, stream.options = height, width, self._options
        stream.pix_fmt = "rgb24" if self._lossless else "yuv420p"
        stream.codec_context.time_base = 1 / self._fps
        if not self._lossless:  # BT.601 is what readers assume that ignore these marks, e.g. PyAV before 16
            context = stream.codec_context
            context.color_primaries = context.color_trc = 1  # BT.709, as good as sRGB
            context.colorspace, context.color_range = 6, 1  # BT.601 (SMPTE 170M), 16 to 235
        return stream

    def __enter__(self) -> "Mp4File":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_mp4(path: Path, frames: Sequence[np.ndarray] | np.ndarray, fps: float, scale: int = 1,
              lossless: bool = False) -> None:  # fmt: skip
    """Write pictures [n, H, W, 3] as an MP4 of n pictures; see `Mp4File`."""
    with Mp4File(path, fps, lossless) as film:
        for frame in frames:
            film.add(enlarge(frame, scale))


def write_gif(path: Path, frames: Iterable[np.ndarray], fps: float, scale: int = 1) -> None:
    """Write pictures as an endless GIF, each with the 256 colours that suit it.

    A GIF counts time in hundredths of a second; the pictures' times are rounded so that errors do not add up.
    Pictures equal to the one before become one that is shown for longer.
    """
    images = (Image.fromarray(enlarge(frame, scale)) for frame in frames)
    first = next(images)
    rest = list(images)
    first.save(path, "GIF", save_all=True, append_images=rest, duration=_durations(len(rest) + 1, fps), loop=0)


def _durations(n: int, fps: float) -> list[int]:
    """Milliseconds that each of n pictures is shown, whole hundredths of a second, at least one."""
    ends = [round(100 * i / fps) for i in range(n + 1)]
    return [max(10, 10 * (b - a)) for a, b in itertools.pairwise(ends)]


def _import_av() -> Any:
    try:
        import av
    except ImportError:
        raise RecordingError("MP4 needs PyAV: pip install av, or pip install -e '.[export]' in the checkout") from None
    return av

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image
from sample_recordings import MIXED, PICTURE, VECTOR, record

from recorders import open_recording
from recorders.export import ExportConfig, export
from recorders.films import write_film, write_gif, write_mp4


def film(tmp_path, to, observation_space=PICTURE, lengths=(5,), **options):
    record(tmp_path / "first", observation_space, lengths=lengths)
    out = tmp_path / f"film.{to}"
    return export(ExportConfig(path=str(tmp_path / "first"), to=to, out=str(out), episodes=[0], **options))


def decode(path) -> tuple[list[np.ndarray], float, str]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return frames, float(stream.average_rate), stream.pix_fmt


def gif_frames(path) -> list[tuple[np.ndarray, int]]:
    with Image.open(path) as image:
        found = []
        for n in range(image.n_frames):
            image.seek(n)
            found.append((np.asarray(image.convert("RGB")), image.info["duration"]))
        return found


def test_an_mp4_has_a_picture_for_every_observation(tmp_path):
    frames, fps, pix_fmt = decode(film(tmp_path, "mp4", lengths=(20,)))
    assert len(frames) == 21 and fps == 15 and pix_fmt == "yuv420p"


def test_odd_sides_become_even_by_repeating_the_last_row_and_column(tmp_path):
    frames, _, _ = decode(film(tmp_path, "mp4"))
    recorded = open_recording(tmp_path / "first").read(0).observations
    assert frames[0].shape == (36, 34, 3) and recorded.shape[1:] == (36, 33, 3)


def test_a_lossy_mp4_shows_what_was_recorded(tmp_path):
    down, right = np.meshgrid(np.arange(0, 240, 5, np.uint8), np.arange(0, 256, 4, np.uint8), indexing="ij")
    colours = np.stack([down, right, 255 - down], axis=-1)
    write_mp4(tmp_path / "film.mp4", np.stack([colours] * 4), fps=15)
    frames, _, _ = decode(tmp_path / "film.mp4")
    assert np.abs(frames[-1].astype(int) - colours).mean() < 4


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (144, 72, 17)])
def test_colours_are_right_in_a_lossy_mp4(colour, tmp_path):
    write_mp4(tmp_path / "film.mp4", np.full((3, 32, 32, 3), colour, np.uint8), fps=15)
    frames, _, _ = decode(tmp_path / "film.mp4")
    assert np.abs(frames[1].astype(int) - colour).max() <= 6


def test_a_lossless_mp4_has_every_pixel_also_of_odd_sizes(tmp_path):
    frames, _, _ = decode(film(tmp_path, "mp4", lossless=True))
    np.testing.assert_array_equal(np.stack(frames), open_recording(tmp_path / "first").read(0).observations)


def test_a_film_can_be_enlarged_without_blur(tmp_path):
    frames, _, _ = decode(film(tmp_path, "mp4", lossless=True, scale=3))
    recorded = open_recording(tmp_path / "first").read(0).observations
    np.testing.assert_array_equal(frames[2], np.kron(recorded[2], np.ones((3, 3, 1), np.uint8)))


def test_the_rate_can_be_chosen(tmp_path):
    assert decode(film(tmp_path, "mp4", fps=29.97))[1] == pytest.approx(29.97, abs=1e-3)


def test_a_gif_has_a_picture_for_every_observation_and_lasts_as_long(tmp_path):
    found = gif_frames(film(tmp_path, "gif", lengths=(29,), scale=2))
    assert len(found) == 30 and found[0][0].shape == (72, 66, 3)
    assert sum(duration for _, duration in found) == 2000  # 30 pictures at 15 per second


def test_a_gif_of_few_colours_is_exact(tmp_path):
    frames = np.random.default_rng(0).choice(np.array([0, 80, 160, 255], np.uint8), (4, 20, 21, 3))
    write_gif(tmp_path / "film.gif", frames, fps=10)
    np.testing.assert_array_equal(np.stack([frame for frame, _ in gif_frames(tmp_path / "film.gif")]), frames)


def test_equal_pictures_of_a_gif_are_shown_for_longer(tmp_path):
    write_gif(tmp_path / "film.gif", np.zeros((7, 8, 8, 3), np.uint8), fps=10)
    with Image.open(tmp_path / "film.gif") as image:
        assert image.n_frames == 1 and image.info["duration"] == 700


@pytest.mark.parametrize("shape", [(8, 10), (8, 10, 1), (8, 10, 4)])
def test_grey_and_transparent_pictures_become_coloured_ones(shape, tmp_path):
    frames, _, _ = decode(film(tmp_path, "mp4", spaces.Box(0, 255, shape, np.uint8), lossless=True))
    recorded = open_recording(tmp_path / "first").read(0).observations.reshape(6, 8, 10, -1)
    np.testing.assert_array_equal(np.stack(frames), np.repeat(recorded, 3, -1)[..., :3] if len(recorded[0, 0, 0]) == 1
                                  else recorded[..., :3])  # fmt: skip


def test_the_picture_inside_a_dict_is_found(tmp_path):
    frames, _, _ = decode(film(tmp_path, "mp4", MIXED, lossless=True))
    np.testing.assert_array_equal(frames, open_recording(tmp_path / "first").read(0).observations["camera"])


def test_of_two_pictures_one_is_chosen(tmp_path):
    two = spaces.Dict({"left": PICTURE, "right": PICTURE})
    with pytest.raises(ValueError, match=r"several pictures: choose picture= from \['left', 'right'\]"):
        film(tmp_path, "mp4", two)
    (tmp_path / "b").mkdir()
    frames, _, _ = decode(film(tmp_path / "b", "mp4", two, lossless=True, picture="right"))
    np.testing.assert_array_equal(frames, open_recording(tmp_path / "b" / "first").read(0).observations["right"])
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match="there is no picture 'up'"):
        film(tmp_path / "c", "mp4", two, picture="up")


def test_one_episode_is_filmed_where_asked(tmp_path):
    recording = open_recording(record(tmp_path / "first"))
    path = tmp_path / "films" / "second.gif"
    write_film(recording, recording.episodes[1], path, fps=10)
    assert len(gif_frames(path)) == 4
    with pytest.raises(ValueError, match="exists already"):
        write_film(recording, recording.episodes[1], path)
    with pytest.raises(ValueError, match=r"a film's name ends with .mp4 or .gif"):
        write_film(recording, recording.episodes[1], tmp_path / "film.avi")


def test_there_is_no_film_of_numbers(tmp_path):
    with pytest.raises(ValueError, match="a film needs pictures"):
        film(tmp_path, "gif", VECTOR)


def test_every_episode_has_its_own_film(tmp_path):
    record(tmp_path / "first", lengths=(2, 3, 1))
    out = export(ExportConfig(path=str(tmp_path / "first"), to="mp4", out=str(tmp_path / "films"), episodes=[0, 2]))
    assert [path.name for path in sorted(out.iterdir())] == ["episode_000000.mp4", "episode_000002.mp4"]
    assert [len(decode(path)[0]) for path in sorted(out.iterdir())] == [3, 2]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ValueError, match=r"MP4 needs PyAV: pip install av, or pip install -e '.\[export\]'"):
        film(tmp_path, "mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["first"]

import numpy as np
import pytest
from PIL import Image

from envs.canvas import Canvas
from envs.film import Film
from envs.hud import Hud


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_a_frame_is_enlarged_by_a_whole_number_and_nothing_else():
    frame = noise((20, 16, 3))
    picture = Canvas(frame.shape, 3).draw(frame, [])
    assert (picture[:60:3, ::3] == frame).all()
    assert (picture[:60].reshape(20, 3, 16, 3, 3) == frame[:, None, :, None]).all()


def test_text_stands_below_the_picture_and_inside_it():
    frame = np.zeros((64, 64, 3), np.uint8)
    canvas = Canvas(frame.shape, 4)
    bare, full = canvas.draw(frame, []), canvas.draw(frame, ["x" * 30, "y" * 60, "help"])
    assert bare.shape == full.shape == (canvas.size[1], canvas.size[0], 3)
    changed = (bare != full).any(-1)
    assert changed.any()
    assert not changed[:256].any()
    assert not changed[:, -2:].any()


def test_a_film_lasts_as_long_as_the_game_did(tmp_path):
    film = Film((16, 16, 3), 2)
    for seed in range(30):
        film.show(noise((16, 16, 3), seed), ["frame"])
    film.write(tmp_path / "play.gif", fps=15)
    with Image.open(tmp_path / "play.gif") as gif:
        assert gif.n_frames == 30
        lasts = []
        for index in range(30):
            gif.seek(index)
            lasts.append(gif.info["duration"])
    assert sum(lasts) == 2000


def test_an_empty_film_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing was shown"):
        Film((16, 16, 3), 1).write(tmp_path / "play.gif", fps=15)


def test_the_hud_counts_from_the_reset_on():
    hud = Hud("Pong-v0", 15, "help")
    for index, reward in enumerate([1.0, -1.0, 1.0]):
        hud.add(reward, 12.34, now=index / 10)
    speed, game, help = hud.lines()
    assert speed == "Pong-v0   10.0 of 15 fps   step 12.3 ms"
    assert game == "reward +1   score +1   frame 3"
    assert help == "help"
    hud.begin()
    assert hud.score == 0
    assert hud.frames == 0

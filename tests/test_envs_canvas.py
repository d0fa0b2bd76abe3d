import numpy as np
import pytest
from PIL import Image

from envs.canvas import Canvas
from envs.film import Film
from envs.hud import Hud
from envs.scene import Scene, Track


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_a_frame_is_enlarged_by_a_whole_number_and_nothing_else():
    frame = noise((20, 16, 3))
    picture = Canvas(frame.shape, 3).draw(Scene(frame))
    assert (picture[:60:3, ::3] == frame).all()
    assert (picture[:60].reshape(20, 3, 16, 3, 3) == frame[:, None, :, None]).all()


def test_text_stands_below_the_picture_and_inside_it():
    frame = np.zeros((64, 64, 3), np.uint8)
    canvas = Canvas(frame.shape, 4)
    bare, full = canvas.draw(Scene(frame)), canvas.draw(Scene(frame, ("x" * 30, "y" * 60, "message", "help")))
    assert bare.shape == full.shape == (canvas.size[1], canvas.size[0], 3)
    changed = (bare != full).any(-1)
    assert changed.any()
    assert not changed[:256].any()
    assert not changed[:, -2:].any()


def test_a_film_lasts_as_long_as_the_game_did(tmp_path):
    film = Film((16, 16, 3), 2)
    for seed in range(30):
        film.show(Scene(noise((16, 16, 3), seed), ("frame",)))
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


def test_a_page_of_text_covers_the_picture_and_nothing_below_it():
    frame = noise((64, 64, 3))
    canvas = Canvas(frame.shape, 4)
    page = tuple(f"{n}: what key {n} does" for n in range(30))
    bare, full = canvas.draw(Scene(frame)), canvas.draw(Scene(frame, page=page))
    assert bare.shape == full.shape
    assert full[:256].mean() < bare[:256].mean() / 2
    assert (full[:256] > 150).any()
    assert (full[256:] == bare[256:]).all()


def test_branches_are_drawn_from_where_they_leave_to_their_end():
    canvas = Canvas((64, 64, 3), 4)
    frame = np.zeros((64, 64, 3), np.uint8)
    tracks = (Track(0, 100, False), Track(50, 80, True))
    picture = canvas.draw(Scene(frame, tracks=tracks, cursor=60))[256 : 256 + canvas._map].astype(int)
    rows = [picture[row * (canvas._map // 5)] for row in range(2)]
    faint, bright = ((row == colour).all(-1) for row, colour in zip(rows, ((96, 96, 104), (240, 170, 60)), strict=True))
    assert faint.all()  # the longest fills the width
    columns = np.flatnonzero(bright)
    assert columns.min() == round(0.5 * 255) and columns.max() == round(0.8 * 255)
    assert (rows[1][round(0.6 * 255)] == (214, 214, 208)).all()  # the cursor


def test_the_branch_that_is_played_is_shown_however_many_came_after_it():
    canvas = Canvas((64, 64, 3), 4)
    tracks = tuple(Track(0, 10, number == 0) for number in range(12))
    picture = canvas.draw(Scene(np.zeros((64, 64, 3), np.uint8), tracks=tracks))
    assert (picture[256 : 256 + canvas._map] == (240, 170, 60)).all(-1).any()


def test_the_hud_names_speed_latency_score_and_what_happened():
    hud = Hud("Pong-v0", 15, "help")
    for index in range(3):
        hud.add(1.0, 12.34, 20.0, now=index / 10)
    hud.score, hud.step, hud.seed, hud.status, hud.message = 1.0, 3, 7, "paused", "saved"
    hud.guessed, hud.dropped, hud.real_score = 0.5, 2, -1.0
    assert hud.lines() == (
        "Pong-v0   10.0 of 15 fps   guessed 50%   2 dropped",
        "step p50 12.3 p99 12.3 ms   keys to picture p50 20.0 p99 20.0 ms",
        "score +1   real -1   reward +1   frame 3   seed 7", "paused", "saved", "help")  # fmt: skip
    hud.score, hud.real_score = 12345.0, sum([0.1] * 3) - 1
    assert hud.lines()[2].startswith("score +12345   real -0.7   reward +1 ")
    hud.idle()
    assert hud.fps == 0

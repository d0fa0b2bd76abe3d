import numpy as np
import pytest

from recorders import BreakoutPlayer, game_for, make_game
from world_model.breakout_objects import BreakoutObjects, valid_picture

GREY, RED, TEAL = (142, 142, 142), (200, 72, 72), (66, 158, 130)
ROWS = [RED, (198, 108, 58), (180, 122, 48), (162, 162, 42), (72, 160, 72), (66, 72, 200)]
GLYPHS = {"0": "####.##.##.####", "1": ".#..#..#..#..#.", "2": "###..#####..###", "5": "####..###..####",
          "7": "###..#..#..#..#"}  # fmt: skip


def draw(paddle=50, width=16, ball=(40, 140), gone=(), score="000", lives="5", extra=()):
    """A picture drawn as the game does, 208 x 160, then averaged to half size; places in game pixels."""
    picture = np.zeros((208, 160, 3), np.float64)
    for row, colour in enumerate(ROWS):
        picture[56 + 6 * row : 62 + 6 * row, 8:152] = colour
    for row, column in gone:
        picture[56 + 6 * row : 62 + 6 * row, 8 + 8 * column : 16 + 8 * column] = 0
    picture[188:192, paddle : paddle + width] = RED
    for left, top, wide, high, colour in [*([] if ball is None else [(*ball, 2, 4, RED)]), *extra]:
        picture[top : top + high, left : left + wide] = colour
    picture[16:31], picture[31:188, :8], picture[31:188, 152:] = GREY, GREY, GREY
    picture[188:195, :8], picture[188:195, 152:] = TEAL, RED
    for text, left in ((score[0], 36), (score[1], 52), (score[2], 68), (lives, 100)):
        for i, mark in enumerate(GLYPHS.get(text, "#" * 15)):
            if mark == "#":
                picture[4 + 2 * (i // 3) : 6 + 2 * (i // 3), left + 4 * (i % 3) : left + 4 * (i % 3) + 4] = GREY
    return picture.reshape(104, 2, 80, 2, 3).mean((1, 3)).round().astype(np.uint8)


@pytest.fixture(scope="module")
def real():
    """400 frames of the real game, well played; with what it said: lives and the sum of rewards."""
    env, player, rng = make_game(game_for("ALE/Breakout-v5")), BreakoutPlayer(), np.random.default_rng(0)
    frame, _ = env.reset(seed=0)
    player.reset(rng)
    frames, scores, lives, score = [], [], [], 0
    for _ in range(400):
        frame, reward, _, _, info = env.step(player.act(frame, rng))
        score += int(reward)
        frames.append(frame), scores.append(score), lives.append(info["lives"])
    return np.stack(frames), np.array(scores), np.array(lives)


@pytest.mark.parametrize("y", [34, 51, 120, 183])
@pytest.mark.parametrize("x", [8, 33, 80, 149])
def test_a_ball_is_found_to_a_fraction_of_a_pixel(x, y):
    objects = BreakoutObjects.read(draw(ball=(x, y)))
    assert objects.ball
    assert objects.ball_x == pytest.approx((x + 1) / 2, abs=0.05)
    assert objects.ball_y == pytest.approx((y + 2) / 2, abs=0.05)


def test_a_ball_is_found_where_bricks_have_been():
    objects = BreakoutObjects.read(draw(ball=(33, 69), gone=[(2, 3)]))
    assert (objects.bricks, bool(objects.wall[2, 3])) == (107, False)
    assert (objects.ball_x, objects.ball_y) == (pytest.approx(17, abs=0.3), pytest.approx(35.5, abs=0.3))


@pytest.mark.parametrize(("left", "width"), [(8, 16), (71, 16), (100, 8), (140, 16), (144, 16)])
def test_the_paddle_is_found_also_where_the_wall_hides_a_part(left, width):
    found = BreakoutObjects.read(draw(paddle=left, width=width)).paddle_x
    assert found == pytest.approx((left + width / 2) / 2, abs=0.3)


def test_bricks_digits_and_what_is_not_there():
    gone = [(0, 0), (5, 17), (3, 8)]
    objects = BreakoutObjects.read(draw(ball=None, gone=gone, score="127", lives="2"))
    assert not objects.ball and np.isnan(objects.ball_x) and np.isnan(objects.ball_y)
    assert {(r, c) for r, c in np.argwhere(~objects.wall)} == set(gone)
    assert (objects.bricks, objects.score, objects.lives) == (105, 127, 2)
    blank = BreakoutObjects.read(np.zeros((104, 80, 3), np.uint8))
    assert (blank.bricks, blank.score, blank.lives, bool(blank.ball)) == (0, -1, -1, False)
    assert np.isnan(blank.paddle_x)


WRONG = {
    "two balls": {"extra": [(100, 150, 2, 4, RED)]},
    "a ball that is a smear": {"extra": [(42, 140, 8, 4, RED)]},
    "two paddles": {"extra": [(110, 188, 16, 4, RED)]},
    "a long paddle": {"width": 30},
    "half a brick": {"extra": [(48, 74, 4, 6, (0, 0, 0))]},
    "no digit": {"lives": "?"},
    "a hole in the wall": {"extra": []},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_no_picture_of_breakout(name):
    frame = draw(**WRONG[name])
    if name == "a hole in the wall":
        frame[20:30, :4] = 0
    assert not valid_picture(frame)


def test_pictures_as_they_are_drawn_are_valid():
    frames = np.stack([draw(), draw(ball=None), draw(gone=[(5, 3)], score="001"), draw(width=8), draw(paddle=144)])
    assert valid_picture(frames).all()


def test_the_real_game_is_read_as_it_says(real):
    frames, scores, lives = real
    objects = BreakoutObjects.read(frames)
    assert valid_picture(frames).mean() > 0.97
    assert (objects.score == scores).mean() > 0.95  # a digit changes a frame late
    assert (objects.lives == lives).mean() > 0.98
    assert objects.ball.mean() > 0.8
    assert (np.diff(objects.bricks) <= 0).all() and objects.bricks[-1] == 108 - (np.diff(objects.bricks) < 0).sum()
    assert scores[-1] > 5


def test_frames_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="Objects are read from uint8"):
        BreakoutObjects.read(np.zeros((2, 64, 64, 3), np.uint8))

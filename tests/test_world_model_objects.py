import numpy as np
import pytest

from recorders import PongPlayer, game_for, make_game
from world_model.objects import PongObjects, valid_picture

BACKGROUND, WHITE, GREEN, ORANGE = (144, 72, 17), (236, 236, 236), (92, 186, 92), (213, 130, 74)


def draw(own=100, opponent=60, ball=(80, 90), extra=()):
    """A picture drawn as the game does, 208 x 160, then averaged to half size; tops of objects in game pixels."""
    picture = np.empty((208, 160, 3), np.float64)
    picture[:] = BACKGROUND
    picture[4:20, 20:28], picture[4:20, 116:124] = ORANGE, GREEN
    for top, left, height, width, colour in [(own, 140, 16, 4, GREEN), (opponent, 16, 16, 4, ORANGE), *extra]:
        if top is not None:
            picture[max(top, 34) : max(top + height, 34), left : left + width] = colour
    if ball is not None:
        picture[ball[1] : ball[1] + 4, ball[0] : ball[0] + 2] = WHITE
    picture[24:34] = picture[194:] = WHITE
    return picture.reshape(104, 2, 80, 2, 3).mean((1, 3)).round().astype(np.uint8)


@pytest.fixture(scope="module")
def real():
    """300 frames of the real game, well played; the first is left out, it has other colours."""
    env, player, rng = make_game(game_for("ALE/Pong-v5")), PongPlayer(), np.random.default_rng(0)
    frame, _ = env.reset(seed=0)
    frames = []
    for _ in range(300):
        frame, *_ = env.step(player.act(frame, rng))
        frames.append(frame)
    return np.stack(frames)


@pytest.mark.parametrize("y", [34, 35, 90, 101, 190])
@pytest.mark.parametrize("x", [2, 33, 80, 133, 150])
def test_a_ball_is_found_to_a_fraction_of_a_pixel(x, y):
    objects = PongObjects.read(draw(ball=(x, y)))
    assert objects.ball
    assert objects.ball_x == pytest.approx((x + 1) / 2, abs=0.02)
    assert objects.ball_y == pytest.approx((y + 2) / 2, abs=0.02)


@pytest.mark.parametrize("top", [34, 35, 100, 177, 178])
def test_paddles_are_found_to_a_fraction_of_a_pixel(top):
    objects = PongObjects.read(draw(own=top, opponent=top))
    assert objects.own_y == pytest.approx((top + 8) / 2, abs=0.02)
    assert objects.opponent_y == pytest.approx((top + 8) / 2, abs=0.02)


@pytest.mark.parametrize("top", [22, 29, 181, 190])
def test_a_paddle_behind_a_wall_is_where_its_visible_edge_says(top):
    assert PongObjects.read(draw(own=top)).own_y == pytest.approx((top + 8) / 2, abs=0.05)


def test_what_is_not_there_is_nan():
    objects = PongObjects.read(draw(ball=None, opponent=None))
    assert not objects.ball
    assert np.isnan(objects.ball_x) and np.isnan(objects.ball_y) and np.isnan(objects.opponent_y)
    assert np.isfinite(objects.own_y)


def test_a_batch_is_read_as_its_pictures_are():
    frames = np.stack([draw(own=40 + 3 * i, ball=(20 + 3 * i, 60)) for i in range(30)])
    batch = PongObjects.read(frames)
    singles = [PongObjects.read(frame) for frame in frames]
    assert batch.own_y.shape == (30,)
    assert np.array_equal(batch.own_y, [single.own_y for single in singles])
    assert np.array_equal(batch.ball_x, [single.ball_x for single in singles])


def test_nothing_is_read_from_no_pictures():
    assert PongObjects.read(np.zeros((0, 104, 80, 3), np.uint8)).own_y.shape == (0,)


def test_small_colour_errors_move_objects_by_little(real):
    rng = np.random.default_rng(0)
    noisy = np.clip(real + rng.normal(0, 6, real.shape), 0, 255).astype(np.uint8)
    clean, seen = PongObjects.read(real), PongObjects.read(noisy)
    assert (clean.ball == seen.ball).mean() > 0.99
    assert np.nanmedian(np.abs(clean.ball_x - seen.ball_x)) < 0.2
    assert np.nanmax(np.abs(clean.own_y - seen.own_y)) < 0.5
    assert valid_picture(noisy).mean() > 0.97


def test_real_pictures_are_valid_and_have_what_the_game_has(real):
    assert valid_picture(real).mean() >= 0.995
    objects = PongObjects.read(real)
    assert objects.score.all()
    assert not np.isnan(objects.own_y).any()
    assert np.nanmin(objects.own_y) >= 13 and np.nanmax(objects.own_y) <= 101
    assert 0.5 < objects.ball.mean() < 1


def test_blank_noisy_and_shifted_pictures_are_not_valid(real):
    rng = np.random.default_rng(0)
    assert not valid_picture(np.zeros((104, 80, 3), np.uint8))
    assert not valid_picture(np.full((104, 80, 3), BACKGROUND, np.uint8))
    assert not valid_picture(rng.integers(0, 256, (50, 104, 80, 3), np.uint8)).any()
    for axis in (1, 2):
        for step in (-2, -1, 1, 2):
            assert not valid_picture(np.roll(real[:50], step, axis)).any()


def test_blended_pictures_are_not_valid():
    blend = (draw(own=60).astype(int) + draw(own=100)) // 2
    assert not valid_picture(blend.astype(np.uint8))
    blend = (draw(ball=(60, 60)).astype(int) + draw(ball=(68, 68))) // 2
    assert not valid_picture(blend.astype(np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        draw(own=None),
        draw(extra=[(150, 140, 16, 4, GREEN)]),
        draw(own=90, extra=[(106, 140, 16, 4, GREEN)]),
        draw(extra=[(150, 16, 16, 4, ORANGE)]),
        draw(extra=[(150, 60, 4, 2, WHITE)]),
        draw(extra=[(150, 60, 30, 20, (0, 0, 0))]),
    ],
    ids=["no own paddle", "two own paddles", "a long paddle", "two opponents", "two balls", "a black patch"],
)
def test_impossible_pictures_are_not_valid(wrong):
    assert valid_picture(draw())
    assert not valid_picture(wrong)


@pytest.mark.parametrize("frames", [np.zeros((64, 64, 3), np.uint8), np.zeros((104, 80, 3), np.float32)])
def test_other_pictures_are_refused(frames):
    with pytest.raises(ValueError, match=r"uint8 \[..., 104, 80, 3\], got"):
        PongObjects.read(frames)

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from recorders import FrameConfig, PreprocessFrames


class Still(gymnasium.Env):
    """Shows one picture for ever."""

    def __init__(self, picture):
        self.picture = picture
        self.observation_space = Box(0, 255, picture.shape, picture.dtype)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.picture.copy(), {}

    def step(self, action):
        return self.picture.copy(), 0.0, False, False, {}


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_every_pixel_is_the_mean_of_the_area_it_covers():
    picture = noise(210, 160)
    env = PreprocessFrames(Still(picture), FrameConfig())
    mean = picture[:208].reshape(104, 2, 80, 2, 3).mean((1, 3))
    frame, _ = env.reset()
    assert np.abs(frame - mean).max() <= 1  # rounded once per direction
    assert frame.dtype == np.uint8
    assert frame in env.observation_space


def test_the_crop_is_top_bottom_left_right():
    picture = noise(40, 30)
    env = PreprocessFrames(Still(picture), FrameConfig(size=[20, 10], crop=[5, 25, 12, 22]))
    assert (env.reset()[0] == picture[5:25, 12:22]).all()


def test_no_crop_keeps_the_whole_picture():
    picture = noise(40, 30)
    env = PreprocessFrames(Still(picture), FrameConfig(size=[40, 30], crop=None))
    assert (env.reset()[0] == picture).all()


def test_two_observations_never_share_memory():
    env = PreprocessFrames(Still(noise(210, 160)), FrameConfig())
    first, _ = env.reset()
    second = env.step(0)[0]
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize("size", [[104], [0, 80], [1, 2, 3]])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(ValueError, match="size must be"):
        FrameConfig(size=size)


@pytest.mark.parametrize("crop", [[0, 0, 0, 10], [-1, 5, 0, 5], [0, 5, 7, 5], [1, 2]])
def test_an_impossible_crop_is_refused(crop):
    with pytest.raises(ValueError, match="crop must be"):
        FrameConfig(crop=crop)


def test_a_crop_beyond_the_picture_is_refused_with_its_size():
    with pytest.raises(ValueError, match="100 x 90 pixels; use at most"):
        PreprocessFrames(Still(noise(100, 90)), FrameConfig())


def test_other_observations_are_refused():
    with pytest.raises(ValueError, match="uint8 \\[H, W, 3\\]"):
        PreprocessFrames(Still(np.zeros((210, 160), np.uint8)), FrameConfig())

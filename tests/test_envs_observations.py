"""Observation kwargs: size, grey, number format, stack. The reference averages exact fractions, pixel by pixel."""

from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from envs.observations import Observations

RNG = np.random.default_rng(0)


def seen_by(observations, pictures):
    """Observations of pictures uint8 [B, K, H, W, 3] as numpy."""
    return observations.of(torch.from_numpy(pictures)).numpy()


def rounded(value: Fraction) -> int:
    return int(value + Fraction(1, 2))


def mean_of_area(picture, row, column, height, width) -> Fraction:
    """Mean of what pixel (row, column) of a height x width picture covers of `picture` [H, W], slow and obvious."""
    total = Fraction(0)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            tall = min(Fraction((row + 1) * picture.shape[0], height), y + 1) - max(
                Fraction(row * picture.shape[0], height), y)  # fmt: skip
            wide = min(Fraction((column + 1) * picture.shape[1], width), x + 1) - max(
                Fraction(column * picture.shape[1], width), x)  # fmt: skip
            total += max(tall, Fraction(0)) * max(wide, Fraction(0)) * Fraction(picture[y, x])
    return total * height * width / (picture.shape[0] * picture.shape[1])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_every_pixel_is_the_exact_mean_of_its_area_rounded_once(height, width, rows, columns, grayscale, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    seen = seen_by(Observations(picture.shape, (rows, columns), grayscale), picture[None, None])[0]
    planes = [picture[..., c].astype(object) for c in range(3)]
    if grayscale:
        planes = [sum(Fraction(part, 1000) * plane for part, plane in zip((299, 587, 114), planes, strict=True))]
    expected = [[[rounded(mean_of_area(plane, r, c, rows, columns)) for plane in planes] for c in range(columns)]
                for r in range(rows)]  # fmt: skip
    assert seen.dtype == np.uint8
    assert seen.tolist() == (np.array(expected)[..., 0].tolist() if grayscale else expected)


def test_whole_factors_and_grey_are_those_of_pillow_up_to_one_level():
    """The recorders shrink by whole factors with Pillow's BOX, which rounds in between."""
    picture = RNG.integers(0, 256, (104, 80, 3), np.uint8)
    for height, width in [(52, 40), (26, 16)]:
        small = seen_by(Observations(picture.shape, (height, width)), picture[None, None])[0]
        pillow = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))
        assert np.abs(small.astype(int) - pillow).max() <= 1
    grey = seen_by(Observations(picture.shape, grayscale=True), picture[None, None])[0]
    assert np.abs(grey.astype(int) - np.asarray(Image.fromarray(picture).convert("L"))).max() <= 1


@pytest.mark.parametrize("kwargs", [{}, {"size": (104, 80)}, {"size": [84, 84], "grayscale": True, "frame_stack": 4}])
def test_a_batch_is_seen_as_its_pictures_one_by_one(kwargs):
    pictures = RNG.integers(0, 256, (5, 4, 104, 80, 3), np.uint8)
    observations = Observations((104, 80, 3), **kwargs)
    batch = seen_by(observations, pictures)
    assert batch.tobytes() == np.concatenate([seen_by(observations, pictures[i : i + 1]) for i in range(5)]).tobytes()


def test_without_arguments_the_last_picture_is_seen_as_it_is_in_an_array_of_its_own():
    pictures = RNG.integers(0, 256, (2, 3, 8, 6, 3), np.uint8)
    observations = Observations((8, 6, 3))
    assert observations.space == gym.spaces.Box(0, 255, (8, 6, 3), np.uint8)
    seen = seen_by(observations, pictures)
    assert (seen == pictures[:, -1]).all()
    assert not np.shares_memory(seen, pictures)
    assert observations.kwargs() == {}


def test_float32_is_uint8_divided_by_255():
    pictures = RNG.integers(0, 256, (2, 1, 8, 6, 3), np.uint8)
    seen = seen_by(Observations((8, 6, 3), (4, 5), obs_dtype="float32"), pictures)
    assert seen.dtype == np.float32
    assert (seen == seen_by(Observations((8, 6, 3), (4, 5)), pictures) / np.float32(255)).all()


@pytest.mark.parametrize("size", [None, (5, 9)])
@pytest.mark.parametrize("grayscale", [False, True])
@pytest.mark.parametrize("obs_dtype", ["uint8", "float32"])
@pytest.mark.parametrize("frame_stack", [1, 3])
def test_the_space_fits_every_combination(size, grayscale, obs_dtype, frame_stack):
    given = {"size": size, "grayscale": grayscale, "obs_dtype": obs_dtype, "frame_stack": frame_stack}
    observations = Observations((8, 6, 3), **given)
    pictures = RNG.integers(0, 256, (2, 3, 8, 6, 3), np.uint8)
    seen = seen_by(observations, pictures)
    for one in seen:
        assert observations.space.contains(one)
    one = (*(size or (8, 6)), *(() if grayscale else (3,)))
    assert observations.space.shape == (one if frame_stack == 1 else (frame_stack, *one))
    if frame_stack > 1:
        alone = Observations((8, 6, 3), **{**given, "frame_stack": 1})
        assert all((seen[:, t] == seen_by(alone, pictures[:, : t + 1])).all() for t in range(3))
    again = Observations((8, 6, 3), **observations.kwargs())
    assert again.space == observations.space


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 84}, r"size must be \(height, width\), both at least 1 pixel, got 84"),
        ({"size": (84,)}, "size must be"),
        ({"size": (0, 84)}, "size must be"),
        ({"size": (84.0, 84)}, "size must be"),
        ({"size": "84"}, "size must be"),
        ({"grayscale": 1}, "grayscale must be True or False, got 1"),
        ({"obs_dtype": "float64"}, r"obs_dtype must be one of \['uint8', 'float32'\], got 'float64'"),
        ({"obs_dtype": None}, "obs_dtype must be"),
        ({"frame_stack": 0}, "frame_stack must be an integer of at least 1, got 0"),
        ({"frame_stack": 1.5}, "frame_stack must be"),
        ({"frame_stack": True}, "frame_stack must be"),
    ],
)
def test_bad_arguments_are_answered_with_what_was_expected_and_what_came(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Observations((8, 6, 3), **kwargs)

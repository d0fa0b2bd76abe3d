"""Strips of pictures are laid out as they say and stay small."""

import base64
import io

import numpy as np
from PIL import Image

from world_model.film_strip import comparison_strip, encoded


def test_the_real_game_is_above_the_world_at_every_horizon() -> None:
    real = np.tile(np.arange(16, dtype=np.uint8)[None, :, None, None, None], (3, 1, 4, 5, 3))
    over = np.zeros((3, 16), bool)
    over[0, 3:] = True  # such a start is not shown while there are others
    found = comparison_strip(real, real + 100, over, starts=2)
    assert found.shape == (4 * 5, 4 * 6, 3)  # two starts, a line below and beside each picture
    assert found[0, ::6, 0].tolist() == [0, 3, 7, 15] and found[5, ::6, 0].tolist() == [100, 103, 107, 115]


def test_a_picture_is_made_small_enough() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 2000, 3), np.uint8)
    data = base64.b64decode(encoded(noise))
    assert len(data) <= 50_000 and Image.open(io.BytesIO(data)).width < 1200


def test_a_plain_picture_keeps_its_size_and_colours() -> None:
    plain = np.zeros((104, 320, 3), np.uint8)
    plain[40:48, 70:72] = (92, 186, 92)
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded(plain)))).convert("RGB")) == plain).all()

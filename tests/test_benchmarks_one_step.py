"""What `benchmarks.one_step` says happens in a frame."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.one_step import OneStepConfig, kinds_of
from world_model.objects import PongObjects


def test_every_frame_is_of_the_kind_its_ball_says() -> None:
    x = np.array([np.nan, 10, 12, 14, 12, 10, 8, 6, np.nan, np.nan, 40, 42])
    y = np.array([np.nan, 50, 51, 52, 53, 54, 53, 52, np.nan, np.nan, 50, 50])
    nothing = np.full(len(x), np.nan)
    objects = PongObjects(own_y=nothing, opponent_y=nothing, ball_x=x, ball_y=y, ball=~np.isnan(x),
                          score=np.ones(len(x), bool))
    whole = SimpleNamespace(episodes=[SimpleNamespace(start=0, stop=len(x))])
    assert kinds_of(whole, objects, 0).tolist() == [
        "no ball", "appears", "second frame", "flight", "off a paddle", "flight", "off a wall", "flight", "leaves",
        "no ball", "appears", "second frame"]
    halves = SimpleNamespace(episodes=[SimpleNamespace(start=0, stop=6), SimpleNamespace(start=6, stop=len(x))])
    assert (kinds_of(halves, objects, 3) == "").tolist() == [True] * 3 + [False] * 3 + [True] * 3 + [False] * 3


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="frames must be at least 1, got 0"):
        OneStepConfig(data="recording", frames=0)

"""The arithmetic that is reported, against torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.test_world_model_model import random_clip, random_model, tiny
from world_model import WorldModelConfig
from world_model.flops import frame_flops, training_flops


@pytest.mark.parametrize("config", [tiny(window=3), WorldModelConfig()])
def test_a_training_step_costs_what_is_reported(config: WorldModelConfig) -> None:
    model, (x, levels, actions) = random_model(config, torch.float32), random_clip(config, 5, torch.float32)
    with FlopCounterMode(display=False) as counter:
        drawn, tokens = model.forward_teacher(x[:, :-1], x[:, 1:], levels[:, 1:], actions)
        (drawn.sum() + tokens.sum()).backward()
    assert counter.get_total_flops() == pytest.approx(training_flops(config, 2, 4), rel=0.15)


def test_drawing_a_frame_costs_more_than_committing_it() -> None:
    config = WorldModelConfig()
    assert frame_flops(config) > frame_flops(config, draw=False) > 0.2e9

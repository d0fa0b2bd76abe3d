"""What counts in a drawn picture."""

import torch

from world_model.losses import LossConfig, motion_weight, picture_loss, rarity_weight


def test_pixels_that_moved_count_more() -> None:
    before = torch.full((1, 2, 2, 3), 100, dtype=torch.uint8)
    now = before.clone()
    now[0, 0, 1, 2] = 120
    now[0, 1, 0, 0] = 103  # below the threshold of 5
    assert motion_weight(now, before, LossConfig(motion=8.0))[0, ..., 0].tolist() == [[1, 9], [1, 1]]


def test_places_where_little_happens_count_more() -> None:
    spread = torch.zeros(1, 2, 3)
    spread[0, 1] = torch.tensor([0.1, 0.18, 0.0])
    weight = rarity_weight(spread, LossConfig(rarity=0.02))[0, :, 0]
    assert torch.isclose(weight[0] / weight[1], torch.tensor(10.0)) and torch.isclose(weight.mean(), torch.tensor(1.0))


def test_clean_frames_cost_nothing_and_weights_multiply_squares() -> None:
    target = torch.zeros(1, 2, 1, 1, 3)
    weight, times = torch.full((1, 2, 1, 1, 1), 3.0), torch.tensor([[0.0, 0.5]])
    errors = picture_loss(target + 2, target, weight, times, LossConfig())
    assert errors.tolist() == [[0, 12]]

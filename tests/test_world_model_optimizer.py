"""Muon beside torch's own, which iterates in bfloat16."""

import pytest
import torch

from world_model.optimizer import WholeMuon, orthogonal


@pytest.mark.parametrize("shape", [(64, 32), (48, 432), (40, 40)])
def test_updates_are_those_of_torch_up_to_its_rounding(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    settings = {"lr": 2e-3, "weight_decay": 0.02, "adjust_lr_fn": "match_rms_adamw"}
    pair = [(ours, WholeMuon([ours], **settings)), (theirs, torch.optim.Muon([theirs], **settings))]
    for _ in range(5):
        gradient = torch.randn(shape)
        for parameter, optimizer in pair:
            parameter.grad = gradient.clone()
            optimizer.step()
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


@pytest.mark.parametrize("shape", [(24, 60), (60, 24)])
def test_singular_values_become_alike(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape), (3.4445, -4.775, 2.0315), 5).float())
    assert values.min() > 0.6 and values.max() < 1.25

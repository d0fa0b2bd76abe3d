"""The decoder: what it reads, how far it looks, and where it begins."""

import pytest
import torch
from torch import Tensor

from world_model.competition import Competition
from world_model.decoder import Convolution, PixelDecoder, _fold, _unfold

PURE = torch.ones(2)
"""levels of two pictures of noise"""


def decoder(history: int = 2) -> PixelDecoder:
    torch.manual_seed(0)
    return PixelDecoder((2, 2), [48, 48], dim=16, history=history, canvas=2, channels=8, condition_dim=4).double()


def pictures(history: int = 2) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    seen = [torch.randn(2, 3, 96, 96, 3, generator=generator).double() for _ in range(1 + history)]
    tokens = torch.randn(2, 3, 4, 16, generator=generator).double()
    condition = torch.randn(2, 3, 4, generator=generator).double()
    return tokens, seen, torch.zeros(96, 96, 3).double(), condition, torch.full((2, 3), 0.5).double()


def test_folding_keeps_neighbours_together_and_is_undone() -> None:
    x = torch.arange(4 * 6 * 3).reshape(1, 4, 6, 3)
    folded = _fold(x)
    assert folded.shape == (1, 2, 3, 12)
    assert folded[0, 1, 2].reshape(2, 2, 3).equal(x[0, 2:, 4:])
    assert _unfold(folded).equal(x)


def test_a_convolution_is_the_plain_one_of_torch() -> None:
    layer = Convolution(3, 5, dilation=2)
    kernel = layer.weight.reshape(5, 3, 3, 3).permute(0, 3, 1, 2)  # the matrix runs over rows, columns, channels
    x = torch.randn(2, 3, 9, 7)
    assert torch.allclose(layer(x), torch.nn.functional.conv2d(x, kernel, layer.bias, padding=2, dilation=2), atol=1e-6)


def test_an_untrained_decoder_repeats_the_frame_before() -> None:
    tokens, seen, mean, condition, levels = pictures()
    assert decoder()(tokens, seen, mean, condition, levels).equal(seen[1])
    assert decoder(0)(tokens, seen[:1], mean, condition, levels).abs().max() == 0


def test_it_looks_twenty_pixels_far_and_mixes_no_frames() -> None:
    model = decoder()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    tokens, seen, mean, condition, levels = pictures()
    before = model(tokens, seen, mean, condition, levels)
    seen[2] = seen[2].clone()
    seen[2][1, 1, 48, 48] += 3
    changed = (model(tokens, seen, mean, condition, levels) != before).any(-1)
    assert changed[1, 1].any() and not changed[0].any() and not changed[1, [0, 2]].any()
    rows, columns = changed[1, 1].nonzero().unbind(1)
    assert (int(rows.min()), int(rows.max())) == (48 - 20, 48 + 21)  # places come in squares of 2 x 2
    assert (int(columns.min()), int(columns.max())) == (48 - 20, 48 + 21)


def test_a_token_speaks_to_its_own_patch_first() -> None:
    said = decoder()._spread(pictures()[0])
    tokens = pictures()[0]
    tokens[0, 0, 3] += 1  # the patch at the lower right
    changed = (decoder()._spread(tokens) != said).any(-1)
    assert changed[0, 0, 24:, 24:].all() and changed.sum() == 24 * 24


def test_places_compete_over_the_whole_picture_and_the_share_of_all_is_one() -> None:
    torch.manual_seed(0)
    layer, x = Competition(6, 3).double(), torch.randn(2, 6, 5, 7).double()
    assert layer(x, PURE).equal(x)  # says nothing before training
    with torch.no_grad():
        layer.claim.weight.zero_()
        layer.claim.weight[0, 0] = 5.0  # kind 0: where the first channel stands out most
        layer.tell.weight[1, 0] = 1.0  # the share of kind 0 goes to channel 1
    x[:, 0] = 0.0
    x[0, 0, 1, 2] = x[1, 0, 4, 6] = 9.0
    won = (layer(x, PURE)[:, 1] - x[:, 1]).detach()
    assert torch.allclose(won.sum((1, 2)), torch.ones(2).double())
    assert won[0, 1, 2] > 0.99 and won[1, 4, 6] > 0.99
    x[0, 0, 3, 3] = 9.0
    x[0, 1:, 3, 3] = x[0, 1:, 1, 2]  # the same thing twice
    won = (layer(x, PURE)[:, 1] - x[:, 1]).detach()
    assert won[0, 1, 2] == pytest.approx(0.5, abs=0.01) and won[0, 3, 3] == pytest.approx(0.5, abs=0.01)


def test_winners_are_announced_everywhere() -> None:
    torch.manual_seed(0)
    layer, x = Competition(4, 2), torch.randn(2, 4, 6, 6)
    with torch.no_grad():
        layer.announce.weight.normal_()
    before, changed = layer(x, PURE), x.clone()
    changed[0, :, 0, 0] += torch.tensor([3.0, -2.0, 1.0, 0.5])
    differs = ((layer(changed, PURE) - changed) != (before - x)).any(1)
    assert differs[0].all() and not differs[1].any()


def test_the_less_noise_the_less_is_left_for_the_second_best_place() -> None:
    torch.manual_seed(0)
    layer, x = Competition(6, 1).double(), torch.zeros(3, 6, 5, 7).double()
    with torch.no_grad():
        layer.claim.weight[0] = 0.1 * torch.arange(6)
        layer.tell.weight[0, 0] = 1.0  # the share goes to channel 0
    x[:, 5, 1, 2], x[:, 4, 3, 3] = 9.0, 9.0
    won = (layer(x, torch.tensor([1.0, 0.5, 0.1]).double())[:, 0] - x[:, 0]).detach()
    best, second = won[:, 1, 2], won[:, 3, 3]
    assert (best.diff() > 0).all() and (second.diff() < 0).all()
    assert second[0] > 0.1 and second[2] < 0.01
    assert torch.allclose(won.sum((1, 2)), torch.ones(3).double())


def test_a_served_world_is_more_decided_than_one_in_training() -> None:
    torch.manual_seed(0)
    layer, x = Competition(6, 1).double(), torch.randn(2, 6, 5, 7).double()
    with torch.no_grad():
        layer.tell.weight[0, 0] = 1.0
    trained = (layer(x, PURE)[:, 0] - x[:, 0]).amax((1, 2))
    served = (layer.eval()(x, PURE)[:, 0] - x[:, 0]).amax((1, 2))
    assert (served > trained).all() and (served <= 1).all()

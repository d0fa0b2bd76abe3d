"""Noise paired with frames: as if the best of several draws were taken, and enough to tell two frames apart."""

import torch

from world_model.coupling import couple

SHAPE = (64, 5, 4, 6, 3)


def drawn(seed: int, draws: int, frames: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(frames.shape, generator=generator)
    return couple(noise, frames, expected, draws, generator)


def towards(noise: torch.Tensor, away: torch.Tensor) -> torch.Tensor:
    """Component along `away`, [B, T]."""
    return (noise * away).sum((-1, -2, -3)) / away.square().sum((-1, -2, -3)).sqrt()


def test_it_is_distributed_like_the_best_of_several_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    frames, expected = torch.randn(2, *SHAPE, generator=generator)
    found = towards(drawn(1, 16, frames, expected), frames - expected).flatten()
    many = torch.randn(16, *SHAPE, generator=generator)
    best = torch.stack([towards(noise, frames - expected) for noise in many]).amax(0).flatten()
    for share in (0.1, 0.5, 0.9):
        assert abs(float(found.quantile(share) - best.quantile(share))) < 0.15
    assert float(found.min()) > -1.5 and 1.6 < float(found.mean()) < 1.95  # of 16 normal ones: 1.77


def test_all_other_directions_keep_their_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    frames, expected, noise = torch.randn(3, *SHAPE, generator=generator)
    changed = couple(noise, frames, expected, 16, torch.Generator().manual_seed(1)) - noise
    away = frames - expected
    along = away * ((changed * away).sum((-1, -2, -3), keepdim=True) / away.square().sum((-1, -2, -3), keepdim=True))
    assert torch.allclose(changed, along, atol=1e-5)


def test_one_draw_is_plain_noise_and_a_frame_as_expected_has_no_side() -> None:
    frames = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    plain = towards(drawn(1, 1, frames, 0 * frames), frames)
    assert abs(float(plain.mean())) < 0.15 and abs(float(plain.std()) - 1) < 0.15
    same = drawn(1, 16, frames, frames)
    assert same.isfinite().all() and abs(float(same.std()) - 1) < 0.05


def test_noise_tells_which_of_two_frames_it_becomes() -> None:
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn(2, *SHAPE[2:], generator=generator)
    which = torch.randint(2, SHAPE[:2], generator=generator).bool()
    frames = torch.where(which[..., None, None, None], up, down)
    noise = drawn(1, 16, frames, ((up + down) / 2).expand(SHAPE))
    guessed = (noise * (up - down)).sum((-1, -2, -3)) > 0
    assert (guessed == which).float().mean() > 0.99
    blind = drawn(1, 1, frames, ((up + down) / 2).expand(SHAPE))
    assert ((blind * (up - down)).sum((-1, -2, -3)) > 0).eq(which).float().mean() < 0.6


def test_one_draw_is_the_noise_itself() -> None:
    frames, expected, noise = torch.randn(3, *SHAPE)
    assert couple(noise, frames, expected, 1, torch.Generator()) is noise

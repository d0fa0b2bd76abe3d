"""Ghosts on frames whose only pixel tells which frame they are."""

import pytest
import torch

from world_model.ghosts import STRONGEST, haunt, haunt_past


def named_frames(batch: int = 64, frames: int = 12) -> torch.Tensor:
    """[B, T, T]: frame t is one at t and zero elsewhere."""
    return torch.eye(frames).expand(batch, frames, frames)


def ghosts_of(mixed: torch.Tensor, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Strength [B, T] and source [B, T] of what was mixed in."""
    count = mixed.shape[1]
    itself = clip[:, -count:]
    assert torch.allclose(mixed.sum(-1), torch.ones(mixed.shape[:2]))
    other = mixed * (1 - itself)
    assert (other > 0).sum(-1).max() <= 1, "one ghost at most"
    return other.amax(-1), other.argmax(-1)


def test_a_ghost_in_the_past_moves_back_through_the_clip_from_where_it_turned() -> None:
    clip = named_frames()
    strength, source = ghosts_of(haunt_past(clip, 1.0, torch.Generator().manual_seed(0)), clip)
    assert 0.3 < float(strength.max()) <= STRONGEST
    seen = 0
    for row, origin in zip(strength, source, strict=True):
        there = row.nonzero().flatten()
        if len(there):
            turn = int(there[0]) - 1
            assert torch.equal(there, torch.arange(turn + 1, turn + 1 + len(there))), "without a gap"
            assert torch.equal(origin[there], (2 * turn - there).clamp(min=0))
            assert torch.allclose(row[there], row[there[0]])
            seen += 1
    assert seen > 40


def test_a_frame_is_haunted_by_one_of_the_four_before_it() -> None:
    clip = named_frames()
    strength, source = ghosts_of(haunt(clip[:, 4:], clip, 0.5, torch.Generator().manual_seed(0)), clip)
    assert float(strength.max()) <= STRONGEST and 0.4 < (strength > 0).float().mean() < 0.6
    ago = (torch.arange(4, 12) - source)[strength > 0]
    assert sorted(set(ago.tolist())) == [1, 2, 3, 4]


def test_a_clip_too_short_to_look_back_is_haunted_by_its_first_frame() -> None:
    clip = named_frames(frames=2)
    strength, source = ghosts_of(haunt(clip[:, 1:], clip, 1.0, torch.Generator().manual_seed(0)), clip)
    assert (source[strength > 0] == 0).all() and (strength > 0).any()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_does_not_move_has_no_ghost(share: float) -> None:
    clip = torch.ones(3, 5, 2, 2, 3)
    assert haunt_past(clip, share, torch.Generator()).equal(clip)
    assert haunt(clip[:, 2:], clip, share, torch.Generator()).equal(clip[:, 2:])


def test_share_is_of_clips_and_zero_changes_nothing() -> None:
    clip = named_frames(batch=400)
    assert haunt_past(clip, 0.0, torch.Generator().manual_seed(1)).equal(clip)
    strength, _ = ghosts_of(haunt_past(clip, 0.3, torch.Generator().manual_seed(1)), clip)
    assert 0.2 < (strength > 0).any(1).float().mean() < 0.35

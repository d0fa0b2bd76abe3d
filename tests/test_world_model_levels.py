"""FoPP: tables, worked probabilities and properties P1-P6 (invariant I1)."""

import itertools
import math
from collections import Counter

import pytest
import torch

from world_model.levels import MODES, LevelConfig, LevelSampler, fopp_tables, sample_fopp
from world_model.sampler import SamplerConfig, level_times


def sequences(frames: int, levels: int) -> list[tuple[int, ...]]:
    return [s for s in itertools.product(range(levels), repeat=frames) if list(s) == sorted(s)]


def exact_law(frames: int, levels: int) -> dict[tuple[int, ...], float]:
    """P4, written from the closed forms: P(tau) = 1/(F*T) * sum_f 1/(S[f,tau_f] E[f,tau_f])."""
    def tails(f: int, t: int) -> int:
        return math.comb((levels - 1 - t) + (frames - 1 - f), frames - 1 - f)

    return {s: sum(1 / (tails(f, t) * math.comb(t + f, f)) for f, t in enumerate(s)) / (frames * levels)
            for s in sequences(frames, levels)}


def test_worked_tables() -> None:
    tails, heads = fopp_tables(3, 4)
    assert tails.tolist() == [[10, 6, 3, 1], [4, 3, 2, 1], [1, 1, 1, 1]]
    assert heads.tolist() == [[1, 1, 1, 1], [1, 2, 3, 4], [1, 3, 6, 10]]
    assert (tails * heads).tolist() == [[10, 6, 3, 1], [4, 6, 6, 4], [1, 3, 6, 10]]


def test_worked_probabilities() -> None:
    law = exact_law(3, 4)
    worked = {(0, 0, 0): 9 / 80, (3, 3, 3): 9 / 80, (0, 0, 1): 41 / 720, (2, 3, 3): 41 / 720, (0, 0, 2): 31 / 720,
              (1, 3, 3): 31 / 720, (0, 0, 3): 3 / 80, (0, 3, 3): 3 / 80, (0, 1, 1): 1 / 20, (2, 2, 3): 1 / 20,
              (0, 1, 2): 13 / 360, (0, 2, 2): 13 / 360, (1, 1, 3): 13 / 360, (1, 2, 3): 13 / 360,
              (0, 1, 3): 11 / 360, (0, 2, 3): 11 / 360, (1, 1, 1): 1 / 18, (2, 2, 2): 1 / 18,
              (1, 1, 2): 1 / 24, (1, 2, 2): 1 / 24}  # fmt: skip
    assert len(law) == len(worked) == math.comb(4 + 3 - 1, 3)
    for sequence, probability in worked.items():
        assert law[sequence] == pytest.approx(probability)


@pytest.mark.parametrize(("frames", "levels"), [(3, 4), (2, 5), (4, 3), (1, 7), (6, 2)])
def test_samples_follow_the_exact_law(frames: int, levels: int) -> None:
    count = 200_000
    drawn = sample_fopp(count, frames, levels, torch.Generator().manual_seed(3))
    seen = Counter(map(tuple, drawn.tolist()))
    law = exact_law(frames, levels)
    assert sum(law.values()) == pytest.approx(1)
    assert set(seen) <= set(law)
    for sequence, probability in law.items():
        spread = math.sqrt(probability * (1 - probability) / count)
        assert seen[sequence] / count == pytest.approx(probability, abs=5 * spread), sequence


def test_counts_cells_and_symmetry() -> None:
    frames, levels = 4, 5
    tails, heads = fopp_tables(frames, levels)
    law = exact_law(frames, levels)
    assert len(law) == math.comb(levels + frames - 1, frames)  # P1
    for f, t in itertools.product(range(frames), range(levels)):
        through = [s for s in law if s[f] == t]
        assert len(through) == tails[f, t] * heads[f, t]  # P2
        cell = sum(law[s] for s in through)
        mirrored = sum(p for s, p in law.items() if s[frames - 1 - f] == levels - 1 - t)
        assert cell >= 1 / (frames * levels)  # P5
        assert cell == pytest.approx(mirrored)  # P6


def test_a_thousand_levels_stay_ordered_and_reach_both_ends() -> None:
    drawn = sample_fopp(4000, 16, 1000, torch.Generator().manual_seed(0))
    assert (drawn.diff(dim=1) >= 0).all()
    assert drawn.min() == 0 and drawn.max() == 999
    half = (drawn[:, 0] >= 500).float().mean()
    assert half == pytest.approx(0.0475, abs=0.015)  # measured for F = 16: P(frame 0 at >= 50% noise)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_times_in_range(mode: str) -> None:
    sampler = LevelSampler(LevelConfig(), SamplerConfig(steps=4))
    times = sampler.times(mode, 64, 9, torch.Generator().manual_seed(1))
    assert times.shape == (64, 9) and times.dtype == torch.float32
    assert times.min() >= 0 and times.max() <= 1
    if mode in ("prefix", "ad", "fopp"):
        assert (times.diff(dim=1) >= 0).all()
    if mode == "prefix":
        assert ((times == 0).sum(1) >= 1).all() and (times[:, -1] > 0).all()


def test_ad_rows_lie_on_the_served_grid() -> None:
    served = SamplerConfig(steps=4, shift=2.5)
    times = LevelSampler(LevelConfig(), served).times("ad", 128, 6, torch.Generator().manual_seed(1))
    grid = level_times(served)
    assert torch.isin(times, grid).all()


def test_the_mixture_follows_its_weights() -> None:
    config = LevelConfig(teacher=0.5, prefix=0.0, ad=0.25, fopp=0.25, independent=0.0)
    sampler, generator = LevelSampler(config, SamplerConfig()), torch.Generator().manual_seed(0)
    seen = Counter(sampler.mode(generator) for _ in range(2000))
    assert set(seen) == {"teacher", "ad", "fopp"}
    assert seen["teacher"] / 2000 == pytest.approx(0.5, abs=0.05)


def test_impossible_mixtures_are_refused() -> None:
    with pytest.raises(ValueError, match="not all zero"):
        LevelConfig(teacher=0, prefix=0, ad=0, fopp=0, independent=0)
    with pytest.raises(ValueError, match="mode must be one of"):
        LevelSampler(LevelConfig(), SamplerConfig()).times("other", 1, 2)

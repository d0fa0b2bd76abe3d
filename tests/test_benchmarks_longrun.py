"""The long runs play, leave and return, and print a line for every policy."""

from pathlib import Path

import numpy as np
import pytest
from small_worlds import save_small_world

from benchmarks.longrun import LongrunConfig, clips_of, long_runs, returned, revisits, starts_of
from world_model import World, load_world

POLICIES = ["window", "sink"]


def test_every_policy_has_its_lines(tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = load_world(tiny_world).with_sampler(1)
    config = LongrunConfig(policies=POLICIES, times=[2, 5], there="RIGHT", back="LEFT", away=[0.5, 1.0], starts=3,
                           out=str(tmp_path))
    long_runs(world, config)
    revisits(world, config)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for policy in POLICIES:
        assert [line[1] for line in lines if line and line[0] == policy] == ["8", "20", "2", "4"]
        assert (tmp_path / f"{policy}-20.png").is_file()


def test_one_of_several_games_is_played_from_its_own_clips(tmp_path: Path) -> None:
    two = save_small_world(tmp_path / "Two-v0", conditions=("day", "night"))
    world = load_world(two).under("night")
    assert clips_of(world).tolist() == [1, 3] and len(starts_of(world)) == 2
    assert np.array_equal(starts_of(world)[1].frames, world.contexts.frames[3])


class Turning(World):
    """A world that pans over a picture wider than the screen, one column a step; `lost` of them on every way back."""

    lost = 0

    def step_batch(self, state, actions):  # type: ignore[no-untyped-def]
        for row, action in enumerate(actions):
            state.episodes[row].steps += {2: 1, 3: -1}[int(action)]
        shift = [e.steps + (self.lost if e.notes.setdefault("far", 0) and e.steps == 0 else 0) for e in state.episodes]
        for e in state.episodes:
            e.notes["far"] = 1
        frames = np.stack([np.roll(c[-1], s, 1) for c, s in zip(self.contexts.frames, shift, strict=False)])
        return frames, np.zeros(len(actions)), np.zeros(len(actions), bool)


def test_what_is_seen_again_is_known_again(tiny_world: Path) -> None:
    world = load_world(tiny_world)
    pan = Turning(world.model, world.sampler, world.card, world.contexts, world.hash)
    config = LongrunConfig(there="RIGHT", back="LEFT", starts=4)
    known, after, far = returned(pan, config, 5)
    assert known == 1 and after == 60 and far < 20
    pan.lost = 3
    assert returned(pan, config, 5)[1] < 20


def test_what_cannot_be_run_is_refused() -> None:
    for settings, message in (({"there": "LEFT"}, "go together"), ({"times": [0]}, "at least 1"),
                              ({"policies": ["endless"]}, "memory must be one of")):
        with pytest.raises(ValueError, match=message):
            LongrunConfig(**settings)  # type: ignore[arg-type]

"""Clips on their way to the network: who cuts them changes nothing, and waiting for them is measured."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from recorders import TrainingCache, open_recording
from world_model import Actions
from world_model.clips import ClipSource
from world_model.loader import ClipLoader, Portion
from world_model.team import Team
from world_model.trainer_config import TrainerConfig


def loader(data: Path, cache: Path, team: Team | None = None, step: int = 0, **changes: object) -> ClipLoader:
    recording = open_recording(data)
    source = ClipSource(TrainingCache.build(recording, cache, progress=False), recording.episodes, [-1.0, 0.0, 1.0],
                        Actions(3), hard_share=0.5)
    settings = {"steps": 6, "batch": 4, "moments": 4, "frames": 4, "workers": 0} | changes
    made = ClipLoader(source, TrainerConfig(**settings), 3, team or Team())  # type: ignore[arg-type]
    made.begin(step)
    return made


def learn(clips: ClipLoader, steps: int) -> list[list[Portion]]:
    """What a trainer does with a loader, with losses that depend on what was drawn."""
    seen = []
    for _ in range(steps):
        portions = [clips.next() for _ in range(clips.config.accumulate)]
        for portion in portions:
            losses = (portion.clips.rows.sum(1) % 7).astype(np.float32)
            clips.source.difficulty.remember(portion.clips.rows[:, -1], losses)
        clips.advance()
        seen.append(portions)
    return seen


def rows(seen: list[list[Portion]]) -> list[np.ndarray]:
    return [np.concatenate([portion.clips.rows for portion in portions]) for portions in seen]


FORKING = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12 warns of every fork


@FORKING
def test_neither_workers_nor_parts_change_what_a_step_learns_from(data: Path, tmp_path: Path) -> None:
    plain = learn(loader(data, tmp_path), 6)
    for changes in ({"workers": 2}, {"accumulate": 2}, {"workers": 1, "accumulate": 4}):
        other = loader(data, tmp_path, **changes)
        seen = learn(other, 6)
        other.close()
        for a, b in zip(rows(plain), rows(seen), strict=True):
            assert np.array_equal(a, b), changes
        for portions, again in zip(plain, seen, strict=True):
            frames = torch.cat([portion.clips.frames for portion in again])
            assert torch.equal(frames, portions[0].clips.frames)
            assert [p.part for p in again] == list(range(other.config.accumulate))
    assert not np.array_equal(rows(plain)[0], rows(plain)[1])


def test_processes_share_out_the_clips_of_one(data: Path, tmp_path: Path) -> None:
    whole, shares = loader(data, tmp_path).next(), [loader(data, tmp_path, Team(i, 2)).next() for i in range(2)]
    assert whole.moments is not None and [share.part for share in shares] == [0, 1]
    assert np.array_equal(np.concatenate([share.clips.rows for share in shares]), whole.clips.rows)
    assert np.array_equal(np.concatenate([share.moments.rows for share in shares if share.moments]), whole.moments.rows)
    with pytest.raises(ValueError, match=r"must be multiples of 6, which is 2 processes times trainer\.accumulate=3"):
        loader(data, tmp_path, Team(0, 2), accumulate=3)


def test_what_was_planned_goes_on_after_a_stop(data: Path, tmp_path: Path) -> None:
    whole = rows(learn(loader(data, tmp_path), 6))
    first = loader(data, tmp_path)
    learn(first, 3)
    second = loader(data, tmp_path)
    second.source.difficulty.remember(slice(None), first.source.difficulty.losses)
    second.begin(3, first.planned())
    for a, b in zip(whole[3:], rows(learn(second, 3)), strict=True):
        assert np.array_equal(a, b)


@FORKING
def test_waiting_for_clips_is_measured(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = ClipSource.cut

    def slowly(source: ClipSource, *args: object) -> object:
        time.sleep(0.1)
        return cut(source, *args)  # type: ignore[arg-type]

    quick = loader(data, tmp_path)
    learn(quick, 2)
    monkeypatch.setattr(ClipSource, "cut", slowly)
    slow = loader(data, tmp_path, moments=0)
    learn(slow, 2)
    assert quick.waited < 0.1 and 0.2 <= slow.waited < 1.0
    ahead = loader(data, tmp_path, moments=0, workers=1, ahead=4)
    ahead.next()
    ahead.advance()
    known = ahead.waited
    time.sleep(0.5)  # the network learns; meanwhile the worker cuts
    ahead.next()
    assert ahead.waited - known < 0.1
    ahead.close()


def test_workers_that_nobody_waits_for_are_refused() -> None:
    with pytest.raises(ValueError, match="ahead at least that and 1, got workers=3, ahead=2"):
        TrainerConfig(workers=3)
    with pytest.raises(ValueError, match="parallel must be ddp or fsdp, got 'tp'"):
        TrainerConfig(parallel="tp")
    with pytest.raises(ValueError, match="accumulate must be at least 1, got 0"):
        TrainerConfig(accumulate=0)

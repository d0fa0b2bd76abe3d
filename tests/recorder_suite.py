"""What every recorder promises, whatever it writes to: inherit from RecorderSuite and say where."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorders import Extra, RecordingError, ZarrRecorder, open_recording
from recorders.integrity import problems
from recorders.spaces import value_at, values_equal

PICTURES = spaces.Box(0, 255, (20, 18, 3), np.uint8)
FIVE = spaces.Discrete(5)
EXTRAS = {"actor": "uint8", "latent": Extra("float16", (4,)), "note": "string"}


def pictures(episode: int, count: int) -> np.ndarray:
    """Frames that name their episode and place."""
    return np.random.default_rng([episode, 7]).integers(0, 256, (count, *PICTURES.shape), np.uint8)


def extras_of(episode: int, t: int) -> dict:
    return {"actor": episode % 3, "latent": np.full(4, t % 100, np.float16), "note": f"é{episode}:{t}"}


def play(recorder, episode: int, steps: int, lane: int = 0, **begin):
    """Record a deterministic episode; yields before every call, so that others can come between."""
    frames = pictures(episode, steps + 1)
    yield
    recorder.begin(seed=episode, lane=lane, **begin)
    for t in range(steps):
        yield
        recorder.add(frames[t], t % 5, t - 0.5, t == steps - 1, False, lane=lane, **extras_of(episode, t))
    yield
    recorder.end(frames[steps], lane=lane, wait=bool(episode % 2), number=episode)


def write(recorder, episode: int, steps: int, **begin) -> None:
    for _ in play(recorder, episode, steps, **begin):
        pass


def check(recording, episode) -> None:
    """Compare an episode with what `play` records."""
    number, steps = episode.meta["number"], episode.steps
    clip = recording.read(episode)
    assert episode.seed == number
    assert (clip.observations == pictures(number, steps + 1)).all()
    assert (clip.actions == np.arange(steps) % 5).all()
    assert (clip.rewards == np.arange(steps) - 0.5).all()
    assert clip.terminated.sum() == episode.terminated == min(steps, 1)
    assert (clip.extras["actor"] == number % 3).all()
    assert (clip.extras["latent"] == np.repeat(np.arange(steps) % 100, 4).reshape(steps, 4)).all()
    assert list(clip.extras["note"]) == [f"é{number}:{t}" for t in range(steps)]
    assert episode.return_ == pytest.approx(sum(t - 0.5 for t in range(steps)))


single = st.one_of(
    st.integers(1, 9).map(spaces.Discrete),
    st.tuples(st.integers(1, 5), st.integers(-3, 3)).map(lambda a: spaces.Discrete(a[0], start=a[1])),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(spaces.MultiDiscrete),
    st.integers(1, 5).map(spaces.MultiBinary),
    st.tuples(st.sampled_from(["float32", "float64", "uint8", "int16"]), st.lists(st.integers(1, 3), max_size=3)).map(
        lambda a: spaces.Box(0, 9, tuple(a[1]), np.dtype(a[0]).type)
    ),
    st.integers(1, 6).map(spaces.Text),
    st.just(spaces.Sequence(spaces.Box(-1, 1, (2,), np.float32))),
    st.just(spaces.OneOf((spaces.Discrete(3), spaces.Box(0, 1, (2,), np.float32)))),
    st.just(spaces.Graph(spaces.Box(0, 1, (2,), np.float32), spaces.Discrete(4))),
    st.just(spaces.Box(-np.inf, np.inf, (3,), np.float32)),
    st.just(spaces.Box(np.array([0.0, -1.0]), np.array([2.0, np.inf]), dtype=np.float64)),
)
any_space = st.recursive(
    single,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["left", "a.b", "ü/x", ".."]), inner, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=4,
)


def properties(examples: int) -> type:
    """Tests of a recorder that draw so many examples each."""
    few = settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )

    class Properties:
        @few
        @given(lengths=st.lists(st.integers(0, 90), min_size=1, max_size=5))
        def test_what_was_written_is_read_back_exactly(self, fresh, lengths):
            place = fresh()
            with self.record(place) as recorder:
                for number, steps in enumerate(lengths):
                    write(recorder, number, steps)
            recording = open_recording(place)
            assert [episode.steps for episode in recording.episodes] == lengths
            assert len(recording) == sum(lengths) + len(lengths)
            for episode in recording.episodes:
                check(recording, episode)
            assert (recording.load_frames(progress=False) == recording.frames(0, len(recording))).all()
            assert problems(recording, progress=False) == []

        @few
        @given(data=st.data(), lanes=st.integers(2, 4))
        def test_interleaved_episodes_stay_apart(self, fresh, data, lanes):
            place = fresh()
            lengths = [data.draw(st.lists(st.integers(0, 70), min_size=1, max_size=3)) for _ in range(lanes)]
            order = data.draw(st.randoms(use_true_random=False))
            with self.record(place, lanes=lanes) as recorder:

                def life(lane):
                    for place_, steps in enumerate(lengths[lane]):
                        yield from play(recorder, 10 * lane + place_, steps, lane=lane)

                going = [life(lane) for lane in range(lanes)]
                while going:
                    who = order.choice(going)
                    if next(who, "over") == "over":
                        going.remove(who)
                    elif order.random() < 0.02:
                        recorder.flush()
            recording = open_recording(place)
            assert len(recording.episodes) == sum(map(len, lengths))
            for episode in recording.episodes:
                check(recording, episode)
            assert sorted(e.meta["number"] for e in recording.episodes) == sorted(
                10 * lane + i for lane in range(lanes) for i in range(len(lengths[lane]))
            )

        @few
        @given(observations=any_space, actions=any_space, seed=st.integers(0, 99), steps=st.integers(0, 40))
        def test_any_space_comes_back_as_it_was(self, fresh, observations, actions, seed, steps):
            observations.seed(seed), actions.seed(seed)
            seen = [observations.sample() for _ in range(steps + 1)]
            taken = [actions.sample() for _ in range(steps)]
            place = fresh()
            with ZarrRecorder(place, observations, actions, **self.options) as recorder:
                recorder.begin()
                for t in range(steps):
                    recorder.add(seen[t], taken[t], 0.0, False, False)
                recorder.end(seen[steps])
            recording = open_recording(place)
            assert recording.observation_space == observations
            assert recording.action_space == actions
            clip = recording.read(0)
            for t in range(steps):
                assert values_equal(value_at(actions, clip.actions, t), taken[t])
            for t in range(steps + 1):
                assert values_equal(value_at(observations, clip.observations, t), seen[t])

    return Properties


class RecorderSuite(properties(examples=10)):
    """Tests of one kind of recorder."""

    options: dict = {}  # noqa: RUF012

    @pytest.fixture
    def fresh(self, tmp_path):
        """A function that gives a new empty place at each call."""
        count = iter(range(10**6))
        return lambda: str(tmp_path / f"place-{next(count)}")

    def record(self, place: str, **more) -> ZarrRecorder:
        return ZarrRecorder(place, PICTURES, FIVE, extras=EXTRAS, **{**self.options, **more})

    def test_recording_goes_on_where_another_recorder_stopped(self, fresh):
        place = fresh()
        for number in range(3):
            with self.record(place) as recorder:
                write(recorder, number, 20)
        recording = open_recording(place)
        assert [e.seed for e in recording.episodes] == [0, 1, 2]
        for episode in recording.episodes:
            check(recording, episode)

    def test_a_reader_may_look_while_the_writer_writes(self, fresh):
        place = fresh()
        with self.record(place) as recorder:
            with pytest.raises(RecordingError, match="no finished chunk yet"):
                open_recording(place)
            for number in range(1, 10, 2):  # odd numbers wait
                write(recorder, number, 20)
                recording = open_recording(place)
                assert len(recording.episodes) == (number + 1) // 2
                check(recording, recording.episodes[-1])
        check(recording, recording.episodes[0])  # opened before it was sealed

    def test_flushed_steps_of_an_open_episode_can_be_read(self, fresh):
        place, frames = fresh(), pictures(0, 60)
        with self.record(place) as recorder:
            recorder.begin(seed=0)
            for t in range(45):
                recorder.add(frames[t], t % 5, 1.0, False, False, **extras_of(0, t))
            recorder.flush()
            assert recorder.stats().committed_rows == 45
            (episode,) = open_recording(place).episodes
            assert episode.unfinished
            assert episode.steps == 44  # the last row's action has no outcome to be seen yet
            assert (open_recording(place).read(0).observations == frames[:45]).all()

    def test_what_an_exception_interrupts_is_kept_as_unfinished(self, fresh):
        place, frames = fresh(), pictures(0, 50)
        with pytest.raises(KeyboardInterrupt), self.record(place) as recorder:
            recorder.begin(seed=0)
            for t in range(45):
                recorder.add(frames[t], t % 5, 1.0, False, False, **extras_of(0, t))
            raise KeyboardInterrupt
        (episode,) = open_recording(place).episodes
        assert episode.unfinished
        assert (episode.steps, episode.return_) == (44, 44.0)
        assert (open_recording(place).frames(0, 45) == frames[:45]).all()

    def test_an_episode_carries_its_notes_options_and_arrays(self, fresh):
        place, clip = fresh(), pictures(0, 4)
        with self.record(place) as recorder:
            options = {"frames": list(clip), "k": (1, 2)}
            write(recorder, 0, 3, arrays={"context_frames": clip}, options=options, hash="a")
            recorder.begin(seed=1)
            recorder.end(clip[0], cut=True)
        first, second = open_recording(place).episodes
        assert first.meta == {"hash": "a", "number": 0}
        assert (first.arrays()["context_frames"] == clip).all()
        assert (np.stack(first.options()["frames"]) == clip).all()
        assert first.options()["k"] == [1, 2]
        assert second.meta == {"cut": True}
        assert (second.arrays(), second.options()) == ({}, None)

    def test_following_sees_every_step_once(self, fresh):
        place, seen = fresh(), {}
        with self.record(place) as recorder:
            write(recorder, 1, 50)
            following = open_recording(place).follow(poll_s=0.01, timeout_s=0.3)
            for episode, clip in following:
                assert clip.start == seen.get(episode.id, 0)
                seen[episode.id] = clip.start + len(clip)
                if len(seen) == 1 and recorder.stats().committed_episodes == 1:
                    write(recorder, 3, 70)
        assert list(seen.values()) == [50, 70]

    def test_episodes_are_found_by_what_is_known_of_them(self, fresh):
        place = fresh()
        with self.record(place) as recorder:
            for number in range(6):
                write(recorder, number, 10 * number, kind="even" if number % 2 == 0 else "odd")
        recording = open_recording(place)
        assert [e.seed for e in recording.select(kind="odd")] == [1, 3, 5]
        assert [e.seed for e in recording.select(lambda e: e.steps > 20, kind="even")] == [4]
        assert [e.seed for e in recording.select(seed=2)] == [2]
        assert recording.select(terminated=False) == [recording.episodes[0]]

    def test_slices_of_time_are_cut_out_of_an_episode(self, fresh):
        place = fresh()
        with self.record(place) as recorder:
            write(recorder, 0, 5)
            write(recorder, 1, 1500)
        recording = open_recording(place)
        clip = recording.read(1, 1000, 1100)
        assert (clip.observations == pictures(1, 1501)[1000:1101]).all()
        assert (clip.rewards == np.arange(1000, 1100) - 0.5).all()
        assert clip.start == 1000 and len(clip) == 100
        assert len(recording[-1]) == 1500
        with pytest.raises(IndexError, match="steps 0:1501 asked for"):
            recording.read(1, 0, 1501)
        with pytest.raises(IndexError, match="episode 2 asked for"):
            recording.read(2)

    def test_a_recorder_refuses_what_it_was_not_made_for(self, fresh):
        frame = np.zeros(PICTURES.shape, np.uint8)
        good = extras_of(0, 0)
        with self.record(fresh()) as recorder:
            with pytest.raises(RecordingError, match="call begin first"):
                recorder.add(frame, 0, 0.0, False, False, **good)
            with pytest.raises(RecordingError, match="call begin first"):
                recorder.end(frame)
            recorder.begin()
            bad = [
                ((frame, 0, 0.0), {}, r"extras \['actor', 'latent', 'note'\], got \[\]"),
                ((frame.astype(float), 0, 0.0), good, r"got float64 \[20, 18, 3\]"),
                ((frame[1:], 0, 0.0), good, r"uint8 \[20, 18, 3\], got uint8 \[19, 18, 3\]"),
                ((frame, 5, 0.0), good, r"action must be in Discrete\(5\), got 5"),
                ((frame, 0.5, 0.0), good, "would be altered"),
                ((frame, 0, float("nan")), good, "a reward must be a finite number, got nan"),
                ((frame, 0, 0.0), {**good, "actor": 256}, "256 does not fit"),
                ((frame, 0, 0.0), {**good, "latent": np.zeros(3)}, r"latent is float16 \[4\]"),
                ((frame, 0, 0.0), {**good, "latent": np.full(4, 1e6)}, "does not fit"),
                ((frame, 0, 0.0), {**good, "note": 3}, "note is text, got 3"),
            ]
            for step, extras, message in bad:
                with pytest.raises(RecordingError, match=message):
                    recorder.add(*step, False, False, **extras)
            with pytest.raises(RecordingError, match="call end before begin"):
                recorder.begin()
            recorder.add(frame, 0, 0.0, True, False, **good)
            with pytest.raises(RecordingError, match="has terminated and takes no more steps"):
                recorder.add(frame, 0, 0.0, False, False, **good)
            recorder.end(frame)
            with pytest.raises(RecordingError, match="lane must be 0 to 0, got 1"):
                recorder.begin(lane=1)
            with pytest.raises(RecordingError, match=r"meta\.who cannot be noted"):
                recorder.begin(who=object())
            recorder.begin()
            recorder.end(frame)
            assert recorder.stats().rows == 3
        with pytest.raises(RecordingError, match="closed"):
            recorder.begin()

    def test_rows_of_another_kind_are_not_mixed_in(self, fresh):
        place = fresh()
        with self.record(place) as recorder:
            write(recorder, 0, 3)
        with pytest.raises(RecordingError, match="record elsewhere"):
            ZarrRecorder(place, PICTURES, FIVE, **self.options)
        assert len(open_recording(place).episodes) == 1

    def test_arguments_out_of_range_are_refused(self, fresh):
        for bad in ({"lanes": 0}, {"queue": 0}, {"fsync": "always"}):
            with pytest.raises(RecordingError, match="need lanes >= 1"):
                self.record(fresh(), **bad)
        with pytest.raises(RecordingError, match=r"rename the extras \['reward'\]"):
            ZarrRecorder(fresh(), PICTURES, FIVE, extras={"reward": "float32"})
        with pytest.raises(RecordingError, match="names of extras"):
            ZarrRecorder(fresh(), PICTURES, FIVE, extras={"../x": "float32"})
        with pytest.raises(RecordingError, match="is no number format"):
            ZarrRecorder(fresh(), PICTURES, FIVE, extras={"x": "float33"})

    def test_what_is_no_recording_is_refused(self, fresh):
        with pytest.raises(RecordingError, match="does not exist"):
            open_recording(fresh())


"""Environments that are recorded while they are stepped, and lived again from what was recorded."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from recorders import (
    RecordEpisodes,
    RecordingError,
    RecordVectorEpisodes,
    branch,
    make_recorded_env,
    open_recording,
    resimulate,
)
from recorders.replay import replay_all


class Walk(gymnasium.Env):
    """A random walk that ends far out, and is cut after twelve steps; `bent` makes it another one."""

    observation_space = spaces.Dict({"place": spaces.Box(-99, 99, (1,), np.float64), "step": spaces.Discrete(99)})
    action_space = spaces.Tuple((spaces.Discrete(3, start=-1), spaces.Box(-1, 1, (1,), np.float32)))

    def __init__(self, bent: float = 0.0) -> None:
        self.bent = bent

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.place = 0, float((options or {}).get("from", self.np_random.normal()))
        return self._seen(), {"energy": 5}

    def step(self, action):
        self.t += 1
        self.place += int(action[0]) + float(action[1][0]) + self.np_random.normal() + self.bent * (self.t == 3)
        return self._seen(), self.place, abs(self.place) > 4, self.t == 12, {"energy": 5 - self.t}

    def _seen(self):
        return {"place": np.array([self.place]), "step": self.t}


@pytest.fixture(autouse=True)
def walk():
    gymnasium.register("Walk-v0", Walk, disable_env_checker=True)
    yield
    del gymnasium.registry["Walk-v0"]


def assert_all_replay(path, env=None) -> int:
    """Replay every episode; returns how many there are."""
    recording = open_recording(path)
    env = env or make_recorded_env(recording.meta)
    for episode in recording.episodes:
        replay = resimulate(recording, episode, env)
        assert replay.difference is None, str(replay.difference)
        assert replay.steps == episode.steps
    return len(recording.episodes)


def test_a_recorded_environment_is_still_a_proper_one(tmp_path):
    env = RecordEpisodes(gymnasium.make("CartPole-v1").unwrapped, tmp_path, shared=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CartPole's bounds, and that there is a wrapper
        check_env(env, skip_render_check=True)
    env.close()
    assert_all_replay(tmp_path, gymnasium.make("CartPole-v1").unwrapped)


def test_every_episode_replays_whether_it_was_seeded_or_not(tmp_path):
    env = RecordEpisodes(gymnasium.make("Walk-v0"), tmp_path, infos={"energy": "int16"}, actors=("a", "b"))
    env.action_space.seed(0)
    seen = []
    for number in range(9):
        seeds, options = {4: 7, 6: 8}, {5: {"from": 1.5}, 6: {"from": 0}}
        observation, _ = env.reset(seed=seeds.get(number), options=options.get(number))
        seen.append([observation["place"][0]])
        over = False
        while not over and not (number == 6 and len(seen[-1]) > 1):
            env.actor = len(seen[-1]) % 2
            observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
            seen[-1].append(observation["place"][0])
            observation["place"][0] = 99  # what is recorded is a copy
            over = terminated or truncated
    env.close()
    assert assert_all_replay(tmp_path) == 9
    recording = open_recording(tmp_path)
    for number, episode in enumerate(recording.episodes):
        clip = recording.read(episode)
        assert clip.observations["place"][:, 0].tolist() == seen[number]
        assert clip.extras["energy"].tolist() == [4 - t for t in range(len(clip))]
        assert clip.extras["actor"].tolist() == [(t + 1) % 2 for t in range(len(clip))]
        assert (clip.extras["latency_ms"] > 0).all()
        assert episode.meta.get("cut", False) is (number == 6) is not (episode.terminated or episode.truncated)
    assert recording.episodes[4].seed == 7
    assert recording.episodes[5].options() == {"from": 1.5}
    assert recording.episodes[0].seed is not None
    assert recording.episodes[1].seed is None


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_episode_of_a_vector_is_whole_and_replays(tmp_path, mode):
    plain = SyncVectorEnv([lambda: gymnasium.make("Walk-v0")] * 3, autoreset_mode=mode)
    envs = RecordVectorEpisodes(plain, tmp_path, infos={"energy": "int16"})
    envs.reset(seed=[5, 6, 7])
    envs.action_space.seed(1)
    rng, ends = np.random.default_rng(0), 0
    for t in range(100):
        _, _, terminations, truncations, _ = envs.step(envs.action_space.sample())
        over = terminations | truncations
        ends += int(over.sum())
        if mode == AutoresetMode.DISABLED and over.any():
            mask = over | (rng.random(3) < 0.2) if t % 2 else over  # sometimes one that is not over, too
            envs.reset(seed=[50 + t, None, None], options={"reset_mask": mask})
    envs.close()
    recording = open_recording(tmp_path)
    assert len(recording.segments) == 3
    assert assert_all_replay(tmp_path) == len(recording.episodes)
    assert sum(episode.terminated or episode.truncated for episode in recording.episodes) == ends
    whole = [e for e in recording.episodes if not e.meta.get("cut")]
    assert all(e.terminated or e.truncated for e in whole)
    for episode in recording.episodes:
        clip = recording.read(episode)
        assert clip.extras["energy"].tolist() == [4 - t for t in range(len(clip))]
        assert clip.observations["step"].tolist() == list(range(len(clip) + 1))


def test_the_first_reset_of_a_vector_is_seeded_so_that_it_can_be_replayed(tmp_path):
    envs = RecordVectorEpisodes(SyncVectorEnv([lambda: gymnasium.make("Walk-v0")] * 2), tmp_path)
    envs.reset()
    for _ in range(30):
        envs.step(envs.action_space.sample())
    envs.close()
    assert assert_all_replay(tmp_path) > 2


@pytest.mark.parametrize("action", [[0.3], np.array([2.0]), np.array([0.5], np.float32)])
def test_actions_in_another_number_format_replay(tmp_path, action):
    env = RecordEpisodes(gymnasium.make("Pendulum-v1", disable_env_checker=True), tmp_path)
    env.reset(seed=1)
    for _ in range(5):
        env.step(action)
    env.close()
    assert assert_all_replay(tmp_path) == 1


def test_a_changed_environment_is_named_at_its_first_differing_step(tmp_path):
    env = RecordEpisodes(gymnasium.make("Walk-v0"), tmp_path)
    env.reset(seed=1)
    for _ in range(5):
        env.step((0, np.zeros(1, np.float32)))
    env.close()
    recording = open_recording(tmp_path)
    assert recording.meta["env"]["kwargs"] == {}
    replay = resimulate(recording, recording.episodes[0], make_recorded_env(recording.meta, bent=0.5))
    assert replay.steps == replay.difference.step == 2
    assert replay.difference.what == "observation"
    assert replay.difference.found["place"] - replay.difference.recorded["place"] == pytest.approx(0.5)


def test_one_may_branch_off_at_any_step(tmp_path):
    env = RecordEpisodes(gymnasium.make("Walk-v0"), tmp_path)
    env.reset(seed=1)
    actions = [(1, np.zeros(1, np.float32)), (-1, np.zeros(1, np.float32))]
    seen = [env.step(actions[t % 2])[0]["place"][0] for t in range(6)]
    env.close()
    recording = open_recording(tmp_path)
    again = make_recorded_env(recording.meta)
    for step in (0, 3, 6):
        observation = branch(recording, recording.episodes[0], step, again)
        assert observation["step"] == step
        if step < 6:
            assert again.step(actions[step % 2])[0]["place"][0] == seen[step]
    with pytest.raises(IndexError, match="steps 0 to 6"):
        branch(recording, recording.episodes[0], 7, again)
    with pytest.raises(RecordingError, match="does not replay"):
        branch(recording, recording.episodes[0], 5, make_recorded_env(recording.meta, bent=1.0))


def test_what_nobody_can_seed_again_is_not_replayed(tmp_path):
    from recorders import ZarrRecorder

    with ZarrRecorder(tmp_path, Walk.observation_space, Walk.action_space) as recorder:
        recorder.begin()
        recorder.end({"place": np.zeros(1), "step": 0})
    recording = open_recording(tmp_path)
    with pytest.raises(RecordingError, match="nobody noted how"):
        resimulate(recording, recording.episodes[0], Walk())


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (None, "does not say which environment"),
        ({"id": "os:system", "kwargs": {}}, "would import os"),
        ({"id": "Nothing-v3", "kwargs": {}}, "cannot be made here"),
        ({"id": "Walk-v0", "kwargs": {}, "wrappers": ["Flatten"]}, "was recorded with"),
        ({"id": "Walk-v0", "kwargs": {"nonsense": 1}}, "cannot be made here"),
    ],
)
def test_an_environment_that_cannot_be_made_again_is_refused(env, message):
    with pytest.raises((RecordingError, RuntimeError), match=message):
        make_recorded_env({} if env is None else {"env": env})


def test_an_info_that_is_not_there_is_asked_for_by_name(tmp_path):
    env = RecordEpisodes(gymnasium.make("Walk-v0"), tmp_path, infos={"lives": "int8"})
    env.reset()
    with pytest.raises(RecordingError, match=r"info has no 'lives' to be recorded; it has \['energy'\]"):
        env.step((0, np.zeros(1, np.float32)))
    env.close()


class Bad(Walk):
    """A reward that is no number at its third step; observations of another format than the space's."""

    observation_space = spaces.Box(-99, 99, (2,), np.float32)

    def step(self, action):
        seen, _, _, _, info = super().step(action)
        return seen, float("nan") if self.t == 3 else float(self.t), False, self.t == 8, info

    def _seen(self):
        return np.array([self.t, 0.5])


def test_after_a_step_that_could_not_be_recorded_its_episode_takes_no_more(tmp_path):
    env = RecordEpisodes(Bad(), tmp_path)
    env.reset(seed=1)
    for t in range(6):
        if t < 2:
            env.step(env.action_space.sample())
        else:
            with pytest.raises(RecordingError, match="finite number" if t == 2 else "reset begins another one"):
                env.step(env.action_space.sample())
    env.reset()
    env.step(env.action_space.sample())
    env.close()
    first, second = open_recording(tmp_path).episodes
    assert open_recording(tmp_path).read(first).observations[:, 0].tolist() == [0, 1, 2]
    assert first.meta["cut"]
    assert second.steps == 1


def test_after_a_step_of_a_vector_that_could_not_be_recorded_all_have_to_be_reset(tmp_path):
    envs = SyncVectorEnv([Bad] * 2, autoreset_mode=AutoresetMode.DISABLED)
    env = RecordVectorEpisodes(envs, tmp_path)
    env.reset(seed=1)
    env.step(env.action_space.sample())
    env.reset(options={"reset_mask": np.array([True, False])})
    env.step(env.action_space.sample())
    for message in ("finite number", "reset begins another one"):
        with pytest.raises(RecordingError, match=message):
            env.step(env.action_space.sample())
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(RecordingError, match="reset begins another one"):
        env.step(env.action_space.sample())
    env.reset()
    env.step(env.action_space.sample())
    env.close()
    recording = open_recording(tmp_path)
    for episode in recording.episodes:
        seen = recording.read(episode).observations[:, 0].tolist()
        assert seen == list(range(len(seen)))


def test_an_observation_in_another_format_than_its_space_is_the_same_if_it_would_be_recorded_so(tmp_path):
    env = RecordEpisodes(Bad(), tmp_path)
    env.reset(seed=1)
    for _ in range(2):
        env.step(env.action_space.sample())
    env.close()
    assert_all_replay(tmp_path, Bad())


class Counted(Walk):
    resets = 0

    def reset(self, *, seed=None, options=None):
        Counted.resets += 1
        return super().reset(seed=seed, options=options)


def test_replaying_all_episodes_lives_each_of_them_once(tmp_path):
    env = RecordEpisodes(Counted(), tmp_path)
    for _ in range(20):
        env.reset()
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            done = terminated or truncated
    env.close()
    recording, Counted.resets = open_recording(tmp_path), 0
    replays = replay_all(recording, recording.episodes, Counted())
    assert [replay.difference for replay in replays] == [None] * 20
    assert Counted.resets == 20
    bent = replay_all(recording, recording.episodes, Counted(bent=1.0))
    assert [replay.difference is not None for replay in bent] == [episode.steps > 2 for episode in recording.episodes]


def test_infos_of_a_vector_need_not_say_for_whom_they_are(tmp_path):
    class Scores(gymnasium.vector.VectorWrapper):
        def step(self, actions):
            *rest, _ = super().step(actions)
            return *rest, {"score": np.arange(2.0)}

    envs = gymnasium.make_vec("CartPole-v1", num_envs=2)  # one that steps all of them at once, and takes one seed
    env = RecordVectorEpisodes(Scores(envs), tmp_path, infos={"score": "float32"})
    env.reset()
    env.step(env.action_space.sample())
    env.close()
    recording = open_recording(tmp_path)
    assert sorted(recording.read(episode).extras["score"].tolist() for episode in recording.episodes) == [[0.0], [1.0]]
    for episode in recording.episodes:
        assert isinstance(episode.meta["vector_seed"], int)
        with pytest.raises(RecordingError, match="nobody noted how"):
            resimulate(recording, episode, make_recorded_env(recording.meta))


def test_an_atari_game_is_made_again_without_the_package_being_imported(tmp_path):
    pytest.importorskip("ale_py")
    meta = {"env": {"id": "ALE/Pong-v5", "kwargs": {}, "left_out": [], "wrappers": [], "max_episode_steps": None}}
    code = f"from recorders import make_recorded_env; print(make_recorded_env({meta!r}).observation_space.shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "(210, 160, 3)" in done.stdout, done.stderr

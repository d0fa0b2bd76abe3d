"""Snapshot, restore and fork on both environments: whatever happened in between, frames are those of the plain path."""

import copy
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs import WorldEnv, WorldVectorEnv
from world_model import StateError, WorldState

ROOT = Path(__file__).resolve().parent.parent
B = 3
LIMIT = 4


def single(world, **kwargs):
    return WorldEnv(world, **{"dtype": "fp32", "max_episode_steps": LIMIT, **kwargs})


def vector(world, count=B, **kwargs):
    return WorldVectorEnv(world, count, **{"dtype": "fp32", "max_episode_steps": LIMIT, **kwargs})


def live(env, steps=6, seed=0):
    """Everything an environment says in so many steps and two resets."""
    said = []
    for action in np.random.default_rng(seed).integers(0, 6, steps):
        said.append(env.step(int(action)))
        if said[-1][2] or said[-1][3]:
            said.append(env.reset())
    return [*said, env.reset(), env.step(0), env.np_random_seed]


def live_together(envs, steps=6, seed=0):
    """Everything a vector says in so many steps and a reset."""
    said = [envs.step(actions) for actions in np.random.default_rng(seed).integers(0, 6, (steps, envs.num_envs))]
    return [*said, envs.reset(), envs.step([0] * envs.num_envs), envs.np_random_seed]


def same(one, other):
    return data_equivalence(one, other, exact=True)


class Plain:
    """What one rollout should be: the clip it began at, its noise, what led to each frame, and its generator.

    `frames` draws it again from the start, each frame in a batch that holds nothing else, at the row where it
    was drawn.
    """

    def __init__(self, envs, row):
        self.rng = np.random.Generator(np.random.PCG64())
        self.rng.bit_generator.state = envs.np_random[row].bit_generator.state
        self.context, self.seed, self.led, self.seen = -1, -1, [], []

    def begin(self, contexts, observation):
        self.context = int(self.rng.integers(len(contexts)))
        self.seed = int(self.rng.integers(2**63 - 1))
        self.led, self.seen = [], [observation.copy()]

    def add(self, row, action, observation):
        self.led.append((row, int(action)))
        self.seen.append(observation.copy())

    def frames(self, world):
        contexts = world.contexts
        state, frames = world.start(contexts.frames[self.context], contexts.actions[self.context], self.seed), []
        for row, action in self.led:
            batch = state.take([0] * B)
            frames.append(world.step_batch(batch, np.full(B, action))[0][row])
            state = batch.take([row])
        return [contexts.frames[self.context, -1], *frames]


class Model:
    """A vector and what each of its rollouts should be."""

    def __init__(self, world):
        self.envs = vector(world)
        self.world = self.envs.world
        observations, _ = self.envs.reset(seed=0)
        self.plain = []
        for row in range(B):
            self.plain.append(Plain(self.envs, row))
            self.plain[row].rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(row)))
            self.plain[row].begin(self.world.contexts, observations[row])
        self.over, self.kept = [False] * B, []

    def step(self, actions):
        observations, rewards, terminations, truncations, infos = self.envs.step(actions)
        for row in range(B):
            if self.over[row]:
                self.plain[row].begin(self.world.contexts, observations[row])
                assert (rewards[row], infos["context"][row]) == (0, self.plain[row].context)
            else:
                self.plain[row].add(row, actions[row], observations[row])
                assert truncations[row] == (len(self.plain[row].led) >= LIMIT)
        self.over = [bool(it) for it in terminations | truncations]

    def reset(self, rows):
        mask = np.isin(np.arange(B), rows)
        observations, _ = self.envs.reset(options={"reset_mask": mask})
        for row in rows:
            self.plain[row].begin(self.world.contexts, observations[row])
            self.over[row] = False

    def snapshot(self, rows):
        self.kept.append((self.envs.snapshot(rows), copy.deepcopy([(self.plain[row], self.over[row]) for row in rows])))

    def restore(self, which, rows):
        """All rollouts of a snapshot if there are as many as `rows`, or its first to all of them."""
        if not self.kept:
            return
        state, plain = self.kept[which % len(self.kept)]
        if len(plain) != len(rows):
            state, plain = state.take([0]), plain[:1] * len(rows)
        self.envs.restore(state, rows=rows)
        for row, (rollout, over) in zip(rows, plain, strict=True):
            self.plain[row], self.over[row] = copy.deepcopy(rollout), over

    def fork(self, which):
        """Go on in one of two forks; the other, and the vector itself, go elsewhere."""
        one, other = self.envs.fork(2)
        left = self.envs, one, other
        self.envs = left[which % 3]
        for envs in left:
            if envs is not self.envs:
                envs.step([5] * B)

    def check(self):
        for row in range(B):
            plain = self.plain[row]
            assert all((a == b).all() for a, b in zip(plain.seen, plain.frames(self.world), strict=True))
            assert self.envs.np_random[row].bit_generator.state == plain.rng.bit_generator.state


rows = st.lists(st.integers(0, B - 1), min_size=1, max_size=B, unique=True)
moves = st.one_of(
    st.tuples(st.just("step"), st.lists(st.integers(0, 5), min_size=B, max_size=B)),
    st.tuples(st.just("step"), st.lists(st.integers(0, 5), min_size=B, max_size=B)),
    st.tuples(st.just("reset"), rows),
    st.tuples(st.just("snapshot"), rows),
    st.tuples(st.just("restore"), st.integers(0, 9), rows),
    st.tuples(st.just("fork"), st.integers(0, 2)),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(moves, min_size=4, max_size=16))
def test_any_interleaving_gives_row_by_row_the_frames_of_the_plain_path(mortal_world, made):
    model = Model(mortal_world)
    for name, *arguments in made:
        getattr(model, name)(*arguments)
    model.check()


@pytest.mark.parametrize("kwargs", [{}, {"frame_stack": 3, "grayscale": True, "size": [8, 8]}])
def test_a_single_environment_goes_on_from_a_snapshot_as_if_nothing_had_been(small_world, kwargs):
    env = single(small_world, **kwargs)
    env.reset(seed=4)
    env.step(1)
    state = env.snapshot()
    first = live(env)
    for _ in range(2):
        env.restore(state)
        assert same(live(env), first)
    other = single(small_world, **kwargs)
    other.restore(state)
    assert same(live(other), first)
    observation, info = env.reset(options={"state": state})
    assert info == {}
    assert observation.shape == env.observation_space.shape
    assert same(live(env), first)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_a_vector_goes_on_from_a_snapshot_as_if_nothing_had_been(mortal_world, mode):
    envs = vector(mortal_world, autoreset_mode=mode, frame_stack=2)
    envs.reset(seed=4)
    for steps in range(LIMIT + 1):  # also where all episodes have just ended
        state = envs.snapshot()
        first = live_together(envs)
        envs.restore(state)
        assert same(live_together(envs), first)
        other = vector(mortal_world, autoreset_mode=mode, frame_stack=2)
        other.restore(state)
        assert same(live_together(other), first)
        envs.restore(state)
        envs.step([steps] * B)


def test_a_snapshot_moves_between_single_and_vector_environments(small_world):
    env, one = single(small_world), vector(small_world, 1)
    env.reset(seed=4), env.step(1)
    one.restore(env.snapshot())
    observation, reward, *flags, _ = env.step(2)
    its = one.step([2])
    assert same((observation, reward, flags), (its[0][0], float(its[1][0]), [bool(its[2][0]), bool(its[3][0])]))
    envs = vector(small_world)
    envs.reset(seed=9), envs.step([0, 1, 2])
    env.restore(envs.snapshot(rows=[1]))
    assert env.np_random.bit_generator.state == envs.np_random[1].bit_generator.state
    assert env.np_random_seed == 10
    seen = envs.step([3, 3, 3])[0][1].astype(int)
    assert np.abs(env.step(3)[0] - seen).max() <= 1
    assert [env.step(0)[3] for _ in range(2)] == [False, True]  # its steps in the vector count


def test_one_rollout_may_go_into_several_rows_and_touches_no_other(small_world):
    envs, twin = vector(small_world), vector(small_world)
    envs.reset(seed=0), twin.reset(seed=0)
    envs.step([0, 1, 2]), twin.step([0, 1, 2])
    state = envs.snapshot(rows=[2])
    envs.restore(state, rows=[0, 2])
    assert envs.np_random_seed == (2, 1, 2)
    seen, expected = envs.step([4, 4, 4])[0], twin.step([4, 4, 4])[0]
    assert (seen[1:] == expected[1:]).all()
    assert (seen[0] == seen[2]).all()
    envs.restore(state)
    seen = envs.step([4, 4, 4])[0]
    assert all((row == seen[2]).all() for row in seen)
    assert len(set(envs.np_random)) == 3
    pair = twin.snapshot(rows=[2, 0])
    envs.restore(pair, rows=[0, 1])
    assert envs.np_random_seed == (2, 0, 2)


def test_a_reset_at_a_state_goes_on_with_it_and_a_seed_beside_it_makes_other_noise(small_world):
    env = single(small_world, max_episode_steps=None)
    env.reset(seed=0), env.step(1)
    state = env.snapshot()
    shown = env.reset(options={"state": state})[0]
    plain = [env.step(2)[0] for _ in range(3)]
    assert (env.reset(seed=5, options={"state": state})[0] == shown).all()
    assert env.np_random_seed == 5
    other = [env.step(2)[0] for _ in range(3)]
    assert not (plain[0] == other[0]).all()
    env.reset(seed=5, options={"state": state})
    assert same([env.step(2)[0] for _ in range(3)], other)

    envs = vector(small_world)
    envs.reset(seed=0)
    before = envs.snapshot()
    observations, infos = envs.reset(options={"state": state, "reset_mask": np.array([False, True, True])})
    assert infos == {}
    assert (observations[1:] == shown).all()
    assert envs.np_random_seed == (0, 0, 0)
    observations, _ = envs.reset(seed=[7, None, None], options={"state": before})
    assert envs.np_random_seed == (7, 1, 2)
    seeds = envs.snapshot().seeds
    assert [seeds[i] == before.seeds[i] for i in range(B)] == [False, True, True]


def test_through_gymnasiums_time_limit_a_reset_at_a_state_counts_from_there(small_world):
    env = gym.wrappers.TimeLimit(single(small_world, max_episode_steps=None), 5)
    env.reset(seed=0), env.step(0), env.step(0)
    state = env.unwrapped.snapshot()
    for _ in range(3):
        env.reset(options={"state": state})
        assert [env.step(0)[3] for _ in range(4)] == [False] * 4


def test_forks_share_weights_and_go_their_own_ways(small_world):
    env = single(small_world)
    env.reset(seed=0), env.step(1)
    plain = single(small_world)
    plain.restore(env.snapshot())
    forks = env.fork(6)
    assert all(fork.world is env.world for fork in forks)
    ends = [fork.step(action)[0] for action, fork in enumerate(forks)]
    assert len({it.tobytes() for it in ends}) == 6
    assert (env.step(3)[0] == ends[3]).all()
    assert (plain.step(3)[0] == ends[3]).all()
    assert same(live(forks[3]), live(env))
    samples = [fork.action_space.seed(7) and fork.action_space.sample() for fork in forks]
    env.action_space.seed(8), [env.action_space.sample() for _ in range(3)]
    assert len(set(samples)) == 1
    envs = vector(small_world)
    envs.reset(seed=0)
    one, other = envs.fork(2)
    one.step([1, 2, 3])
    assert same(live_together(other), live_together(envs))


def test_a_fork_opens_no_window(small_world, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = single(small_world, render_mode="human")
    env.reset(seed=0)
    (fork,) = env.fork(1)
    fork.step(0), fork.close()
    assert env.step(0)[0].shape == (16, 20, 3)
    env.close()


def test_forks_are_at_least_one(small_world):
    for env in (single(small_world), vector(small_world)):
        env.reset(seed=0)
        with pytest.raises(ValueError, match="n must be at least 1, got 0"):
            env.fork(0)


ELSEWHERE = """
import sys
import numpy as np
from envs import WorldEnv, WorldVectorEnv
world, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
kwargs = dict(dtype="fp32", max_episode_steps=4, frame_stack=2)
env = WorldVectorEnv(world, count, **kwargs) if count else WorldEnv(world, **kwargs)
env.restore(env.load_state(path))
for action in (1, 2, 3):
    observation, reward, *flags, info = env.step([action] * count if count else action)
    print(observation.tobytes().hex(), reward, flags)
print(env.reset()[0].tobytes().hex())
"""


@pytest.mark.parametrize("count", [0, 2])
def test_a_saved_state_goes_on_in_another_process(small_world, tmp_path, count):
    kwargs = {"frame_stack": 2}
    env = vector(small_world, count, **kwargs) if count else single(small_world, **kwargs)
    env.reset(seed=3)
    env.step([1] * count if count else 1)
    env.snapshot().save(tmp_path / "here.state")
    said = []
    for action in (1, 2, 3):
        observation, reward, *flags, _ = env.step([action] * count if count else action)
        said.append(f"{observation.tobytes().hex()} {reward} {flags}")
    said.append(env.reset()[0].tobytes().hex())
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, small_world, str(tmp_path / "here.state"), str(count)],
                          cwd=ROOT, capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.stdout.splitlines() == "\n".join(said).splitlines(), done.stderr


def test_a_reset_takes_the_file_of_a_state(small_world, tmp_path):
    env = single(small_world)
    env.reset(seed=0), env.step(1)
    shown, path = env.snapshot(), tmp_path / "here.state"
    shown.save(path)
    first = env.step(2)
    env.reset(options={"state": str(path)})
    assert same(env.step(2), first)
    env.reset(options={"state": path})
    assert same(env.step(2), first)


def refused(env, state, message=None, live=live):
    """`restore` and `reset` refuse a state, and nothing has changed."""
    env.reset(seed=1)
    before = env.snapshot()
    expected = live(env)
    env.restore(before)
    for call in (lambda: env.restore(state), lambda: env.reset(seed=9, options={"state": state})):
        with pytest.raises(StateError, match=message):
            call()
    assert same(live(env), expected)


def test_a_state_that_does_not_belong_here_is_refused_and_changes_nothing(small_world, mortal_world):
    env = single(small_world)
    stranger = single(mortal_world)
    stranger.reset(seed=0)
    refused(env, stranger.snapshot(), "this world is .* load the world")
    coarse = single(small_world, dtype="bf16")
    coarse.reset(seed=0)
    refused(env, coarse.snapshot(), "this world is .*float32.* the state is of .*bfloat16")
    envs = vector(small_world)
    envs.reset(seed=0)
    refused(env, envs.snapshot(), "a state of 1 rollouts, got one of 3")
    refused(envs, envs.snapshot(rows=[0, 1]), "a state of 1 or 3 rollouts, got one of 2", live_together)
    refused(single(small_world, frame_stack=2), _begun(small_world), "remembers 1 pictures, this environment shows 2")
    refused(env, None, "expected a WorldState or the path of a saved one, got NoneType")


def _begun(world, **kwargs):
    env = single(world, **kwargs)
    env.reset(seed=0)
    return env.snapshot()


def test_a_state_with_more_pictures_than_are_shown_is_taken(small_world):
    env, plain = single(small_world), single(small_world, frame_stack=3)
    plain.reset(seed=0), plain.step(1)
    env.restore(plain.snapshot())
    assert (env.step(2)[0] == plain.step(2)[0][-1]).all()


def test_damaged_files_and_generators_are_refused_and_change_nothing(small_world, tmp_path):
    env, path = single(small_world), tmp_path / "here.state"
    env.reset(seed=0)
    env.snapshot().save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"no state", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(damaged)
        refused(env, str(path))
        with pytest.raises(StateError):
            env.load_state(path)
    refused(env, str(tmp_path / "nowhere"))
    state = _begun(small_world)
    state.episodes[0].rng = {"bit_generator": "PCG64", "state": "none"}
    with pytest.raises(StateError, match="the state's generator is damaged"):
        env.restore(state)


def test_an_episode_that_is_over_is_nothing_to_begin_with(small_world):
    env = single(small_world, max_episode_steps=1)
    env.reset(seed=0), env.step(0)
    state = env.snapshot()
    env.reset(seed=1)
    with pytest.raises(StateError, match="the state's episode is over"):
        env.reset(options={"state": state})
    env.step(0)
    env.restore(state)  # which goes back to exactly that moment
    with pytest.raises(ResetNeeded, match="the episode had ended"):
        env.step(0)
    envs = vector(small_world, autoreset_mode="SameStep")
    envs.restore(state)
    with pytest.raises(ResetNeeded, match=r"episodes of environments \[0, 1, 2\] had ended"):
        envs.step([0] * B)


@pytest.mark.parametrize("rows", [[3], [-1], [0, 0], [], [0.5], 1, [[0]]])
def test_bad_rows_are_refused_and_change_nothing(small_world, rows):
    envs, twin = vector(small_world), vector(small_world)
    envs.reset(seed=0), twin.reset(seed=0)
    state = single_state = _begun(small_world)
    for call in (lambda: envs.snapshot(rows=rows), lambda: envs.restore(state, rows=rows)):
        with pytest.raises(ValueError, match=r"rows must be .*integers in \[0, 2\]"):
            call()
    assert same(live_together(envs), live_together(twin))
    assert single_state.frames == _begun(small_world).frames


def test_what_was_never_begun_has_no_moment_to_keep(small_world):
    env, envs = single(small_world), vector(small_world)
    state = _begun(small_world)
    for call in (env.snapshot, lambda: env.fork(2), envs.snapshot, lambda: envs.restore(state, rows=[0, 1, 2])):
        with pytest.raises(ResetNeeded, match="call reset"):
            call()
    envs.restore(state)
    assert envs.step([0] * B)[0].shape == (B, 16, 20, 3)


def test_a_generator_of_another_kind_cannot_be_kept(small_world):
    env = single(small_world)
    env.reset(seed=0)
    env.np_random = np.random.Generator(np.random.MT19937(0))
    with pytest.raises(TypeError, match=r"PCG64.* got MT19937"):
        env.snapshot()


def test_a_state_of_the_world_itself_leaves_the_generator_alone(small_world):
    env = single(small_world)
    env.reset(seed=8)
    before = env.np_random.bit_generator.state
    frames = env.world.contexts.frames[0]
    state: WorldState = env.world.start(frames, env.world.contexts.actions[0], 5)
    env.restore(state)
    assert env.np_random.bit_generator.state == before
    assert (env.step(1)[0] == env.world.step(state, 1)[0]).all()

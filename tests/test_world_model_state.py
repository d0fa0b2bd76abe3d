"""States of worlds: forks that cost nothing, rows that go where they are put, files that are complete (I4, I6, I7)."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from world_model import Contexts, Episode, SamplerConfig, StateError, World, WorldModel, WorldModelConfig, WorldState
from world_model.cache import FrameCache

ACTIONS = [0, 1, 2, 2, 1, 0, 1]


def make_world(hash: str = "w1", sinks: int = 1, **sampler: object) -> World:
    torch.manual_seed(0)
    config = WorldModelConfig(height=8, width=12, patch=[4, 4], dim=16, layers=2, heads=2, num_actions=3, window=4,
                              temporal_every=2, sinks=sinks)
    model = WorldModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    rng = np.random.default_rng(0)
    contexts = Contexts(rng.integers(0, 256, (4, 3, 8, 12, 3), np.uint8), rng.integers(0, 3, (4, 2)))
    card = {"fps": 10, "actions": {"meanings": ["A", "B", "C"]}}
    return World(model, SamplerConfig(steps=3, **sampler), card, contexts, hash)


@pytest.fixture(scope="module", params=[0, 1])
def world(request: pytest.FixtureRequest) -> World:
    return make_world(sinks=request.param)


def begin(world: World, clip: int = 0, seed: int = 5, steps: int = 0, pictures: int = 1) -> WorldState:
    state = world.start(world.contexts.frames[clip], world.contexts.actions[clip], seed, pictures)
    for a in ACTIONS[:steps]:
        world.step(state, a)
    return state


def run(world: World, state: WorldState, actions: list[int] = ACTIONS) -> np.ndarray:
    return np.stack([world.step_batch(state, np.full(len(state), a))[0] for a in actions], 1)


def storage(state: WorldState) -> set[int]:
    cache = state.cache
    return {x.data_ptr() for x in (cache.recent, cache.pictures, *(ring.k for ring in cache.rings))}


def test_a_fork_shares_memory_until_it_is_stepped(world: World) -> None:
    state = begin(world, steps=2)
    before = storage(state)
    first, second = state.fork(2)
    assert storage(first) == storage(second) == before
    world.step(first, 1)
    assert not storage(first) & before and storage(second) == before == storage(state)


def test_whoever_is_left_alone_writes_in_place(world: World) -> None:
    state = begin(world)
    fork = state.clone()
    before = storage(state)
    del fork
    world.step(state, 1)
    assert storage(state) == before


def test_forks_go_their_own_ways(world: World) -> None:
    state = begin(world, steps=2)
    expected = run(world, state.clone())
    forks = state.fork(3)
    for i, fork in enumerate(forks):
        world.step(fork, i)
    assert (run(world, state) == expected).all()
    alone = begin(world, steps=2)
    world.step(alone, 2)
    assert (run(world, forks[2]) == run(world, alone)).all()


@pytest.mark.parametrize("count", [0, -1])
def test_forks_are_counted(world: World, count: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        begin(world).fork(count)


def test_rows_go_where_they_are_put_and_touch_no_other(world: World) -> None:
    batch = WorldState.join([begin(world, i, seed=i, steps=i) for i in range(4)])
    assert batch.frames == [3, 4, 5, 6] and batch.seeds == [0, 1, 2, 3]
    kept = batch.clone()
    batch.put([2], begin(world, 3, seed=9))
    assert batch.frames == [3, 4, 3, 6] and batch.seeds == [0, 1, 9, 3]
    after, before = run(world, batch), run(world, kept)
    assert (after[[0, 1, 3]] == before[[0, 1, 3]]).all()
    other = WorldState.join([begin(world, 0), begin(world, 0), begin(world, 3, seed=9), begin(world, 0)])
    assert (after[2] == run(world, other)[2]).all()


def test_a_batch_is_its_members_each_alone(world: World) -> None:
    for steps in (0, 1, 6):  # rings that are not full, and rings turned differently
        members = [begin(world, i, seed=i, steps=(i * steps) % 8) for i in range(4)]
        together = run(world, WorldState.join(members)).astype(int)
        for i, member in enumerate(members):
            assert np.abs(together[i] - run(world, member)[0]).max() <= 1  # other batch sizes round differently


def test_what_was_taken_goes_on_as_in_the_batch(world: World) -> None:
    batch = WorldState.join([begin(world, i, seed=i, steps=2 * i) for i in range(3)])
    mixed = batch.take([2, 0, 1])
    assert (run(world, mixed) == run(world, batch)[[2, 0, 1]]).all()


def test_one_rollout_can_go_to_all_rows(world: World) -> None:
    batch = WorldState.join([begin(world, i, seed=i) for i in range(3)])
    batch.put([0, 1, 2], begin(world, 2, seed=7, steps=5))
    frames = run(world, batch)
    assert (frames[0] == frames[1]).all() and (frames[0] == frames[2]).all() and batch.seeds == [7, 7, 7]


def test_rings_put_beside_others_are_written_together(world: World) -> None:
    """Streams of any ages share one slot, or a batch would fall apart into groups."""
    batch = WorldState.join([begin(world, steps=s) for s in (4, 5, 6)])
    batch.put([1], begin(world, steps=7))
    assert all(len(set(ring.count.tolist())) == 1 for ring in batch.cache.rings)


def test_nothing_is_half_changed_by_a_state_that_does_not_fit(world: World) -> None:
    batch = WorldState.join([begin(world, i) for i in range(3)])
    expected = run(world, batch.clone())
    sinks = world.model.config.sinks
    strangers = [begin(make_world("w2", sinks)), begin(make_world("w1", 2)), begin(world, pictures=2)]
    for stranger in strangers:
        with pytest.raises(StateError, match="expected"):
            batch.put([1], stranger)
    with pytest.raises(StateError, match="1 or 2"):
        batch.put([0, 1], WorldState.join([begin(world)] * 3))
    with pytest.raises(IndexError, match=r"\[0, 2\]"):
        batch.put([3], begin(world))
    with pytest.raises(StateError, match="world"):
        WorldState.join([begin(world), strangers[0]])
    assert (run(world, batch) == expected).all()


def test_a_world_refuses_states_of_others(world: World) -> None:
    state = begin(make_world("w2", world.model.config.sinks))
    with pytest.raises(StateError, match="w2"):
        world.step(state, 0)
    assert state.frames == [3]


def test_the_last_pictures_are_kept_as_shown(world: World) -> None:
    state = begin(world, pictures=5)
    clip = world.contexts.frames[0]
    assert (state.pictures[0].numpy() == clip[[0, 0, 0, 1, 2]]).all()
    drawn = [world.step(state, a)[0] for a in ACTIONS[:4]]
    assert (state.pictures[0].numpy() == np.stack([clip[2], *drawn])).all()
    assert (state.keeping(2).pictures[0].numpy() == np.stack(drawn[-2:])).all()
    longer = state.keeping(6)
    assert (longer.pictures[0, :2].numpy() == clip[2]).all() and state.pictures.shape[1] == 5
    assert (run(world, longer) == run(world, state)).all()


def test_memory_does_not_grow(world: World) -> None:
    state = begin(world, steps=7)
    held, places = state.nbytes, storage(state)
    run(world, state, ACTIONS * 4)
    assert state.nbytes == held and storage(state) == places


def test_a_saved_state_goes_on_in_another_process(world: World, tmp_path: Path) -> None:
    state = WorldState.join([begin(world, i, seed=2**62 + i, steps=2 * i) for i in range(3)])
    state.episodes[1] = Episode(7, True, {"state": {"state": 2**100}}, {"lives": 3})
    state.save(tmp_path / "state")
    loaded = WorldState.load(tmp_path / "state", world)
    assert loaded.episodes == state.episodes and loaded.frames == state.frames
    code = ("import sys; sys.path[:0] = ['tests', '.']; import test_world_model_state as t\n"
            "w = t.make_world(sinks=int(sys.argv[2]))\n"
            "import numpy as np; np.save(sys.argv[1] + '.npy', t.run(w, t.WorldState.load(sys.argv[1], w)))")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "state"), str(world.model.config.sinks)], check=True,
                   cwd=Path(__file__).parent.parent)
    assert (np.load(tmp_path / "state.npy") == run(world, state)).all()
    assert (run(world, loaded) == np.load(tmp_path / "state.npy")).all()
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_several_may_save_to_the_same_file_at_once(world: World, tmp_path: Path) -> None:
    states = [begin(world, i, seed=i, steps=i) for i in range(4)]
    states[0].save(tmp_path / "state")

    def save(state: WorldState) -> None:
        for _ in range(20):
            state.save(tmp_path / "state")

    with ThreadPoolExecutor(len(states)) as pool:
        saving = [pool.submit(save, state) for state in states]
        while not all(one.done() for one in saving):
            assert WorldState.load(tmp_path / "state", world).seeds in [state.seeds for state in states]
    for one in saving:
        one.result()
    assert [found.name for found in tmp_path.iterdir()] == ["state"]


def test_saving_that_fails_leaves_nothing(world: World, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(OSError, match="state"):
        begin(world).save(tmp_path / "state")
    assert list(tmp_path.rglob("*")) == [tmp_path / "state"]


def test_files_that_are_no_state_are_refused(world: World, tmp_path: Path) -> None:
    path = tmp_path / "state"
    with pytest.raises(StateError, match="no state at"):
        WorldState.load(path, world)
    begin(world).save(path)
    whole = path.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(StateError, match="truncated"):
            WorldState.load(path, world)
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(StateError, match="damaged"):
        WorldState.load(path, world)
    path.write_text("no state")
    with pytest.raises(StateError, match="no state of a world"):
        WorldState.load(path, world)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(StateError, match="no state of a world"):
        WorldState.load(path, world)


@pytest.mark.parametrize("change", [{"version": 99}, {"format": "other"}, {"seeds": []}, {"frames": [-1]},
                                    {"seeds": ["x"]}, {"episodes": []}, {"world": 3}, {"flight": [3]},
                                    {"flight": [3, 1]}, {"flight": [3, 1, "a"]}, {"flight": ["a", 1]},
                                    {"episodes": ["x"]}, {"episodes": [{"steps": "a"}]},
                                    {"episodes": [{"steps": 0, "over": False, "rng": None, "notes": []}]},
                                    {"seeds": [True]}])  # fmt: skip
def test_descriptions_that_do_not_fit_are_refused(world: World, tmp_path: Path, change: dict[str, object]) -> None:
    from world_model import state_file

    begin(world).save(tmp_path / "state")
    card, tensors = state_file._read(tmp_path / "state")
    text = json.dumps(card | change)
    save_file(tensors, tmp_path / "state", {"foreframe": text, "sha256": state_file._digest(text, tensors)})
    with pytest.raises(StateError, match=r"version|no state"):
        WorldState.load(tmp_path / "state", world)


@pytest.mark.parametrize("name", ["pictures", "ring0.count", "actions", "flight"])
def test_numbers_that_cannot_be_are_refused(world: World, tmp_path: Path, name: str) -> None:
    from world_model import state_file

    state = begin(world)
    world.take_off(state, 1)
    state.save(tmp_path / "state")
    card, tensors = state_file._read(tmp_path / "state")
    wrong = {"pictures": tensors["pictures"][:, :0], "ring0.count": tensors["ring0.count"] - 9,
             "actions": tensors["actions"] + 99, "flight": tensors["flight"][:, :1]}  # fmt: skip
    text = json.dumps(card)
    for change in (wrong[name], None):
        other = {k: v for k, v in tensors.items() if k != name} | ({} if change is None else {name: change})
        save_file({k: v.contiguous() for k, v in other.items()}, tmp_path / "state",
                  {"foreframe": text, "sha256": state_file._digest(text, other)})
        with pytest.raises(StateError, match="save"):
            WorldState.load(tmp_path / "state", world)


def test_what_is_drawn_does_not_depend_on_settings_around_the_caller(world: World) -> None:
    expected = run(world, begin(world))
    with torch.autocast("cpu", torch.bfloat16):
        assert (run(world, begin(world)) == expected).all()
    torch.set_default_dtype(torch.float64)
    try:
        assert (run(world, begin(world)) == expected).all()
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_state_of_another_world_or_number_format_is_refused(world: World, tmp_path: Path) -> None:
    begin(world).save(tmp_path / "state")
    with pytest.raises(StateError, match="belongs to world w1"):
        WorldState.load(tmp_path / "state", make_world("w2", world.model.config.sinks))
    half = make_world("w1", world.model.config.sinks)
    half = World(half.model.to(torch.bfloat16), half.sampler, half.card, half.contexts, half.hash)
    with pytest.raises(StateError, match="number format"):
        WorldState.load(tmp_path / "state", half)
    with pytest.raises(StateError, match="float32"):
        half.step(begin(world), 0)


def test_a_fork_that_two_threads_write_is_copied_once_at_a_time(world: World) -> None:
    """Copies are made under a lock: nobody may write in place what another is still copying."""
    from concurrent.futures import ThreadPoolExecutor

    state = begin(world, steps=3)
    expected = run(world, state.clone(), ACTIONS[:2])
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            forks = state.fork(4)
            for frames in pool.map(lambda fork: run(world, fork, ACTIONS[:2]), forks):
                assert (frames == expected).all()


def test_caches_are_bounded_and_count_their_bytes(world: World) -> None:
    cache = FrameCache(world.model.config, torch.zeros(1), batch=2, pictures=3)
    assert cache.batch == 2 and cache.pictures.shape == (2, 3, 8, 12, 3)
    assert cache.nbytes == sum(ring.nbytes for ring in cache.rings) + cache.recent.nbytes + cache.actions.nbytes + (
        cache.pictures.nbytes)

import json

import numpy as np
import pytest
from gymnasium import spaces
from sample_recordings import MIXED, PICTURE, VECTOR, record

from recorders import open_recording
from recorders.cards import recording_card
from recorders.episode_data import read_episode
from recorders.export import ExportConfig, export
from recorders.importing import ImportConfig, import_episodes
from recorders.npz_files import write_npz

T = 4
PLAIN = {
    "observations": np.arange((T + 1) * 6, dtype=np.float32).reshape(T + 1, 6),
    "actions": np.array([0, 2, 1, 2]),
    "rewards": np.array([0.5, 0, 0, 1], np.float32),
    "terminated": np.array([False, False, False, True]),
    "truncated": np.zeros(T, bool),
}


def save(folder, name="a.npz", **arrays):
    """A file of another program: `PLAIN` with some arrays changed, or left out where they are None."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / name, **{key: value for key, value in {**PLAIN, **arrays}.items() if value is not None})
    return folder


def bring_in(source, tmp_path, **options):
    """Import and open."""
    found = import_episodes(ImportConfig(source=str(source), to=str(tmp_path / "second"), **options))
    return open_recording(tmp_path / "second"), found.notes


def export_npz(tmp_path, **options):
    return export(ExportConfig(path=str(tmp_path / "first"), to="npz", out=str(tmp_path / "out"), **options))


def test_numpy_alone_reads_an_exported_episode(tmp_path):
    recording = open_recording(record(tmp_path / "first"))
    clip, episode = recording.read(1), recording.episodes[1]
    with np.load(export_npz(tmp_path) / "episode_000001.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["observations"], clip.observations)
        assert stored["observations"].shape == (4, 36, 33, 3) and stored["actions"].shape == (3,)
        np.testing.assert_array_equal(stored["rewards"], clip.rewards)
        assert stored["truncated"].tolist() == [False, False, True] and not stored["terminated"].any()
        np.testing.assert_array_equal(stored["extras.latent"], clip.extras["latent"])
        metadata = json.loads(str(stored["metadata"]))
    assert metadata["episode"]["seed"] == episode.seed == 101 and metadata["episode"]["id"] == episode.id
    assert metadata["recording"]["action_space"]["n"] == 6


def test_parts_of_a_dict_are_arrays_of_their_own(tmp_path):
    record(tmp_path / "first", MIXED)
    with np.load(export_npz(tmp_path) / "episode_000000.npz") as stored:
        names = {name for name in stored.files if name.startswith("observations")}
    assert names == {"observations.camera", "observations.arm.0", "observations.arm.1", "observations.grid"}


def test_texts_are_strings_and_sequences_json(tmp_path):
    space = spaces.Dict({"said": spaces.Text(5), "heard": spaces.Sequence(spaces.Discrete(9))})
    seen = open_recording(record(tmp_path / "first", space)).read(0).observations
    with np.load(export_npz(tmp_path) / "episode_000000.npz") as stored:
        assert stored["observations.said"].tolist() == seen["said"]
        heard = [json.loads(text)[0] for text in stored["observations.heard"]]
    assert heard == [[int(n) for n in one] for one in seen["heard"]]


def test_one_episode_may_be_one_file(tmp_path):
    record(tmp_path / "first", VECTOR)
    out = export(ExportConfig(path=str(tmp_path / "first"), to="npz", out=str(tmp_path / "one.npz"), episodes=[1]))
    recording, _ = bring_in(out, tmp_path)
    assert out.is_file() and [episode.seed for episode in recording.episodes] == [101]


def test_a_text_that_numpy_would_cut_is_refused(tmp_path):
    recording = open_recording(record(tmp_path / "first", spaces.Text(5)))
    data = read_episode(recording, recording.episodes[1])
    data.observations[2] = "a\0"
    with pytest.raises(ValueError, match="ends with a NUL"):
        write_npz(tmp_path / "a.npz", data, recording_card(recording))


def test_a_plain_file_becomes_a_recording_with_guessed_spaces(tmp_path):
    recording, notes = bring_in(save(tmp_path / "in") / "a.npz", tmp_path)
    clip = recording.read(0)
    np.testing.assert_array_equal(clip.observations, PLAIN["observations"])
    np.testing.assert_array_equal(clip.actions, PLAIN["actions"])
    assert clip.rewards.tolist() == [0.5, 0, 0, 1] and recording.episodes[0].terminated
    assert recording.action_space == spaces.Discrete(3)
    assert recording.observation_space == spaces.Box(-np.inf, np.inf, (6,), np.float32)
    assert notes == [f"{tmp_path}/in/a.npz does not say its spaces; guessed observations Box float32 [6], "
                     "actions Discrete(3)"] and recording.meta["spaces"] == "guessed from the arrays"  # fmt: skip


def test_other_spellings_of_the_flags_are_known(tmp_path):
    flags = {"terminated": None, "truncated": None, "terminations": PLAIN["terminated"], "truncations": np.zeros(T)}
    recording, _ = bring_in(save(tmp_path / "in", **flags), tmp_path)
    assert recording.episodes[0].terminated


def test_a_folder_of_plain_files_is_one_recording(tmp_path):
    save(tmp_path / "in", "a.npz")
    save(tmp_path / "in", "b.npz", actions=np.array([5, 0, 0, 0]))
    recording, _ = bring_in(tmp_path / "in", tmp_path)
    assert len(recording.episodes) == 2 and recording.action_space == spaces.Discrete(6)


@pytest.mark.parametrize(
    ("arrays", "observation_space", "action_space"),
    [
        ({"observations": np.zeros((T + 1, 8, 9, 3), np.uint8)}, spaces.Box(0, 255, (8, 9, 3), np.uint8), None),
        ({"observations": np.zeros(T + 1, bool)}, spaces.Box(0, 1, (), np.bool_), None),
        ({"observations": np.zeros((T + 1, 2), np.int32)}, spaces.Box(-(1 << 31), (1 << 31) - 1, (2,), np.int32), None),
        ({"actions": np.zeros((T, 2), np.float64)}, None, spaces.Box(-np.inf, np.inf, (2,), np.float64)),
        ({"actions": np.array([-1, 0, 1, 0])}, None, spaces.Discrete(3, start=-1)),
        ({"actions": np.array([True, False, True, False])}, None, spaces.Discrete(2)),
        ({"actions": np.ones((T, 3), bool)}, None, spaces.MultiBinary((3,))),
        ({"actions": np.ones((T, 3), np.uint8)}, None, spaces.Box(0, 255, (3,), np.uint8)),
    ],
)
def test_spaces_are_guessed_from_arrays(arrays, observation_space, action_space, tmp_path):
    recording, _ = bring_in(save(tmp_path / "in", **arrays), tmp_path)
    assert observation_space in (None, recording.observation_space)
    assert action_space in (None, recording.action_space)
    assert np.array_equal(recording.read(0).observations, {**PLAIN, **arrays}["observations"])
    assert np.array_equal(recording.read(0).actions, {**PLAIN, **arrays}["actions"])


def test_a_missing_last_observation_is_said_and_repeated_only_if_asked(tmp_path):
    save(tmp_path / "in", observations=PLAIN["observations"][:T])
    with pytest.raises(ValueError, match=r"4 observations for 4 actions.*allow_missing_last=true"):
        bring_in(tmp_path / "in", tmp_path)
    assert not (tmp_path / "second").exists() or not list((tmp_path / "second").glob("seg-*"))
    recording, _ = bring_in(tmp_path / "in", tmp_path, allow_missing_last=True)
    np.testing.assert_array_equal(recording.read(0).observations[T], PLAIN["observations"][T - 1])
    assert recording.episodes[0].meta["last_observation_repeated"] is True


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"actions": None}, r"has no actions: expected observations, actions"),
        ({"terminated": None}, "has no terminated or terminations"),
        ({"rewards": np.zeros((T, 1))}, "has rewards of shape"),
        ({"rewards": np.zeros(0)}, "has rewards of shape"),
        ({"actions": np.zeros(T + 1, int)}, "needs 4 actions"),
        ({"observations": np.zeros((T + 2, 3))}, "needs 5 observations"),
        ({"truncated": np.zeros((T, 2))}, "needs 4 truncated"),
        ({"actions": np.array(["up"] * T)}, "needs 4 actions as numbers"),
        ({"terminated": np.array([False, True, False, True])}, "holds several episodes, the first ends at step 1"),
        ({"rewards": np.array([0, np.nan, 0, 0])}, "a reward must be a finite number"),
    ],
)
def test_a_plain_file_that_makes_no_sense_is_refused(arrays, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        bring_in(save(tmp_path / "in", **arrays), tmp_path)


@pytest.mark.parametrize("arrays", [{"observations": np.zeros((T + 1, 7), np.float32)}, {"actions": np.zeros((T, 2))}])
def test_plain_files_that_differ_are_refused(arrays, tmp_path):
    save(tmp_path / "in", "a.npz")
    save(tmp_path / "in", "b.npz", **arrays)
    with pytest.raises(ValueError, match="import them apart"):
        bring_in(tmp_path / "in", tmp_path)


def test_pickled_objects_are_not_read(tmp_path):
    save(tmp_path / "in", actions=np.array([{}, [], 1, 2], object))
    with pytest.raises(ValueError, match=r"not a readable .npz file without pickled objects"):
        bring_in(tmp_path / "in", tmp_path)


def test_what_is_no_npz_file_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"not a readable .npz file"):
        bring_in(tmp_path / "a.npz", tmp_path)
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(ValueError, match="one array, not several"):
        bring_in(tmp_path / "b.npy", tmp_path)


def test_exports_of_two_games_are_not_mixed(tmp_path):
    record(tmp_path / "first", VECTOR)
    record(tmp_path / "other", PICTURE)
    out = export_npz(tmp_path, episodes=[0])
    export(ExportConfig(path=str(tmp_path / "other"), to="npz", out=str(out / "other.npz"), episodes=[1]))
    with pytest.raises(ValueError, match="differ in spaces or extras"):
        bring_in(out, tmp_path)


def test_an_export_with_an_array_missing_is_refused(tmp_path):
    record(tmp_path / "first", VECTOR)
    path = export_npz(tmp_path, episodes=[0]) / "episode_000000.npz"
    with np.load(path) as stored:
        kept = {name: stored[name] for name in stored.files if name != "actions"}
    np.savez(path, **kept)
    with pytest.raises(ValueError, match="lacks or distorts an array"):
        bring_in(path, tmp_path)


def test_an_export_of_a_newer_program_is_refused(tmp_path):
    record(tmp_path / "first", VECTOR)
    path = export_npz(tmp_path, episodes=[0]) / "episode_000000.npz"
    with np.load(path) as stored:
        kept = {name: stored[name] for name in stored.files}
    kept["metadata"] = np.array(json.dumps({**json.loads(str(kept["metadata"])), "version": 2}))
    np.savez(path, **kept)
    with pytest.raises(ValueError, match="has version 2, this program reads 1: update foreframe"):
        bring_in(path, tmp_path)

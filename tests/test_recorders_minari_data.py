import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from sample_recordings import MIXED, PICTURE, VECTOR, assert_equal, assert_same_recordings, record

from recorders import open_recording
from recorders.export import ExportConfig, export
from recorders.importing import ImportConfig, import_episodes

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def export_minari(tmp_path, dataset_id="group/sample-v3", **options):
    return export(ExportConfig(path=str(tmp_path / "first"), to="minari", out=str(tmp_path / "datasets"),
                               dataset_id=dataset_id, **options))  # fmt: skip


def bring_in(tmp_path, name, **options):
    import_episodes(ImportConfig(source=name, to=str(tmp_path / "second"), **options))
    return open_recording(tmp_path / "second")


@pytest.mark.parametrize("space", [PICTURE, MIXED, VECTOR, spaces.Text(5)], ids=["picture", "dict", "vector", "text"])
def test_minari_loads_all_that_was_recorded(space, tmp_path, root):
    recording = open_recording(record(tmp_path / "first", space))
    export_minari(tmp_path)
    dataset = minari.load_dataset("group/sample-v3")
    assert dataset.total_episodes == 2 and dataset.total_steps == 8 and dataset.observation_space == space
    assert dataset.action_space == recording.action_space
    for episode, found in zip(recording.episodes, dataset.iterate_episodes(), strict=True):
        clip = recording.read(episode)
        assert_equal(found.observations, clip.observations)
        np.testing.assert_array_equal(found.actions, clip.actions)
        np.testing.assert_array_equal(found.rewards, clip.rewards)
        np.testing.assert_array_equal(found.terminations, clip.terminated)
        np.testing.assert_array_equal(found.truncations, clip.truncated)
        assert len(found.rewards) == episode.steps


def test_there_is_one_observation_more_than_actions(tmp_path, root):
    record(tmp_path / "first", lengths=(5, 3))
    export_minari(tmp_path)
    assert [len(e.observations) for e in minari.load_dataset("group/sample-v3").iterate_episodes()] == [6, 4]


def test_a_picture_that_minari_would_compress_is_kept_exactly(tmp_path, root):
    from minari.dataset.minari_storage import is_image_space

    assert is_image_space(PICTURE), "otherwise this tests nothing"
    recording = open_recording(record(tmp_path / "first", PICTURE))
    export_minari(tmp_path)
    dataset = minari.load_dataset("group/sample-v3")
    assert dataset.storage.jpeg_encoding is False
    np.testing.assert_array_equal(dataset[0].observations, recording.read(0).observations)


@pytest.mark.parametrize("space", [PICTURE, MIXED, spaces.Text(5)], ids=["picture", "dict", "text"])
def test_parquet_holds_the_same_in_less(space, tmp_path, root):
    pytest.importorskip("pyarrow")
    record(tmp_path / "first", space)
    export_minari(tmp_path, data_format="parquet")
    bring_in(tmp_path, "group/sample-v3")
    assert_same_recordings(tmp_path / "first", tmp_path / "second")
    found = minari.load_dataset("group/sample-v3")[1]
    assert_equal(found.observations, open_recording(tmp_path / "first").read(1).observations)


def test_an_episode_that_minari_cannot_read_from_parquet_is_refused(tmp_path, root, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("recorders.minari_data.PARQUET_STEPS", 4)
    record(tmp_path / "first", VECTOR, lengths=(4, 5))
    with pytest.raises(ValueError, match=r"has 5 steps, Minari reads 4 at most from Parquet: choose data_format=hdf5"):
        export_minari(tmp_path, data_format="parquet")
    with pytest.raises(ValueError, match="data_format must be hdf5 or parquet"):
        export_minari(tmp_path, data_format="csv")


def test_seeds_and_simple_options_are_where_minari_has_them(tmp_path, root):
    record(tmp_path / "first", VECTOR)
    export_minari(tmp_path)
    known = list(minari.load_dataset("group/sample-v3").storage.get_episode_metadata([0, 1]))
    assert [episode["seed"] for episode in known] == [100, 101] and "options" not in known[0]  # arrays in them


def test_extras_are_infos_one_entry_later(tmp_path, root):
    recording = open_recording(record(tmp_path / "first", VECTOR))
    export_minari(tmp_path)
    infos = minari.load_dataset("group/sample-v3")[0].infos
    latent = recording.read(0).extras["latent"]
    assert not infos["latent"][0].any()
    np.testing.assert_array_equal(infos["latent"][1:], latent)


def test_minari_lists_what_was_exported(tmp_path, root):
    record(tmp_path / "first", VECTOR)
    export_minari(tmp_path)
    export_minari(tmp_path, "other-v0")
    assert sorted(minari.list_local_datasets()) == ["group/sample-v3", "other-v0"]


def test_minari_can_combine_what_was_exported(tmp_path, root):
    record(tmp_path / "first", VECTOR)
    export_minari(tmp_path, "one-v0")
    export_minari(tmp_path, "two-v0")
    both = minari.combine_datasets([minari.load_dataset("one-v0"), minari.load_dataset("two-v0")], "both-v0")
    assert both.total_episodes == 4


class Counter(gymnasium.Env):
    """Counts; its infos hold numbers, and some things that are not one value per step."""

    observation_space = spaces.Box(-1, 100, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._seen(), {"t": 0, "where": np.zeros(2)}

    def step(self, action):
        self.t += 1
        return self._seen(), float(action), self.t == 4, False, {"t": self.t, "where": np.full(2, self.t / 2)}

    def _seen(self):
        return np.array([self.t, -1], np.float32)


def from_buffers():
    """A data set of another program, through Minari's own functions."""
    episodes = []
    for seed in (7, 8):
        env, t = Counter(), np.arange(5)
        env.reset(seed=seed)
        episodes.append(minari.data_collector.EpisodeBuffer(
            seed=seed, options={"level": 2, "name": "x"},
            observations=np.stack([t, -np.ones(5)], 1).astype(np.float32), actions=np.array([0, 1, 2, 1]),
            rewards=[0.0, 1.0, 2.0, 1.0], terminations=[False, False, False, True], truncations=[False] * 4,
            infos={"t": t, "where": t[:, None] / 2 * np.ones(2), "deep": {"er": t}, "short": np.arange(2)},
        ))  # fmt: skip
    minari.create_dataset_from_buffers(
        "counter/made-v0", episodes, algorithm_name="by hand", author="Ada", author_email="a@b.c", code_permalink="x",
        description="counts", observation_space=Counter.observation_space, action_space=Counter.action_space,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:`eval_env` is set to None", "ignore:env_spec is None")
def test_a_data_set_of_another_program_becomes_a_recording(tmp_path, root):
    from_buffers()
    recording = bring_in(tmp_path, "counter/made-v0")
    assert recording.action_space == Counter.action_space and recording.observation_space == Counter.observation_space
    assert [episode.seed for episode in recording.episodes] == [7, 8]
    assert recording.episodes[0].options() == {"level": 2, "name": "x"} and recording.episodes[0].terminated
    clip = recording.read(1)
    assert clip.observations[:, 0].tolist() == [0, 1, 2, 3, 4] and clip.actions.tolist() == [0, 1, 2, 1]
    assert clip.extras["t"].tolist() == [1, 2, 3, 4] and clip.extras["where"][0].tolist() == [0.5, 0.5]
    assert sorted(recording.extras) == ["t", "where"]
    assert recording.meta["minari"]["algorithm_name"] == "by hand" and recording.meta["minari"]["author"] == ["Ada"]


@pytest.mark.filterwarnings("ignore:`eval_env` is set to None", "ignore:env_spec is None")
def test_infos_can_be_chosen(tmp_path, root):
    from_buffers()
    assert bring_in(tmp_path, "counter/made-v0", infos=["t"]).extras == ["t"]
    with pytest.raises(ValueError, match=r"there are no infos \['deep'\] with one value per step; choose from"):
        import_episodes(ImportConfig(source="counter/made-v0", to=str(tmp_path / "third"), infos=["deep"]))


@pytest.mark.filterwarnings("ignore:`eval_env` is set to None", "ignore:env_spec is None")
def test_jpeg_is_taken_and_said(tmp_path, root):
    picture = np.random.default_rng(0).integers(0, 256, (3, 36, 33, 3), np.uint8)
    episode = minari.data_collector.EpisodeBuffer(observations=picture, actions=np.zeros(2, int), rewards=[0, 0],
                                                  terminations=[False, False], truncations=[False, True])  # fmt: skip
    minari.create_dataset_from_buffers(
        "jpeg-v0", [episode], algorithm_name="by hand", author="Ada", author_email="a@b.c", code_permalink="x",
        description="noise", observation_space=PICTURE, action_space=spaces.Discrete(2),
    )  # fmt: skip
    source = import_episodes(ImportConfig(source="jpeg-v0", to=str(tmp_path / "second")))
    assert source.notes == ["jpeg-v0 holds its pictures as JPEG: they are close to what was seen, not equal"]
    assert not np.array_equal(open_recording(tmp_path / "second").read(0).observations, picture)


def test_a_data_set_is_found_by_its_folder_too(tmp_path, root, monkeypatch):
    record(tmp_path / "first", VECTOR)
    folder = export_minari(tmp_path)
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    assert len(bring_in(tmp_path, str(folder)).episodes) == 2
    import_episodes(ImportConfig(source="group/sample-v3", root=str(root), to=str(tmp_path / "third")))
    assert len(open_recording(tmp_path / "third").episodes) == 2


def test_a_data_set_that_is_not_there_is_named(tmp_path, root):
    with pytest.raises(ValueError, match=r"there is no Minari data set 'counter/none-v0'.*minari download"):
        bring_in(tmp_path, "counter/none-v0")


def test_what_is_no_name_and_no_file_is_no_source(tmp_path, root):
    with pytest.raises(ValueError, match="a Minari data set is called name-v0"):
        bring_in(tmp_path, "nowhere.npz")


def test_a_damaged_data_set_is_refused(tmp_path, root):
    record(tmp_path / "first", VECTOR)
    folder = export_minari(tmp_path)
    (folder / "data" / "main_data.hdf5").write_bytes(b"none")
    with pytest.raises(ValueError, match="Minari cannot read episode 0 of group/sample-v3"):
        bring_in(tmp_path, "group/sample-v3")
    (folder / "data" / "metadata.json").write_text("{")
    with pytest.raises(ValueError, match="Minari cannot read"):
        bring_in(tmp_path, "group/sample-v3")


def test_damaged_notes_are_refused(tmp_path, root):
    record(tmp_path / "first", VECTOR)
    path = export_minari(tmp_path) / "foreframe" / "recording.json"
    noted = json.loads(path.read_text())
    path.write_text(json.dumps({**noted, "version": 9}))
    with pytest.raises(ValueError, match="has version 9, this program reads 1"):
        bring_in(tmp_path, "group/sample-v3")
    path.write_text(json.dumps({"version": 1}))
    with pytest.raises(ValueError, match="is damaged"):
        bring_in(tmp_path, "group/sample-v3")


def test_keys_with_a_slash_are_refused(tmp_path, root):
    record(tmp_path / "first", spaces.Dict({"a/b": VECTOR}))
    with pytest.raises(ValueError, match="Minari cannot hold keys with '/'"):
        export_minari(tmp_path)


@pytest.mark.parametrize("package", ["minari", "h5py"])
def test_a_missing_package_is_named(package, tmp_path, monkeypatch):
    record(tmp_path / "first", VECTOR)
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ValueError, match=r"need the packages minari and h5py.*pip install -e '.\[export\]'"):
        export_minari(tmp_path)
    assert not (tmp_path / "datasets" / "group").exists() or not list((tmp_path / "datasets" / "group").iterdir())

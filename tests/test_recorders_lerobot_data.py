"""The layout, checked with Arrow alone; tests/lerobot_reads.py has LeRobot itself open an export."""

import io
import json

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image
from sample_recordings import MIXED, PICTURE, VECTOR, files_in, record

from recorders import open_recording
from recorders.export import ExportConfig, export
from recorders.importing import ImportConfig, import_episodes
from recorders.lerobot_stats import array_statistics, merge_statistics, picture_statistics

pq = pytest.importorskip("pyarrow.parquet")


def export_lerobot(tmp_path, **options):
    return export(ExportConfig(path=str(tmp_path / "first"), to="lerobot", out=str(tmp_path / "out"), **options))


def read_info(out):
    return json.loads((out / "meta" / "info.json").read_text())


def test_there_is_a_row_for_every_action_and_none_without(tmp_path):
    recording = open_recording(record(tmp_path / "first", VECTOR, lengths=(5, 3)))
    out = export_lerobot(tmp_path)
    table = pq.read_table(out / "data" / "chunk-000" / "file-000.parquet").to_pydict()
    assert table["frame_index"] == [0, 1, 2, 3, 4, 0, 1, 2] and table["index"] == list(range(8))
    assert table["episode_index"] == [0] * 5 + [1] * 3
    assert table["next.done"] == [False] * 4 + [True, False, False, True]
    np.testing.assert_allclose(table["timestamp"][:5], np.arange(5) / 15, atol=1e-6)
    for number, rows in ((0, slice(0, 5)), (1, slice(5, 8))):
        clip = recording.read(number)
        np.testing.assert_array_equal(np.array(table["observation.state"][rows], np.float32), clip.observations[:-1])
        assert table["action"][rows] == clip.actions.tolist() and table["next.reward"][rows] == clip.rewards.tolist()
        assert table["extra.actor"][rows] == clip.extras["actor"].tolist()
    finals = pq.read_table(out / "foreframe" / "final_observations.parquet").to_pydict()["observation.state"]
    np.testing.assert_array_equal(np.array(finals[1], np.float32), recording.read(1).observations[-1])


def test_pictures_are_png_in_the_rows(tmp_path):
    recording = open_recording(record(tmp_path / "first", PICTURE))
    rows = pq.read_table(export_lerobot(tmp_path) / "data/chunk-000/file-000.parquet").column("observation.image")
    with Image.open(io.BytesIO(rows[2].as_py()["bytes"])) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), recording.read(0).observations[2])


def test_info_describes_the_data(tmp_path):
    record(tmp_path / "first", MIXED, spaces.Box(-1, 1, (2,), np.float32))
    info = read_info(export_lerobot(tmp_path))
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 15, 2, 8)
    assert info["splits"] == {"train": "0:2"} and info["video_path"] is None
    found = {name: (card["dtype"], card["shape"]) for name, card in info["features"].items()}
    assert found["observation.images.camera"] == ("image", [36, 33, 3])
    assert found["observation.arm.0"] == ("float32", [4]) and found["observation.arm.1"] == ("int64", [1])
    assert found["observation.grid"] == ("int16", [2, 3]) and found["action"] == ("float32", [2])
    assert found["extra.latent"] == ("float64", [2]) and found["extra.said"] == ("string", [1])
    assert found["timestamp"] == ("float32", [1]) and found["next.done"] == ("bool", [1])


def test_episodes_say_where_they_lie(tmp_path):
    record(tmp_path / "first", VECTOR, lengths=(5, 3))
    out = export_lerobot(tmp_path, task="balance")
    rows = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    places = [(row["dataset_from_index"], row["dataset_to_index"], row["length"]) for row in rows]
    assert places == [(0, 5, 5), (5, 8, 3)]
    assert rows[1]["tasks"] == ["balance"] and rows[1]["data/file_index"] == 0 and rows[1]["episode_index"] == 1
    assert rows[0]["stats/next.reward/count"] == [5]


def test_large_exports_go_into_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr("recorders.lerobot_data.DATA_MB", 0)
    record(tmp_path / "first", VECTOR, lengths=(2, 3, 4))
    out = export_lerobot(tmp_path)
    names = [path.name for path in sorted((out / "data" / "chunk-000").iterdir())]
    assert names == ["file-000.parquet", "file-001.parquet", "file-002.parquet"]
    import_episodes(ImportConfig(source=str(out), to=str(tmp_path / "second")))
    assert [episode.steps for episode in open_recording(tmp_path / "second").episodes] == [2, 3, 4]


def test_films_hold_a_picture_for_every_row(tmp_path):
    av = pytest.importorskip("av")
    record(tmp_path / "first", lengths=(5, 3))
    out = export_lerobot(tmp_path, video=True)
    with av.open(str(out / "videos/observation.image/chunk-000/file-000.mp4")) as film:
        times = [float(frame.time) for frame in film.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(8) / 15, atol=1e-4)
    row = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist()[1]
    assert row["videos/observation.image/from_timestamp"] == pytest.approx(5 / 15)
    feature = read_info(out)["features"]["observation.image"]
    assert feature["dtype"] == "video" and feature["shape"] == [36, 34, 3]
    assert "observation.image" not in pq.read_table(out / "data/chunk-000/file-000.parquet").column_names


def test_films_are_not_imported(tmp_path):
    pytest.importorskip("av")
    record(tmp_path / "first")
    out = export_lerobot(tmp_path, video=True)
    with pytest.raises(ValueError, match=r"\['observation.image'\] are films, which lose detail"):
        import_episodes(ImportConfig(source=str(out), to=str(tmp_path / "second")))


def test_statistics_of_arrays_are_numpys(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    found = array_statistics(values)
    np.testing.assert_allclose(found["mean"], values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["q90"], np.quantile(values.astype(float), 0.9, axis=0))
    assert found["count"].tolist() == [50] and array_statistics(np.array([True, False]))["mean"].tolist() == [0.5]


def test_statistics_of_pictures_are_those_of_all_their_pixels():
    pictures = np.random.default_rng(0).integers(3, 200, (6, 7, 8, 3), np.uint8)
    found, pixels = picture_statistics(pictures), pictures.reshape(-1, 3) / 255
    for name in ("min", "max", "mean", "std"):
        assert found[name].shape == (3, 1, 1)
        np.testing.assert_allclose(found[name].ravel(), getattr(pixels, name)(0), rtol=1e-9)
    exact = np.quantile(pixels, 0.1, axis=0, method="inverted_cdf")
    np.testing.assert_allclose(found["q10"].ravel(), exact)


def test_statistics_of_parts_make_those_of_the_whole():
    values = np.random.default_rng(0).normal(size=(60, 2))
    whole = array_statistics(values)
    parts = merge_statistics([array_statistics(values[:10]), array_statistics(values[10:])])
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(parts[name], whole[name])


def test_an_episode_without_steps_is_named(tmp_path):
    record(tmp_path / "first", VECTOR, lengths=(2, 0, 1))
    with pytest.raises(ValueError, match=r"episode seg-.*/1 has no step.*leave it out with episodes="):
        export_lerobot(tmp_path)
    assert export_lerobot(tmp_path, episodes=[0, 2]).is_dir()


def test_arrays_of_many_axes_are_refused(tmp_path):
    record(tmp_path / "first", spaces.Box(0, 1, (1, 2, 1, 2, 1, 2), np.float32))
    with pytest.raises(ValueError, match="arrays of up to five axes"):
        export_lerobot(tmp_path)


def test_two_columns_of_one_name_are_refused(tmp_path):
    record(tmp_path / "first", spaces.Dict({"x": PICTURE, "images": spaces.Dict({"x": VECTOR})}))
    with pytest.raises(ValueError, match="two columns would have one name"):
        export_lerobot(tmp_path)


def test_data_sets_from_elsewhere_are_refused(tmp_path):
    record(tmp_path / "first", VECTOR)
    out = export_lerobot(tmp_path)
    (out / "foreframe" / "recording.json").unlink()
    with pytest.raises(ValueError, match="no observation after the last action"):
        import_episodes(ImportConfig(source=str(out), to=str(tmp_path / "second")))


DAMAGED = ["meta/info.json", "data/chunk-000/file-000.parquet", "foreframe/final_observations.parquet"]


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_data_set_is_refused_and_nothing_is_made(name, tmp_path):
    record(tmp_path / "first", VECTOR)
    out = export_lerobot(tmp_path)
    (out / name).write_bytes(b"{")
    with pytest.raises(ValueError, match=r"is damaged|cannot be read"):
        import_episodes(ImportConfig(source=str(out), to=str(tmp_path / "second")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "out"]


def test_an_export_does_not_change_with_time(tmp_path):
    record(tmp_path / "first")
    first = files_in(export_lerobot(tmp_path))
    again = files_in(export(ExportConfig(path=str(tmp_path / "first"), to="lerobot", out=str(tmp_path / "again"))))
    assert first == again


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    record(tmp_path / "first", VECTOR)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"Parquet files need pyarrow: pip install pyarrow"):
        export_lerobot(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["first"]

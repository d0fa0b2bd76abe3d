import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from sample_recordings import DISCRETE, EXTRAS, MIXED, PICTURE, VECTOR, assert_same_recordings, files_in, record

import recorders.importing
from recorders import open_recording
from recorders.export import ExportConfig, export
from recorders.export import main as export_main
from recorders.importing import ImportConfig, import_episodes
from recorders.merge import main as merge_main

ACTIONS = {
    "discrete": spaces.Discrete(4, start=-2),
    "box": spaces.Box(np.array([-1, 0], np.float32), np.array([1, 5], np.float32)),
    "multi-discrete": spaces.MultiDiscrete([3, 4]),
    "multi-binary": spaces.MultiBinary(5),
    "multi-binary of two axes": spaces.MultiBinary([2, 3]),
    "dict": spaces.Dict({"move": DISCRETE, "aim": VECTOR}),
}
OBSERVATIONS = {
    "picture": PICTURE,
    "grey": spaces.Box(0, 255, (8, 9), np.uint8),
    "grey with an axis": spaces.Box(0, 255, (8, 9, 1), np.uint8),
    "vector": VECTOR,
    "one number": spaces.Box(-1, 1, (), np.float64),
    "one number in a list": spaces.Box(-1, 1, (1,), np.float32),
    "dict": MIXED,
    "tuple": spaces.Tuple([VECTOR, PICTURE]),
    "discrete": spaces.Discrete(5),
}
TEXTS = {
    "text": spaces.Text(8, min_length=0),
    "text in a dict": spaces.Dict({"said": spaces.Text(8, charset="abä"), "seen": VECTOR}),
}
SEQUENCES = {
    "sequence": spaces.Sequence(VECTOR),
    "stacked sequence": spaces.Sequence(spaces.Box(-1, 1, (2,), np.float64), stack=True),
    "one of": spaces.OneOf([DISCRETE, VECTOR]),
    "graph": spaces.Graph(VECTOR, spaces.Discrete(3)),
}


def round_trip(tmp_path, to, **options):
    """Export everything that lies in `first` and import it into `second`."""
    out = export(ExportConfig(path=str(tmp_path / "first"), to=to, out=str(tmp_path / "out"), **options))
    import_episodes(ImportConfig(source=str(out), to=str(tmp_path / "second")))
    return out


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot"])
@pytest.mark.parametrize("name", [*OBSERVATIONS, *TEXTS])
def test_observations_of_every_kind_come_back(to, name, tmp_path):
    record(tmp_path / "first", {**OBSERVATIONS, **TEXTS}[name])
    round_trip(tmp_path, to)
    assert_same_recordings(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot"])
@pytest.mark.parametrize("name", [*ACTIONS, *TEXTS])
def test_actions_of_every_kind_come_back(to, name, tmp_path):
    record(tmp_path / "first", VECTOR, {**ACTIONS, **TEXTS}[name])
    round_trip(tmp_path, to)
    assert_same_recordings(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("to", ["npz", "lerobot"])
@pytest.mark.parametrize("name", list(SEQUENCES))
def test_values_without_a_fixed_shape_come_back(to, name, tmp_path):
    record(tmp_path / "first", SEQUENCES[name])
    round_trip(tmp_path, to)
    first, second = (open_recording(tmp_path / part).read(0).observations for part in ("first", "second"))
    assert repr(first) == repr(second) and len(first) == 6


@pytest.mark.parametrize("name", list(SEQUENCES))
def test_minari_says_which_spaces_it_cannot_hold(name, tmp_path):
    record(tmp_path / "first", SEQUENCES[name])
    with pytest.raises(ValueError, match="Minari cannot hold these spaces"):
        round_trip(tmp_path, "minari")
    assert not (tmp_path / "out" / "first-v0").exists()


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot"])
def test_an_episode_that_broke_off_stays_marked(to, tmp_path):
    record(tmp_path / "first", unfinished=True)
    round_trip(tmp_path, to)
    assert_same_recordings(tmp_path / "first", tmp_path / "second")
    last = open_recording(tmp_path / "second").episodes[-1]
    assert last.unfinished and not (last.terminated or last.truncated)


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot"])
def test_episodes_can_be_chosen(to, tmp_path):
    record(tmp_path / "first", VECTOR, lengths=(2, 4, 3))
    round_trip(tmp_path, to, episodes=[0, 2])
    assert_same_recordings(tmp_path / "first", tmp_path / "second", [0, 2])


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot"])
def test_a_recording_without_extras_travels(to, tmp_path):
    record(tmp_path / "first", VECTOR, extras={})
    round_trip(tmp_path, to)
    assert_same_recordings(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot"])
def test_paths_may_be_relative(to, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "first", VECTOR)
    out = export(ExportConfig(path="first", to=to, out="out"))
    assert not out.is_absolute()
    import_episodes(ImportConfig(source=str(out), to="second"))
    assert_same_recordings(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot", "mp4", "gif"])
def test_an_export_leaves_the_recording_alone(to, tmp_path):
    before = files_in(record(tmp_path / "first"))
    export(ExportConfig(path=str(tmp_path / "first"), to=to, out=str(tmp_path / "out")))
    assert files_in(tmp_path / "first") == before
    assert not list(tmp_path.rglob(".*")), "something was left behind"


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot", "mp4", "gif"])
def test_an_output_that_exists_is_refused_and_not_altered(to, tmp_path):
    record(tmp_path / "first")
    config = ExportConfig(path=str(tmp_path / "first"), to=to, out=str(tmp_path / "out"))
    before = files_in(export(config))
    with pytest.raises(ValueError, match=r"exists already.*overwrite=true"):
        export(config)
    assert files_in(tmp_path / "out" / ("first-v0" if to == "minari" else "")) == before


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot", "mp4", "gif"])
def test_overwrite_replaces_an_earlier_export_as_a_whole(to, tmp_path):
    record(tmp_path / "first")
    config = {"path": str(tmp_path / "first"), "to": to, "out": str(tmp_path / "out")}
    export(ExportConfig(**config))
    out = export(ExportConfig(**config, overwrite=True, episodes=[1]))
    once = export(ExportConfig(**{**config, "out": str(tmp_path / "again")}, episodes=[1]))
    assert files_in(out).keys() == files_in(once).keys()


@pytest.mark.parametrize("to", ["npz", "minari", "lerobot", "mp4", "gif"])
def test_overwrite_never_replaces_what_is_no_export(to, tmp_path):
    record(tmp_path / "first")
    out = tmp_path / "out"
    kept = out / "first-v0" if to == "minari" else out
    kept.mkdir(parents=True)
    (kept / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else and is left alone"):
        export(ExportConfig(path=str(tmp_path / "first"), to=to, out=str(out), overwrite=True))
    assert files_in(kept) == {"thesis.txt": b"years of work"}


def test_an_export_that_fails_leaves_nothing(tmp_path):
    record(tmp_path / "first", VECTOR, lengths=(2, 0, 3))
    with pytest.raises(ValueError, match="has no step"):
        export(ExportConfig(path=str(tmp_path / "first"), to="lerobot", out=str(tmp_path / "out")))
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "avi"}, "to must be one of npz, minari, lerobot, mp4, gif, got 'avi'"),
        ({"episodes": [2]}, "episodes must be different numbers from 0 to 1"),
        ({"episodes": [0, 0]}, "episodes must be different numbers"),
        ({"episodes": [-1]}, "episodes must be different numbers"),
        ({"episodes": []}, "episodes must be different numbers"),
        ({"scale": 2}, "scale is for mp4 and gif, not for npz"),
        ({"lossless": True}, "lossless is for mp4, not for npz"),
        ({"video": True}, "video is for lerobot"),
        ({"dataset_id": "a-v0"}, "dataset_id is for minari"),
        ({"to": "gif", "scale": 0}, "need scale >= 1"),
        ({"to": "gif", "fps": -1.0}, "0 < fps"),
        ({"to": "minari", "dataset_id": "no version"}, "a Minari data set is called name-v0"),
        ({"to": "minari", "dataset_id": "../up-v0"}, "a Minari data set is called name-v0"),
        ({"path": "nowhere"}, "nowhere is not a recording"),
        ({"out": "one.npz"}, "is one file, 2 episodes need a folder"),
    ],
)
def test_an_export_that_makes_no_sense_is_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "first", lengths=(2, 1))
    with pytest.raises(ValueError, match=message):
        export(ExportConfig(**{"path": "first", "to": "npz", "out": "out", **options}))
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize("to", ["gif", "lerobot"])
def test_a_recording_without_a_rate_needs_one(to, tmp_path):
    record(tmp_path / "first", meta={"game": {"id": "Sample-v0"}})
    config = {"path": str(tmp_path / "first"), "to": to, "out": str(tmp_path / "out")}
    with pytest.raises(ValueError, match="choose fps=30"):
        export(ExportConfig(**config))
    assert export(ExportConfig(**config, fps=30.0)).exists()


def test_an_import_goes_to_a_new_recording_or_is_asked_to_append(tmp_path):
    record(tmp_path / "first", VECTOR)
    round_trip(tmp_path, "npz")
    before = files_in(tmp_path / "second")
    config = {"source": str(tmp_path / "out"), "to": str(tmp_path / "second")}
    with pytest.raises(ValueError, match=r"already holds a recording.*append=true"):
        import_episodes(ImportConfig(**config))
    assert files_in(tmp_path / "second") == before
    import_episodes(ImportConfig(**config, append=True))
    assert len(open_recording(tmp_path / "second").episodes) == 4


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"observation_space": PICTURE}, "observation_space"),
        ({"action_space": spaces.Discrete(7)}, "action_space"),
        ({"extras": {"actor": "uint8"}}, "extras"),
    ],
)
def test_only_what_is_alike_is_appended(other, message, tmp_path):
    record(tmp_path / "first", VECTOR)
    record(tmp_path / "second", **{"observation_space": VECTOR, **other})
    before = files_in(tmp_path / "second")
    out = export(ExportConfig(path=str(tmp_path / "first"), to="npz", out=str(tmp_path / "out")))
    with pytest.raises(ValueError, match=f"{message}.*import into another folder"):
        import_episodes(ImportConfig(source=str(out), to=str(tmp_path / "second"), append=True))
    assert files_in(tmp_path / "second") == before


def test_a_folder_of_nothing_is_no_source(tmp_path):
    with pytest.raises(ValueError, match=r"holds no .npz files, no Minari data set and no LeRobot data set"):
        import_episodes(ImportConfig(source=str(tmp_path), to=str(tmp_path / "second")))


def test_the_origin_of_a_recording_moves_along(tmp_path):
    record(tmp_path / "first", VECTOR)
    round_trip(tmp_path, "npz")
    first, second = (open_recording(tmp_path / name).meta for name in ("first", "second"))
    assert second["origin"]["created"] == first["created"] != second["created"]
    assert second["imported_from"] == str(tmp_path / "out")


def run(main, name, arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr()


def test_the_commands_export_and_import(tmp_path, monkeypatch, capsys):
    record(tmp_path / "first", VECTOR)
    arguments = [f"path={tmp_path}/first", "to=npz", f"out={tmp_path}/out", "episodes=[1]"]
    code, said = run(export_main, "recorders.export", arguments, monkeypatch, capsys)
    assert code == 0 and said.out.startswith("exported to")
    code, said = run(export_main, "recorders.export", arguments, monkeypatch, capsys)
    assert code == 2 and "exists already" in said.err.splitlines()[-1]
    arguments = [f"from={tmp_path}/out", f"to={tmp_path}/second"]
    code, said = run(recorders.importing.main, "recorders.import", arguments, monkeypatch, capsys)
    assert code == 0 and "imported 1 episodes" in said.out
    assert_same_recordings(tmp_path / "first", tmp_path / "second", [1])
    code, said = run(recorders.importing.main, "recorders.import", arguments, monkeypatch, capsys)
    assert code == 2 and said.err.startswith("recorders.import:") and said.err.count("\n") == 1


def test_import_runs_as_a_module_although_its_name_is_a_keyword(tmp_path):
    record(tmp_path / "first", VECTOR)
    out = export(ExportConfig(path=str(tmp_path / "first"), to="npz", out=str(tmp_path / "out")))
    command = [sys.executable, "-m", "recorders.import", f"from={out}", f"to={tmp_path}/second"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"imported 2 episodes into {tmp_path}/second\n"
    assert_same_recordings(tmp_path / "first", tmp_path / "second")


def test_what_is_missing_on_the_command_line_is_named(monkeypatch, capsys):
    for main, name in ((recorders.importing.main, "from="), (export_main, "path="), (merge_main, "out=")):
        code, said = run(main, "command", ["to=npz"] if name != "out=" else [], monkeypatch, capsys)
        assert code == 2 and f"{name} is missing" in said.err and said.err.count("\n") == 1


def test_export_and_import_need_no_picture_package_for_numbers(tmp_path):
    """What a format needs is imported when it is used."""
    code = ("import sys; import recorders.export, recorders.importing, recorders.merge; "
            "print([m for m in ('av', 'h5py', 'minari', 'pyarrow', 'torch') if m in sys.modules])")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_extra_of_the_samples_is_used():
    assert {type(extra) for extra in EXTRAS.values()} == {str, type(EXTRAS["latent"])}
    assert isinstance(MIXED, gymnasium.spaces.Dict)

import json
import sys

import numpy as np
import pytest
from gymnasium import spaces
from sample_recordings import DISCRETE, META, MIXED, PICTURE, VECTOR, assert_equal, files_in, record

from recorders import open_recording
from recorders.merge import BLOCK, MergeConfig, main, merge


def merged(tmp_path, *names, **options):
    merge(MergeConfig(inputs=[str(tmp_path / name) for name in names], out=str(tmp_path / "all"), **options))
    return open_recording(tmp_path / "all")


def assert_same_steps(first, second, x, y):
    one, other = first.read(x), second.read(y)
    for name in ("observations", "actions", "rewards", "terminated", "truncated", "extras"):
        assert_equal(getattr(one, name), getattr(other, name), name)


@pytest.mark.parametrize("space", [PICTURE, MIXED, spaces.Text(6)], ids=["picture", "dict", "text"])
def test_all_episodes_of_all_inputs_are_there_and_unchanged(space, tmp_path):
    record(tmp_path / "a", space, seed=1)
    record(tmp_path / "b", space, lengths=(4,), seed=2, unfinished=True)
    before = {name: files_in(tmp_path / name) for name in "ab"}
    both = merged(tmp_path, "b", "a")
    sources = [(open_recording(tmp_path / name), e) for name in "ba" for e in open_recording(tmp_path / name).episodes]
    assert len(both.episodes) == len(sources) == 3
    for (source, x), y in zip(sources, both.episodes, strict=True):
        assert_same_steps(source, both, x, y)
        assert (x.seed, x.unfinished, x.return_, x.terminated) == (y.seed, y.unfinished, y.return_, y.terminated)
        assert_equal(x.options(), y.options())
        assert_equal(x.arrays(), y.arrays())
        assert y.meta == {**x.meta, "merged_from": {"recording": str(source.path), "episode": x.id}}
    assert {name: files_in(tmp_path / name) for name in "ab"} == before


def test_long_episodes_are_copied_in_pieces(tmp_path):
    record(tmp_path / "a", VECTOR, lengths=(2 * BLOCK, BLOCK + 1))
    both = merged(tmp_path, "a")
    for x, y in zip(open_recording(tmp_path / "a").episodes, both.episodes, strict=True):
        assert_same_steps(open_recording(tmp_path / "a"), both, x, y)


def test_an_episode_without_a_step_is_copied(tmp_path):
    record(tmp_path / "a", VECTOR, lengths=(2, 0, 1))
    assert [episode.steps for episode in merged(tmp_path, "a").episodes] == [2, 0, 1]


def test_where_an_episode_came_from_is_remembered_over_two_merges(tmp_path):
    record(tmp_path / "a", VECTOR, lengths=(2,))
    first = open_recording(tmp_path / "a").episodes[0].id
    once = merged(tmp_path, "a").episodes[0]
    (tmp_path / "all").rename(tmp_path / "b")
    came = merged(tmp_path, "b").episodes[0].meta["merged_from"]
    assert came == {"recording": str(tmp_path / "b"), "episode": once.id,
                    "merged_from": {"recording": str(tmp_path / "a"), "episode": first}}  # fmt: skip


def test_notes_of_every_segment_are_kept(tmp_path):
    record(tmp_path / "a", VECTOR, meta={**META, "who": "Ada"})
    record(tmp_path / "b", VECTOR, meta={**META, "who": "Bob"})
    assert [segment.meta["who"] for segment in merged(tmp_path, "a", "b").segments] == ["Ada", "Bob"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"observation_space": PICTURE}, "has the observation_space Box"),
        ({"action_space": spaces.Discrete(7)}, r"has the action_space Discrete\(7\).*has Discrete\(6\)"),
        ({"extras": {"actor": "uint8"}}, "has the extras.*only recordings with the same fields"),
        ({"meta": {**META, "behaviours": ["human"]}}, "recordings with different players cannot be merged"),
    ],
)
def test_what_differs_is_not_merged(other, message, tmp_path):
    record(tmp_path / "a", VECTOR)
    record(tmp_path / "b", **{"observation_space": VECTOR, **other})
    with pytest.raises(ValueError, match=message):
        merged(tmp_path, "a", "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_merge_goes_to_a_new_recording(tmp_path):
    before = files_in(record(tmp_path / "a", VECTOR))
    record(tmp_path / "b", VECTOR)
    with pytest.raises(ValueError, match="already holds a recording"):
        merge(MergeConfig(inputs=[str(tmp_path / "b")], out=str(tmp_path / "a")))
    assert files_in(tmp_path / "a") == before
    with pytest.raises(ValueError, match="inputs must name at least one recording"):
        merge(MergeConfig(out=str(tmp_path / "c")))


def test_a_merge_that_fails_leaves_nothing(tmp_path):
    record(tmp_path / "a", VECTOR)
    record(tmp_path / "b", VECTOR)
    for path in (tmp_path / "b").rglob("c.0*"):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="damaged"):
        merged(tmp_path, "a", "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    record(tmp_path / "a", VECTOR)
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else"):
        merged(tmp_path, "a")
    assert files_in(tmp_path / "all") == {"thesis.txt": b"years of work"}


def forget_spaces(folder):
    """As recordings from before version 1 are: no spaces noted."""
    for path in folder.glob("*/*/zarr.json"):
        card = json.loads(path.read_text())
        del card["attributes"]["observation_space"], card["attributes"]["action_space"]
        path.write_text(json.dumps(card))


def test_a_merge_can_note_the_spaces_that_an_old_recording_lacks(tmp_path):
    record(tmp_path / "a", PICTURE, DISCRETE)
    clip = open_recording(tmp_path / "a").read(0)
    forget_spaces(tmp_path / "a")
    with pytest.raises(ValueError, match=r"does not say what its spaces are.*\+action_space="):
        merged(tmp_path, "a")
    new = merged(tmp_path, "a", action_space={"type": "Discrete", "n": 6, "start": 0})
    assert new.observation_space == PICTURE and new.action_space == DISCRETE
    np.testing.assert_array_equal(new.read(0).actions, clip.actions)


def test_spaces_can_be_noted_on_the_command_line(tmp_path, monkeypatch):
    record(tmp_path / "a", PICTURE, DISCRETE)
    forget_spaces(tmp_path / "a")
    monkeypatch.setattr(sys, "argv", ["merge", f"inputs=[{tmp_path}/a]", f"out={tmp_path}/all",
                                      "+action_space={type:Discrete,n:6,start:0}"])  # fmt: skip
    main()
    assert open_recording(tmp_path / "all").action_space == DISCRETE


def test_the_command_merges_and_refuses_in_one_line(tmp_path, monkeypatch, capsys):
    record(tmp_path / "a", VECTOR)
    record(tmp_path / "b", VECTOR)
    monkeypatch.setattr(sys, "argv", ["merge", f"inputs=[{tmp_path}/a,{tmp_path}/b]", f"out={tmp_path}/all"])
    main()
    assert "merged 4 episodes of 2 recordings" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith("recorders.merge:") and said.count("\n") == 1

"""Has the real LeRobot open an export and compares every row with the npz export of the same recording.

LeRobot pins other versions of torch than this repository, so this runs in an environment of its own, see
docs/exporting.md:

    python tests/lerobot_reads.py <lerobot export> <npz export> [largest mean error of a picture, for films]
"""

import json
import sys
from pathlib import Path

import numpy as np


def columns(stored) -> dict[str, np.ndarray]:
    """Arrays of an episode under LeRobot's names."""
    space = json.loads(str(stored["metadata"]))["recording"]["observation_space"]
    found = {"next.reward": stored["rewards"]}
    found |= {f"next.{name}": stored[name] for name in ("terminated", "truncated")}
    for name in stored.files:
        if name.startswith("extras."):
            found[name.replace("extras.", "extra.")] = stored[name]
        elif name.startswith("actions"):
            found[name.replace("actions", "action", 1)] = stored[name]
        elif name.startswith("observations"):
            is_picture = stored[name].dtype == np.uint8 and stored[name].ndim == 4
            if space["type"] in ("Dict", "Tuple"):
                new = "observation.images." if is_picture else "observation."
                found[name.replace("observations.", new, 1)] = stored[name]
            else:
                found["observation.image" if is_picture else "observation.state"] = stored[name]
    return found


def main(export: str, npz: str, tolerance: float = 0) -> None:
    """Compare; an AssertionError says what differs."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/check", root=export)
    files = sorted(Path(npz).glob("*.npz"))
    assert dataset.num_episodes == len(files), (dataset.num_episodes, len(files))
    row, worst = 0, 0.0
    for number, path in enumerate(files):
        with np.load(path) as stored:
            expected = columns(stored)
        steps = len(expected["next.reward"])
        for t in range(steps):
            item = dataset[row]
            assert item["episode_index"].item() == number and item["frame_index"].item() == t
            assert item["next.done"].item() == (t == steps - 1)
            assert abs(item["timestamp"].item() - t / dataset.fps) < 1e-3
            for name, values in expected.items():
                given = item[name] if isinstance(item[name], str) else item[name].numpy()
                if name in dataset.meta.camera_keys:
                    height, width = values.shape[1:3]
                    given = (given * 255).round().astype(int).transpose(1, 2, 0)[:height, :width]
                    worst = max(worst, np.abs(given - values[t]).mean())
                    assert worst <= tolerance, f"{name} differs by {worst} in row {row}"
                elif isinstance(given, str):
                    assert given == str(values[t]), (name, row)
                else:  # LeRobot gives every real number as float32 and every whole one as int64
                    wanted = values[t].astype({"f": np.float32, "b": bool}.get(values.dtype.kind, np.int64))
                    assert given.dtype == wanted.dtype and np.array_equal(given.ravel(), wanted.ravel()), (name, row)
            row += 1
    assert row == len(dataset) == dataset.meta.total_frames
    print(f"LeRobot reads {len(files)} episodes, {row} rows, {len(expected)} columns {sorted(expected)} as recorded; "
          f"largest mean error of a picture {worst}; task {item['task']!r}; {len(dataset.meta.stats)} statistics")


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(float, sys.argv[3:]))

"""A recording, looked at with plain zarr and xarray, nothing of ours: cells (# %%) for a notebook or an editor.

    python examples/look_at_recording.py recordings/<world>-<hash>        # writes recording.png

Works on sealed segments, those whose recorder has been closed.
"""

# %% where it is
import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import xarray
import zarr
from matplotlib import pyplot as plt

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data/mine")
if not folder.exists():
    sys.exit(f"look_at_recording: there is no folder {folder}; make play leaves one under recordings/")
segments = sorted(folder.glob("seg-*/sealed.zarr"))
if not segments:
    sys.exit(f"look_at_recording: no sealed segment under {folder}; see python -m recorders.inspect path={folder}")

# %% plain zarr: arrays by name, all episodes one after the other
group = zarr.open_group(str(segments[0]), mode="r")
print({name: (array.shape, str(array.dtype)) for name, array in group.arrays()})

# %% the journal says where episodes begin and end: a checksum, a space, JSON
lines = [json.loads(line.partition(" ")[2]) for line in (segments[0].parent / "journal.jsonl").read_text().splitlines()]
begins = {line["episode"]: line for line in lines if line.get("event") == "begin"}
ends = {line["episode"]: line for line in lines if line.get("event") == "end"}
print(f"{len(ends)} episodes of {[end['steps'] for end in ends.values()]} steps")

# %% xarray: the same with named dimensions, read lazily
data = xarray.open_zarr(segments[0], consolidated=False, chunks=None)
first = next(iter(ends))
rows = slice(begins[first]["start"], ends[first]["stop"])
episode = data.isel(row=rows)
rewards = episode["reward"].values[:-1]  # the last row holds the last observation and padding

# %% plots: rewards add up, which actions were taken, how long steps took
names = [name for name in ("latency_ms", "input_ms") if name in episode]
figure, axes = plt.subplots(1, 3 + bool(names), figsize=(12, 3), layout="constrained")
axes[0].plot(np.cumsum(rewards))
axes[0].set(title="return so far", xlabel="step")
values, counts = np.unique(episode["action"].values[:-1], return_counts=True)
axes[1].bar([str(value) for value in values], counts)
axes[1].set(title="actions taken", xlabel="action")
for name in names:
    axes[2].hist(episode[name].values[:-1], 40, histtype="step", label=name)
    axes[2].set(title="milliseconds", xlabel="ms")
    axes[2].legend()
if "frames" in episode:
    last = axes[-1]
    middle = episode["frames"].isel(row=len(rewards) // 2).values
    last.imshow(middle)
    last.set(title="in the middle", xticks=[], yticks=[])
figure.savefig("recording.png", dpi=100)
print("recording.png")

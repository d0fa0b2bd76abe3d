"""The evaluation as one picture."""

import io
from typing import Any

from PIL import Image

from .game_reader import Measure, reader_for
from .horizons import measures_of

LABELS = {"world": "world", "beside": "second world", "shuffled_actions": "other actions",
          "repeat_last": "last frame repeated"}
COLOURS = {"world": "C0", "beside": "C4", "shuffled_actions": "C1", "repeat_last": "C2", "real": "black"}
COLUMNS = 4


def rows_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The report's rows over the horizons: the world, the second world if there is one, the naive baselines."""
    horizons = report["horizons"]
    second = {"beside": report["beside"]["horizons"]["world"]} if "beside" in report else {}
    return {"world": horizons["world"], **second, **{k: horizons[k] for k in ("shuffled_actions", "repeat_last")}}


def titles_of(report: dict[str, Any]) -> dict[str, Measure]:
    """Titles of the horizon curves."""
    return measures_of(reader_for(report["env"], report["frame_shape"]))


def chart(report: dict[str, Any]) -> bytes:
    """A PNG of 64 colours: horizon curves, what the free run keeps, its motion and clarity, and the calibration."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(_horizon_panel, name) for name in report["horizons"]["world"]["curves"]]
    panels += [(_run_panel, "kept"), (_drift_panel, "motion"), (_drift_panel, "clarity"), (_calibration_panel, "")]
    lines = -(-len(panels) // COLUMNS)
    figure, axes = pyplot.subplots(lines, COLUMNS, figsize=(3.3 * COLUMNS, 2.7 * lines), squeeze=False)
    for axis in axes.flat[len(panels):]:
        axis.set_axis_off()
    for axis, (draw, name) in zip(axes.flat, panels, strict=False):
        draw(axis, report, name)
    axes.flat[0].legend(fontsize=6)
    figure.suptitle(f"{report['world']} against {report['env']}, {report['amounts']['starts']} held-out starts, "
                    f"{report['denoising_passes']} passes per frame; 95% intervals over starts", fontsize=9)
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.06, top=0.9, wspace=0.22, hspace=0.35)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=75)
    pyplot.close(figure)
    small = io.BytesIO()
    Image.open(file).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _horizon_panel(axis: Any, report: dict[str, Any], name: str) -> None:
    for row, part in rows_of(report).items():
        points = [(int(h), f) for h, f in part["curves"][name].items() if f["low"] is not None]
        if points:
            steps, figures = zip(*points, strict=True)
            value, low, high = ([f[key] for f in figures] for key in ("value", "low", "high"))
            axis.plot(steps, value, marker="o", markersize=3, color=COLOURS[row], label=LABELS[row])
            axis.fill_between(steps, low, high, alpha=0.2, color=COLOURS[row], linewidth=0)
    axis.set_xscale("log", base=2)
    axis.set_title(titles_of(report)[name].title, fontsize=8)
    axis.tick_params(labelsize=7)


def _run_panel(axis: Any, report: dict[str, Any], name: str) -> None:
    reader = reader_for(report["env"], report["frame_shape"])
    run = report["free_run"]["world"]
    for key, title in (reader.run_titles if reader is not None else {}).items():
        _tenths(axis, run[key]["by_tenth"], title)
    if reader is None:
        _tenths(axis, run["rewarded"]["by_tenth"], "rewards per 1,000 steps")
    else:
        axis.set_ylim(0, 1.05)
    axis.set_title(f"free run of {run['steps']:,} steps, by tenths", fontsize=8)
    axis.legend(fontsize=6)
    axis.tick_params(labelsize=7)


def _drift_panel(axis: Any, report: dict[str, Any], name: str) -> None:
    runs = {"world": report["free_run"]["world"], "real": report["free_run"]["real"]}
    if "beside" in report:
        runs["beside"] = report["beside"]["free_run"]["world"]
    for row, run in runs.items():
        values = run["drift"][name]["by_chunk"]
        axis.plot(range(1, len(values) + 1), values, marker="o", markersize=3, color=COLOURS[row],
                  label={"real": "real game"}.get(row, LABELS.get(row)))
    axis.set_ylim(bottom=0)
    axis.set_title(f"free run: {name} by chunk", fontsize=8)
    axis.legend(fontsize=6)
    axis.tick_params(labelsize=7)


def _calibration_panel(axis: Any, report: dict[str, Any], name: str) -> None:
    values = report["seeds"]["calibration"]["quintiles"]
    _tenths(axis, values, "")
    axis.set_title("error by fifths of the seeds' spread", fontsize=8)
    axis.tick_params(labelsize=7)


def _tenths(axis: Any, values: list[float | None], title: str) -> None:
    axis.plot(range(1, len(values) + 1), [float("nan") if v is None else v for v in values], marker="o", markersize=3,
              label=title)

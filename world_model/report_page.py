"""The evaluation as one page without anything outside of it."""

import base64
from html import escape
from typing import Any

from .chart import LABELS, rows_of, titles_of
from .game_reader import reader_for
from .targets import bound, shown

STYLE = """body{font:14px/1.4 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.5em 0 1.5em}
th,td{padding:.15em .7em;border-bottom:1px solid #ddd;text-align:left}
td:not(:first-child){font-variant-numeric:tabular-nums}.no{color:#b00;font-weight:bold}.yes{color:#070}
img{max-width:100%;image-rendering:pixelated}p{max-width:60em}"""

Cells = list[str]


def page(report: dict[str, Any], chart: bytes, strips: dict[str, str]) -> str:
    """HTML of a report.

    Args:
        report: as `evaluation.json` has it.
        chart: a PNG.
        strips: by heading, PNGs in base64.
    """
    amounts = report["amounts"]
    parts = [
        f"<h1>{escape(report['world'])} against {escape(report['env'])}</h1>",
        f"<p>{amounts['starts']} held-out starts, {report['denoising_passes']} passes per frame, "
        f"{amounts['free_steps']:,} free steps. In brackets: 95% intervals by bootstrap. World "
        f"<code>{report['hash'][:12]}</code>. What every figure means: docs/evaluation.md.</p>",
        "<h2>Targets</h2>", _targets(report),
        _image(base64.b64encode(chart).decode(), "charts"),
        *(f"<h2>{escape(title)}</h2>{_image(picture, title)}" for title, picture in strips.items()),
        "<h2>Over the horizons</h2>", _horizons(report),
        "<h2>Rewards and ends</h2>", _outcomes(report),
        "<h2>Control</h2>", _control(report),
        "<h2>Free run</h2>", _free_run(report),
        "<h2>Seeds</h2>", _seeds(report),
        *(["<h2>Passes</h2>", _passes(report)] if report.get("passes") else []),
    ]  # fmt: skip
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(report['world'])}</title>"
            f"<style>{STYLE}</style>" + "\n".join(parts) + "</html>\n")


def _image(data: str, title: str) -> str:
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{data}">'


def _table(head: Cells, rows: list[Cells]) -> str:
    """A table; cells are escaped."""
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f'<td{_marked(cell)}>{escape(cell)}</td>' for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _marked(cell: str) -> str:
    return f' class="{cell.lower()}"' if cell in ("yes", "NO") else ""


def _targets(report: dict[str, Any]) -> str:
    rows = [[row["name"], bound(row), shown(row["measured"]), {True: "yes", False: "NO", None: "-"}[row["met"]]]
            for row in report["targets"]]
    return _table(["", "target", "measured", "met"], rows)


def _horizons(report: dict[str, Any]) -> str:
    titles, rows = titles_of(report), rows_of(report)
    curves = rows["world"]["curves"]
    horizons = list(next(iter(curves.values())))
    body = [[titles[name].title if row == "world" else "", LABELS[row],
             *(shown(part["curves"][name][h]) for h in horizons)] for name in curves for row, part in rows.items()]
    gap = [["gap to other actions" if name == "psnr" else "", titles[name].title, *(shown(f) for f in part.values())]
           for name, part in report["horizons"]["action_gap"].items()]
    return _table(["", "", *(f"after {h}" for h in horizons)], body + gap)


def _outcomes(report: dict[str, Any]) -> str:
    rows = []
    for row, part in rows_of(report).items():
        for name, found in part.items():
            if "f1" in found:
                rows.append([LABELS[row], name, *(shown(found[k]) for k in ("precision", "recall", "f1", "same_value")),
                             str(found["drawn"]), str(found["real"])])
            elif name != "curves":
                rows.append([LABELS[row], name, shown(found), "", "", "", "", ""])
    return _table(["", "", "precision, or error", "recall", "F1", "same size", "drawn", "real"], rows)


def _control(report: dict[str, Any]) -> str:
    worlds = {"world": report["control"]}
    if "beside" in report:
        worlds["beside"] = report["beside"]["control"]
    rows = []
    for row, control in worlds.items():
        found = control.get("inverse_dynamics", {})
        rows += [[LABELS[row], f"actions read off pictures: {name}", shown(value)] for name, value in found.items()]
        rows += [[LABELS[row], f"{name} held: {key}", shown(value)] for name, held in control.get("held", {}).items()
                 for key, value in held.items()]
    kinds = "; ".join(" = ".join(kind) for kind in report["control"].get("kinds", []))
    return f"<p>Kinds of action: {escape(kinds)}.</p>" + _table(["", "", ""], rows)


def _free_run(report: dict[str, Any]) -> str:
    runs = {"world": report["free_run"]["world"], "real game": report["free_run"]["real"],
            "picture at rest": report["free_run"]["frozen"]}
    if "beside" in report:
        runs["second world"] = report["beside"]["free_run"]["world"]
    reader = reader_for(report["env"], report["frame_shape"])
    followed = reader.run_titles if reader is not None else {}
    paths = [*(((name,), title) for name, title in followed.items()),
             *(((name, "last"), f"{title}, last thousand") for name, title in followed.items()),
             (("rewarded",), "steps with a reward per thousand"), (("motion_ratio",), "motion over the real game's"),
             (("drift", "score"), "lowest likeness to the real game"),
             (("drift", "exposure_stability"), "exposure stability, %"),
             *((("drift", m, "likeness"), f"{m}: likeness to the real game") for m in _LOOKS),
             *((("drift", m, "vde", w), f"{m}: VDE, {w}") for m in _LOOKS for w in ("linear", "log", "late", "flat"))]
    rows = [[title, *(shown(_at(run, path)) for run in runs.values())] for path, title in paths]
    return _table(["", *runs], rows)


_LOOKS = ("exposure", "clarity", "motion", "palette")


def _seeds(report: dict[str, Any]) -> str:
    seeds = report["seeds"]
    rows = [[f"after {h}", shown(part["world"]), shown(part["real"]), shown(part["repeat_last"]),
             *(shown(seeds["calibration"][h][k]) for k in ("rank_correlation", "by_motion", "ratio"))]
            for h, part in seeds["diversity"].items()]
    fifths = ", ".join(shown(value) for value in seeds["calibration"]["quintiles"])
    note = (f"<p>{seeds['seeds']} seeds from {seeds['starts']} starts. "
            f"Relative error by fifths of the spread: {fifths}.</p>")
    return note + _table(["", "spread, pixel values", "real game's", "at rest", "rank correlation of spread and error",
                          "of motion and error", "spread over error"], rows)


def _passes(report: dict[str, Any]) -> str:
    titles = titles_of(report)
    rows = [[titles[name].title, passes, *(shown(f) for f in curve.values())]
            for name in report["horizons"]["world"]["curves"]
            for passes, part in report["passes"].items() for curve in [part["curves"][name]]]
    horizons = list(report["horizons"]["world"]["curves"]["psnr"])
    return _table(["", "passes", *(f"after {h}" for h in horizons)], rows)


def _at(report: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        report = report.get(step) if isinstance(report, dict) else None
    return report

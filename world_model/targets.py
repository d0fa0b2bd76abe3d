"""What the project promised itself, and what a world does."""

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
"""name, target (a number, or None where the figure is only shown), at_most (whether smaller is better), measured
(a figure, or None where this evaluation is too short or the game has no such thing), met (bool or None)"""


def target_rows(report: dict[str, Any]) -> list[Row]:
    """Every target that means something in this game, from a report as JSON has it (nan is None)."""
    world, run = report["horizons"]["world"], report["free_run"]["world"]
    readable = world["curves"].keys() - {"psnr", "ssim"}
    rows: list[tuple[str, Sequence[str], dict[str, Any], float | None, bool]] = []
    if "paddle_px" in readable:
        rows += [("own paddle error after 16 steps, px", ("paddle_px", "16"), world["curves"], 1, True),
                 ("ball error after 8 steps, px, median", ("ball_px", "8"), world["curves"], 2, True),
                 ("ball within 2 px after 8 steps, share", ("ball_within_2", "8"), world["curves"], None, False)]
    if "bricks" in readable:
        rows += [("error in the number of bricks after 64 steps", ("bricks", "64"), world["curves"], 1, True),
                 ("score right after 64 steps, share", ("score_right", "64"), world["curves"], 0.95, False),
                 ("lives right after 64 steps, share", ("lives_right", "64"), world["curves"], 0.95, False)]
    rows += [("reward F1 over 16 steps, to one step", ("reward_slack1_16", "f1"), world, 0.95, False)]
    if "valid" in run:
        rows += [(f"valid pictures, the last {min(1000, run['steps']):,} of {run['steps']:,} free steps, share",
                  ("valid", "last"), run, 0.95, False)]
    rows += [("actions read off the world's pictures, over the real ones'", ("inverse_dynamics", "ratio"),
              report["control"], 0.95, False),
             ("free run: likeness to the real game, lowest", ("drift", "score"), run, None, False)]
    return [_row(*row) for row in rows]


def target_table(rows: list[Row]) -> str:
    """The rows as text, for a terminal."""
    lines = [f"{'':68s} {'target':>8s} {'measured':>26s}  met"]
    for row in rows:
        met = {True: "yes", False: "NO", None: "-"}[row["met"]]
        lines.append(f"{row['name']:68s} {bound(row):>8s} {shown(row['measured']):>26s}  {met}")
    return "\n".join(lines)


def bound(row: Row) -> str:
    """The target with its sign."""
    return "" if row["target"] is None else f"{'<=' if row['at_most'] else '>='} {row['target']:g}"


def shown(measured: Any) -> str:
    """A figure, or a number, for people; "-" where there is none."""
    if isinstance(measured, dict):
        low, high = measured.get("low"), measured.get("high")
        interval = "" if low is None or high is None else f" ({low:.3g} to {high:.3g})"
        return shown(measured.get("value")) + interval
    return "-" if measured is None else f"{measured:.3g}" if abs(measured) < 1000 else f"{measured:,.0f}"


def _row(name: str, path: Sequence[str], report: Any, target: float | None, at_most: bool) -> Row:
    for step in path:
        report = report.get(step) if isinstance(report, dict) else None
    figure = {key: report.get(key) for key in ("value", "low", "high")} if isinstance(report, dict) else (
        {"value": report, "low": None, "high": None} if report is not None else None)
    met = None
    if target is not None and figure is not None and figure["value"] is not None:
        met = bool(figure["value"] <= target if at_most else figure["value"] >= target)
    return {"name": name, "target": target, "at_most": at_most, "measured": figure, "met": met}

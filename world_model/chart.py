"""The evaluation as one picture."""

from pathlib import Path
from typing import Any

PANELS = (("psnr", "PSNR, dB"), ("paddle_px", "own paddle error, px"), ("ball_within_2", "real ball met within 2 px"),
          ("ball_recall", "ball drawn where there is one"))
LABELS = {"world": "world", "shuffled_actions": "other actions", "repeat_last": "last frame repeated"}


def save_chart(report: dict[str, Any], path: Path) -> None:
    """Draw the horizon curves of the world and its baselines, and the free run's valid share, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves = {name: part["curves"] for name, part in report["horizons"].items()}
    panels = [panel for panel in PANELS if panel[0] in curves["world"]]
    extra = 1 if "free_run" in report else 0
    figure, axes = pyplot.subplots(1, len(panels) + extra, figsize=(3.6 * (len(panels) + extra), 3.2), squeeze=False)
    for axis, (key, title) in zip(axes[0], panels, strict=False):
        for name, curve in curves.items():
            axis.plot(curve["horizon"], curve[key], marker="o", markersize=3, label=LABELS[name])
        axis.set_xscale("log", base=2)
        axis.set_xlabel("steps")
        axis.set_title(title, fontsize=9)
    axes[0][0].legend(fontsize=7)
    if extra:
        run = report["free_run"]
        axis = axes[0][-1]
        axis.plot(range(1, len(run["valid"]) + 1), run["valid"], marker="o", markersize=3, label="valid picture")
        axis.plot(range(1, len(run["valid"]) + 1), run["ball_in_play"], marker="o", markersize=3, label="ball in play")
        axis.set_ylim(0, 1.05)
        axis.set_xlabel("thousand steps")
        axis.set_title("free run", fontsize=9)
        axis.legend(fontsize=7)
    figure.suptitle(f"{report['world']} against {report['env']}, {report['starts']} held-out starts, "
                    f"{report['denoising_passes']} passes per frame", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

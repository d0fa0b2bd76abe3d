"""Everything that is measured of one world, in parts."""

from typing import Any

import numpy as np

from .bench import Bench
from .control import held_actions
from .drift import drift_figures
from .film_strip import comparison_strip, encoded, strip
from .free_run import frozen, in_world, log, run_figures
from .horizons import (
    Errors,
    Rollouts,
    action_gap,
    curves,
    errors_of,
    look_figures,
    outcome_figures,
    roll_out,
    still_rollouts,
)
from .inverse_dynamics import control_figures
from .report_parts import Part, ReportParts
from .rollout import World
from .seed_spread import seed_spread

NEAR = 16
"""steps over which control is read"""


class Measurements:
    """Measures a world against the real game.

    Args:
        world: what is measured.
        bench: what it is measured against.
        parts: where finished parts are.
        prefix: of the parts' names: two worlds may share a file.
    """

    def __init__(self, world: World, bench: Bench, parts: ReportParts, prefix: str = "") -> None:
        self.world, self.bench, self.parts, self.prefix = world, bench, parts, prefix

    def all(self) -> dict[str, Any]:
        """The parts by name: horizons, control, free_run, seeds; passes where asked for."""
        config = self.bench.config
        report = {name: dict(self.parts.get(self.prefix + name, compute)) for name, compute in (
            ("horizons", self.horizons), ("seeds", self.seeds), ("free_run", self.free_run))}
        report["control"] = report["horizons"].pop("control", {})
        if self.bench.reader is not None and self.bench.scenarios[0].snapshot is not None:
            report["control"]["held"] = self.parts.get(self.prefix + "held", self.held)
        for steps in config.passes:
            name = f"{self.prefix}passes {steps}"
            report.setdefault("passes", {})[str(steps)] = self.parts.get(name, lambda n=steps: self.passes(n))  # type: ignore[misc]
        return report

    def horizons(self) -> Part:
        """The world and its baselines over the horizons, what its pictures say of the actions, and a strip."""
        bench, config = self.bench, self.bench.config
        drawn = roll_out(self.world, bench.scenarios, bench.actions, config.batch)
        otherwise = roll_out(self.world, bench.scenarios, bench.others, config.batch, "other actions")
        rows = {"world": drawn, "shuffled_actions": otherwise, "repeat_last": still_rollouts(bench.scenarios)}
        errors = {name: self._errors(row) for name, row in rows.items()}
        report: Part = {name: self._row(row, errors[name]) for name, row in rows.items()}
        report["action_gap"] = action_gap(errors["world"], errors["shuffled_actions"])
        if bench.actions.shape[1] > 1:
            report["control"] = self._inverse(drawn, otherwise)
        report["strip"] = encoded(comparison_strip(bench.real.frames, drawn.frames, bench.over))
        return report

    def passes(self, steps: int) -> Part:
        """The world's row with another count of denoising passes."""
        bench = self.bench
        drawn = roll_out(self.world.with_sampler(steps), bench.scenarios, bench.actions, bench.config.batch,
                         f"{steps} passes")
        return self._row(drawn, self._errors(drawn))

    def seeds(self) -> Part:
        """Diversity and calibration."""
        bench, config = self.bench, self.bench.config
        return seed_spread(self.world, bench.game, bench.scenarios[: config.amount("seed_starts")],
                           config.amount("seeds"), min(config.amount("seed_horizon"), config.amount("horizon")))

    def free_run(self) -> Part:
        """A long run beside the real game's, and beside a picture that never changes."""
        bench, config = self.bench, self.bench.config
        real = bench.real_run
        run = log(in_world(self.world, bench.scenarios, bench.player(), config.seed), config.amount("free_steps"),
                  bench.reader)
        return {"world": run_figures(run, real), "real": run_figures(real, real),
                "frozen": {"drift": drift_figures(frozen(real), real.look)},
                "strip": encoded(strip([real.shown, run.shown]))}

    def held(self) -> Part:
        """Actions held."""
        bench = self.bench
        return held_actions(self.world, bench.game, bench.reader,  # type: ignore[arg-type]
                            bench.scenarios[: bench.config.amount("control_starts")])

    def _errors(self, drawn: Rollouts) -> Errors:
        return errors_of(drawn, self.bench.real, self.bench.over, self.bench.reader)

    def _row(self, drawn: Rollouts, errors: Errors) -> Part:
        real, over = self.bench.real, self.bench.over
        return {"curves": curves(errors, self.bench.reader), **look_figures(drawn, real, over),
                **outcome_figures(drawn, real, over)}

    def _inverse(self, drawn: Rollouts, otherwise: Rollouts) -> Part:
        bench = self.bench
        steps = min(NEAR, bench.actions.shape[1])
        actions = bench.actions[:, :steps]
        going = ~bench.over[:, 1:steps]
        real, ours, lucky = (bench.recovered(x.frames[:, :steps], actions) for x in (bench.real, drawn, otherwise))
        counts = np.bincount(bench.kinds.of(actions[:, :-1][going]))
        return {"inverse_dynamics": control_figures(real, ours, lucky, going, float(counts.max() / counts.sum())),
                "kinds": bench.kinds.names}

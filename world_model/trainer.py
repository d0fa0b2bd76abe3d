"""The training loop: clips in, a world folder out, resumable at any step, by any number of processes."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .ar_vae import ArVae
from .clips import ClipSource
from .difficulty import Difficulty
from .execution import compile_parts, recompute_in_backward
from .loader import ClipLoader
from .measured import measured
from .model import WorldModel
from .objective import Objective
from .optimizer import Optimizer, rate_fraction
from .parallel import alone, share_out
from .precision import choose_dtype
from .sampler import SamplerConfig
from .shares import shared_like, whole
from .team import Team
from .train_state import Origin, check_fits, load_state, save_state, update_average
from .trainer_config import TrainerConfig
from .training_log import TrainingLog
from .vae_objective import VaeObjective


class Trainer:
    """Owns the optimiser, the weight average and the run's folder, which only the first process of a team writes to.

    Args:
        model: on the device it is trained on.
        source: of clips.
        sampler: how the world is served.
        config: how it is trained.
        out: folder of the run; its last checkpoint is where training goes on.
        team: the processes that share every step.
        origin: what is learned by what, noted in checkpoints and compared with theirs.
        objective: what is learned; what a world learns from a recording when None.

    Raises:
        TrainStateError: if the checkpoint is damaged or of something else.
        ValueError: if a step cannot be shared out evenly among the team.
    """

    def __init__(self, model: WorldModel | ArVae, source: ClipSource, sampler: SamplerConfig, config: TrainerConfig,
                 out: Path, team: Team | None = None, origin: Origin | None = None,
                 objective: Objective | VaeObjective | None = None):
        self.model, self.source, self.config, self.out = model, source, config, out
        if isinstance(model, WorldModel):
            if config.compile:
                compile_parts(model)
            if config.checkpointing:
                recompute_in_backward(model)
            objective = objective or Objective(model, source, sampler, config)
        if objective is None:
            raise ValueError(f"a {type(model).__name__} needs an objective of its own")
        self.team, self.origin = team or Team(), origin or Origin(network=asdict(model.config))
        self.device = model.scaler.mean.device
        self.objective = objective
        self.loader = ClipLoader(source, config, self.objective.moment_frames, self.team)
        self.dtype = choose_dtype(self.device, config.precision)
        found = self._find()
        self.learner = share_out(self.objective, self.team, config.parallel)
        self.optimizer = Optimizer(model, config.optimizer)
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        if found:
            self.optimizer.restore(found["optimizer"])
            for name, mine in self.average.items():
                mine.copy_(shared_like(found["average"][name], mine))

    def run(self, report: Callable[[int], None] | None = None, timed: Callable[[float], None] | None = None) -> None:
        """Train to the configured step, saving on the way.

        Args:
            report: is told the step now and then, in all processes.
            timed: is told the seconds of a step once two are done.
        """
        begun = saved = reported = self.team.gather(time.monotonic())[0]
        bar = tqdm(total=self.config.steps, initial=self.step, desc="train", dynamic_ncols=True, mininterval=2.0,
                   disable=not self.team.leads)
        log = TrainingLog(self.out / "metrics.jsonl", self.step) if self.team.leads else None
        first = self.step
        while self.step < self.config.steps:
            record = self.train_step()
            if log is not None:
                log.write(record)
            bar.update()
            bar.set_postfix(loss=f"{record['loss']:.4f}", mode=record["mode"], waiting=f"{self._waiting(begun):.1%}")
            now = self.team.gather(time.monotonic())[0]  # the first process's, so that all agree
            if timed is not None and self.step == first + 2:
                timed((now - begun) / 2)
            if now - saved > self.config.save_seconds:
                self._save(log)
                saved = now
            if report is not None and now - reported > self.config.report_seconds:
                report(self.step)
                reported = self.team.gather(time.monotonic())[0]
        bar.close()
        self.loader.close()
        self._save(log)
        if log is not None:
            log.close()
            if self.step > first:
                print(f"waited {self.loader.waited:.1f} s for clips, {self._waiting(begun):.2%} of the time",
                      flush=True)

    def train_step(self) -> dict[str, Any]:
        """One optimiser step. Returns what to log, the mean of all parts of the step."""
        begun, waited = time.perf_counter(), self.loader.waited
        records = [self._learn(last=i == self.config.accumulate - 1) for i in range(self.config.accumulate)]
        fraction = rate_fraction(self.step, self.config.steps, self.config.optimizer)
        norm = self.optimizer.step(fraction)
        told = self.team.gather((records, [known.noted() for known in self._difficulties().values()],
                                 self.objective.noted()))
        for _, noted, errors in told:  # the same in all processes, in the order of parts
            self.objective.learned(errors)
            for known, (rows, losses) in zip(self._difficulties().values(), noted, strict=True):
                known.remember(rows, losses)
        self.step += 1
        self.loader.advance()
        update_average(self.average, self.model, self.step, self.config.average)
        record = _mean([record for theirs, _, _ in told for record in theirs])
        return {"step": self.step, "lr": fraction} | record | {
            "grad_norm": round(norm, 6), "seconds": time.perf_counter() - begun, "waited": self.loader.waited - waited}

    def save(self) -> None:
        """Write a resumable state; all processes of the team must call it, one writes."""
        clips, moments = self.loader.planned()
        groups: dict[str, dict[str, Tensor]] = {
            "model": {name: whole(p.detach()) for name, p in self.model.named_parameters()},
            "average": self.averaged(),
            "optimizer": self.optimizer.state(),
            "buffers": {name.removeprefix("scaler."): x for name, x in measured(self.model).items()},
            "memory": self.objective.memory(),
            "clips": {name: torch.from_numpy(known.losses) for name, known in self._difficulties().items()},
            "planned": {"clips": clips, "moments": moments},
        }
        if self.team.leads:
            save_state(self.out, self.step, groups, {"trainer": asdict(self.config), "origin": asdict(self.origin)})

    def _save(self, log: TrainingLog | None) -> None:
        """Save, the log first: what it says of later steps is dropped when a run goes on, what it lacks is lost."""
        if log is not None:
            log.flush()
        self.save()

    def averaged(self) -> dict[str, Tensor]:
        """The weight average, whole; all processes of the team must ask."""
        return {name: whole(p) for name, p in self.average.items()}

    def _learn(self, last: bool) -> dict[str, Any]:
        """Add the gradient of the next portion; processes add theirs up at the last one. Returns its record."""
        portion = self.loader.next()
        with alone(self.learner, not last):
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                loss, record = self.learner(portion)
            (loss / self.config.accumulate).backward()
        return {k: float(v.detach()) if isinstance(v, Tensor) else v for k, v in record.items()}

    def _waiting(self, begun: float) -> float:
        """Share of the time since `begun` that was spent waiting for clips."""
        return self.loader.waited / max(time.monotonic() - begun, 1e-9)

    def _find(self) -> dict[str, dict[str, Tensor]]:
        """Begin where the last checkpoint ended, if there is one. Returns its tensors."""
        self.step = 0
        found = load_state(self.out)
        if found is None:
            self.loader.begin(0)
            return {}
        self.step, groups, meta = found
        same = self.origin.check(self.out, meta.get("origin"))
        buffers = {name.removeprefix("scaler."): x.shape for name, x in measured(self.model).items()}
        check_fits(self.out, groups, {"model": {name: p.shape for name, p in self.model.named_parameters()},
                                      "buffers": buffers})
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(groups["model"][name])
            for name, x in measured(self.model).items():
                x.copy_(groups["buffers"][name.removeprefix("scaler.")])
        memory, known = self.objective.memory(), groups.get("memory", {})
        if {name: x.shape for name, x in memory.items()} == {name: x.shape for name, x in known.items()}:
            for name, mine in memory.items():  # of other sizes it begins anew
                mine.copy_(known[name])
        planned = self._restore_clips(groups, meta["trainer"]) if same else None
        self.loader.begin(self.step, planned)
        return groups

    def _restore_clips(self, groups: dict[str, dict[str, Tensor]],
                       then: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
        """Take up which frames were hard. Returns the places planned, if they are still what is asked for."""
        for name, known in self._difficulties().items():
            losses = groups.get("clips", {}).get(name)
            if losses is not None and len(losses) == len(known.losses):
                known.remember(slice(None), losses.numpy())
        now = asdict(self.config)
        alike = all(then.get(name) == now[name] for name in
                    ("batch", "frames", "moments", "event_share", "hard_share", "seed", "ahead"))
        return (groups["planned"]["clips"], groups["planned"]["moments"]) if alike and "planned" in groups else None

    def _difficulties(self) -> dict[str, Difficulty]:
        return {"difficulty": self.source.difficulty, "nearby": self.source.nearby}


def _mean(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the parts of a step gave, each number averaged over the parts that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    values = {name: [record[name] for record in records if name in record] for name in names}
    return {name: given[0] if isinstance(given[0], str) else round(sum(given) / len(given), 6)
            for name, given in values.items()}

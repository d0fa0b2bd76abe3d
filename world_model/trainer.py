"""The training loop: clips in, a world folder out, resumable at any step."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .clips import ClipSource
from .difficulty import Difficulty
from .model import WorldModel
from .objective import Objective
from .optimizer import Optimizer, rate_fraction
from .precision import choose_dtype
from .sampler import SamplerConfig
from .train_state import check_fits, load_state, save_state, update_average
from .trainer_config import TrainerConfig


class Trainer:
    """Owns the optimiser, the weight average and the run's folder."""

    def __init__(self, model: WorldModel, source: ClipSource, sampler: SamplerConfig, config: TrainerConfig, out: Path,
                 objective: Objective | None = None):
        self.model, self.source, self.config, self.out = model, source, config, out
        self.device = model.scaler.mean.device
        self.objective = objective or Objective(model, source, sampler, config)
        self.optimizer = Optimizer(model, config.optimizer)
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.step = 0
        self.dtype = choose_dtype(self.device, config.precision)
        self._resume()

    def run(self, report: Callable[[int], None] | None = None) -> None:
        """Train to the configured step, saving and reporting on the way; `report(step)` draws samples."""
        saved = reported = time.monotonic()
        bar = tqdm(total=self.config.steps, initial=self.step, desc="train", dynamic_ncols=True, mininterval=2.0)
        with open(self.out / "metrics.jsonl", "a") as log:
            while self.step < self.config.steps:
                begun = time.perf_counter()
                record = self.train_step()
                record["seconds"] = time.perf_counter() - begun
                log.write(json.dumps(record) + "\n")
                bar.update()
                bar.set_postfix(loss=f"{record['loss']:.4f}", mode=record["mode"])
                if time.monotonic() - saved > self.config.save_seconds:
                    log.flush()
                    self.save()
                    saved = time.monotonic()
                if report is not None and time.monotonic() - reported > self.config.report_seconds:
                    report(self.step)
                    reported = time.monotonic()
        bar.close()
        self.save()

    def train_step(self) -> dict[str, Any]:
        """One optimiser step. Returns what to log."""
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            loss, record = self.objective(self.step)
        loss.backward()
        fraction = rate_fraction(self.step, self.config.steps, self.config.optimizer)
        record["grad_norm"] = self.optimizer.step(fraction)
        self.step += 1
        update_average(self.average, self.model, self.step, self.config.average)
        return {"step": self.step, "lr": fraction} | {
            k: round(float(v.detach()), 6) if isinstance(v, Tensor) else v for k, v in record.items()}

    def save(self) -> None:
        """Write a resumable state."""
        groups: dict[str, dict[str, Tensor]] = {
            "model": dict(self.model.named_parameters()),
            "average": self.average,
            "optimizer": self.optimizer.state(),
            "buffers": {"mean": self.model.scaler.mean},
            "memory": self.objective.memory(),
            "clips": {name: torch.from_numpy(known.losses) for name, known in self._difficulties()},
        }
        save_state(self.out, self.step, groups, {"trainer": asdict(self.config)})

    def _resume(self) -> None:
        found = load_state(self.out)
        if found is None:
            return
        self.step, groups, _ = found
        check_fits(self.out, groups, {name: p.shape for name, p in self.model.named_parameters()})
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(groups["model"][name])
                self.average[name].copy_(groups["average"][name])
            self.model.scaler.mean.copy_(groups["buffers"]["mean"])
        self.optimizer.restore(groups["optimizer"])
        for name, memory in self.objective.memory().items():
            if name in groups.get("memory", {}):
                memory.copy_(groups["memory"][name])
        for name, known in self._difficulties():
            found_losses = groups.get("clips", {}).get(name)
            if found_losses is not None and len(found_losses) == len(known.losses):
                known.losses[:] = found_losses.numpy()

    def _difficulties(self) -> list[tuple[str, Difficulty]]:
        return [("difficulty", self.source.difficulty), ("nearby", self.source.nearby)]

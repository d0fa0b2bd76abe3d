"""The training loop: clips in, a world folder out, resumable at any step."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .clips import Clips, ClipSource
from .coupling import couple
from .difficulty import Difficulty
from .ghosts import haunt, haunt_past
from .levels import LevelSampler
from .losses import motion_weight, outcome_loss, picture_loss, rarity_weight
from .model import WorldModel
from .optimizer import Optimizer, rate_fraction
from .own_past import free_past, own_past
from .precision import choose_dtype
from .sampler import SamplerConfig
from .train_state import check_fits, load_state, save_state, update_average
from .trainer_config import TrainerConfig

HARD_TIME = 0.8
"""noise time above which the picture must come from the past rather than from the noisy frame"""


class Trainer:
    """Owns the optimiser, the weight average and the run's folder."""

    def __init__(self, model: WorldModel, source: ClipSource, sampler: SamplerConfig, config: TrainerConfig, out: Path):
        self.model, self.source, self.config, self.out = model, source, config, out
        self.device = model.scaler.mean.device
        self.served = sampler
        self.levels = LevelSampler(config.levels, sampler)
        self.optimizer = Optimizer(model, config.optimizer)
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.step = 0
        self.places = rarity_weight(source.spread.to(self.device), config.loss)
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
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        mode = self.levels.mode(generator)
        clips = self.source.batch(self.step, self.config.batch, self.config.frames + 1)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            record = self._losses(mode, clips, generator)
            nearby = self._nearby_loss(generator) if self.config.moments else torch.zeros(())
        record["loss"].backward()
        if self.config.moments:
            nearby.backward()
            record["nearby"] = nearby
        fraction = rate_fraction(self.step, self.config.steps, self.config.optimizer)
        record["grad_norm"] = self.optimizer.step(fraction)
        self.step += 1
        update_average(self.average, self.model, self.step, self.config.average)
        return {"step": self.step, "mode": mode, "lr": fraction} | {
            k: round(float(v.detach()), 6) if isinstance(v, Tensor) else v for k, v in record.items()}

    def _losses(self, mode: str, clips: Clips, generator: torch.Generator) -> dict[str, Any]:
        x = self.model.scaler.encode(clips.frames.to(self.device))
        times = self.levels.times(mode, len(x), x.shape[1] - 1, generator).to(self.device)
        noise = torch.randn(x[:, 1:].shape, generator=generator).to(self.device)
        if mode == "teacher":
            return self._teacher_losses(clips, x, times, noise, generator)
        noisy = self._noisy(x, x[:, 1:], noise, times, generator)
        first = torch.zeros_like(times[:, :1])
        estimate, _ = self.model(torch.cat([x[:, :1], noisy], 1), torch.cat([first, times], 1),
                                 clips.actions.to(self.device))
        errors = picture_loss(estimate[:, 1:], x[:, 1:], self._weight(x, x[:, :-1]), times, self.config.loss)
        picture = errors.sum() / (times > 0).sum().clamp(min=1)
        return {"loss": picture, "picture": picture} | _by_level(errors, times)

    def _teacher_losses(self, clips: Clips, x: Tensor, times: Tensor, noise: Tensor,
                        generator: torch.Generator) -> dict[str, Any]:
        """Every frame from the clean frames before it, real or drawn; where those have left the real course, nothing.

        A drawn past in which the ball flew elsewhere says nothing of the recording's next frame, or of its rewards.
        """
        actions, rewards, terminated = (v.to(self.device) for v in (clips.actions, clips.rewards, clips.terminated))
        past, depth = self._past(x, clips, generator)
        astray = (past - x[:, :-1]).square().mean((-1, -2, -3)) > self.config.astray
        past = haunt_past(past, self.config.ghost_share, generator)
        context = self._roughen(past, generator)
        with torch.no_grad():
            expected = self.model.forward_teacher(context, 0 * noise, torch.ones_like(times), actions)[0]
        noise = couple(noise, x[:, 1:], expected, self.config.noise_draws, generator)
        noisy = self._noisy(x, expected, noise, times, generator)
        estimate, tokens = self.model.forward_teacher(context, noisy, times, actions)
        weight, times = self._weight(x, past), times * ~astray
        errors = picture_loss(estimate, x[:, 1:], weight, times, self.config.loss)
        history, count = self.model.config.history, past.shape[1]
        self._remember(self.source.difficulty, clips.rows[:, 1 + history:], errors[:, history:], times[:, history:])
        known = ~astray[:, 1:]
        reward_logits, termination_logits = self.model.outcome(tokens[:, 1:count])  # frames committed with a past
        outcome = outcome_loss(reward_logits[known], termination_logits[known], rewards[:, 1:count][known],
                               terminated[:, 1:count][known])
        picture = errors.sum() / (times > 0).sum().clamp(min=1)
        return {"loss": picture + self.config.loss.outcome * outcome, "picture": picture, "outcome": outcome,
                "depth": depth, "astray": astray.float().mean()} | _by_level(errors, times)

    def _nearby_loss(self, generator: torch.Generator) -> Tensor:
        """Picture loss of single frames that the decoder draws alone: far cheaper than clips, and mostly enough."""
        history, memory = self.model.config.history, self.model.config.action_memory
        clips = self.source.moments(self.step, self.config.moments, 1 + max(history, memory, 1))
        x = self.model.scaler.encode(clips.frames.to(self.device))
        actions = clips.actions[:, -1 - memory:].to(self.device)
        times = self.levels.times("teacher", len(x), 1, generator).to(self.device)
        noise = torch.randn(x[:, -1:].shape, generator=generator).to(self.device)
        past = haunt_past(x[:, :-1], self.config.ghost_share, generator)
        before = self._roughen(past, generator)[:, -history:] if history else x[:, :0]
        with torch.no_grad():
            expected = self.model.forward_nearby(0 * noise, before, torch.ones_like(times), actions)
        noise = couple(noise, x[:, -1:], expected, self.config.noise_draws, generator)
        noisy = self._noisy(x, expected, noise, times, generator)
        estimate = self.model.forward_nearby(noisy, before, times, actions)
        errors = picture_loss(estimate, x[:, -1:], self._weight(x[:, -2:], past[:, -1:]), times, self.config.loss)
        self._remember(self.source.nearby, clips.rows[:, -1:], errors, times)
        return errors.mean()

    def _noisy(self, x: Tensor, expected: Tensor, noise: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
        """The last frames of clips x [B, T+1, H, W, 3], or what was expected of them, mixed with noise [B, F, H, W, 3].

        A sampler's first pass leaves behind what was expected, several pale things where there will be one. From then
        on the noise alone tells which; mixed with real frames only, nobody would need to listen to it.
        """
        frames = haunt(x[:, -noise.shape[1]:], x, self.config.ghost_share, generator)
        undecided = torch.rand(noise.shape[:2], generator=generator) < self.config.undecided_share
        undecided = undecided.to(x.device)[..., None, None, None]
        return torch.lerp(torch.where(undecided, expected.to(x.dtype), frames), noise, times[..., None, None, None])

    def _weight(self, x: Tensor, past: Tensor) -> Tensor:
        """Of every pixel of frames 1..T: more where it differs from frame t-1, the real one or the one shown."""
        decode = self.model.scaler.decode
        frames = decode(x)
        moved = motion_weight(frames[:, 1:], frames[:, :-1], self.config.loss)
        return moved.maximum(motion_weight(frames[:, 1:], decode(past), self.config.loss)) * self.places

    def _remember(self, difficulty: Difficulty, rows: np.ndarray, errors: Tensor, times: Tensor) -> None:
        """Note how well frames were drawn, where it took skill; all [B, T]."""
        chosen = (times > HARD_TIME).cpu().numpy()
        difficulty.remember(rows[chosen], errors.detach().cpu().numpy()[chosen])

    def _past(self, x: Tensor, clips: Clips, generator: torch.Generator) -> tuple[Tensor, int]:
        """Frames 0..T-1 of clips [B, T+1, H, W, 3] as the past of the others, and how deep they are the world's own.

        The depth is 0 for a real past, and else how many drawn frames a drawn one goes back through.
        """
        own, free, how_far = torch.rand(3, generator=generator).tolist()
        if self.step < self.config.own_after * self.config.steps or own >= self.config.own_share:
            return x[:, :-1], 0
        frames = x.shape[1] - 1
        if free < self.config.free_share:
            first = max(frames // 3, 1)  # enough to know how things move
            first += int(how_far * (frames - first))
            return free_past(self.model, clips, self.served, first, generator), frames - first
        depth = 1 + int(how_far * self.config.own_depth)
        return own_past(self.model, x[:, :-1], clips.actions.to(self.device), self.served, depth, generator), depth

    def _roughen(self, context: Tensor, generator: torch.Generator) -> Tensor:
        """Unlabelled noise on half of the context frames, against drift."""
        if self.config.context_noise <= 0:
            return context
        draw = torch.rand(2, *context.shape[:2], 1, 1, 1, generator=generator).to(self.device)
        amount = draw[0] * self.config.context_noise * (draw[1] < 0.5)
        return torch.lerp(context, torch.randn(context.shape, generator=generator).to(self.device), amount)

    def save(self) -> None:
        """Write a resumable state."""
        groups: dict[str, dict[str, Tensor]] = {
            "model": dict(self.model.named_parameters()),
            "average": self.average,
            "optimizer": self.optimizer.state(),
            "buffers": {"mean": self.model.scaler.mean},
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
        for name, known in self._difficulties():
            found_losses = groups.get("clips", {}).get(name)
            if found_losses is not None and len(found_losses) == len(known.losses):
                known.losses[:] = found_losses.numpy()

    def _difficulties(self) -> list[tuple[str, Difficulty]]:
        return [("difficulty", self.source.difficulty), ("nearby", self.source.nearby)]


def _by_level(errors: Tensor, times: Tensor) -> dict[str, float]:
    """Mean picture error at pure noise, high, middle and low noise."""
    edges = {"pure": (0.9999, 2.0), "high": (0.8, 0.9999), "mid": (0.4, 0.8), "low": (1e-9, 0.4)}
    result = {}
    for name, (low, high) in edges.items():
        chosen = (times > low) & (times <= high)
        if chosen.any():
            result[f"loss_{name}"] = round(float(errors.detach()[chosen].mean()), 6)
    return result

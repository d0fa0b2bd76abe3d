"""What a step learns from a batch of clips: levels, noise, a real or drawn past, and the losses."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .action_dropout import drop_actions
from .clips import Clips, ClipSource
from .coupling import couple
from .difficulty import Difficulty
from .error_bank import ErrorBank, Noted
from .ghosts import haunt, haunt_past
from .levels import LevelSampler
from .loader import Portion
from .losses import motion_weight, outcome_loss, picture_loss, rarity_weight
from .model import WorldModel
from .own_past import as_shown, free_past, own_past
from .sampler import SamplerConfig
from .trainer_config import TrainerConfig

HARD_TIME = 0.8
"""noise time above which the picture must come from the past rather than from the noisy frame"""


class Objective(nn.Module):
    """The loss of a training step; its only parameters are those of the world model."""

    places: Tensor

    def __init__(self, model: WorldModel, source: ClipSource, served: SamplerConfig, config: TrainerConfig):
        super().__init__()
        self.model, self.source, self.config, self.served = model, source, config, served
        self.device = model.scaler.mean.device
        self.levels = LevelSampler(config.levels, served)
        self.answers_any_past = False
        """whether targets follow the past that is shown, so that none is too far astray to learn from"""
        if model.config.latents and (config.ghost_share or config.moments or config.errors.size or served.still):
            raise ValueError("tokens of an AR-VAE have no ghosts, no moments, no error bank and nothing still: pass "
                             "trainer.ghost_share=0 trainer.moments=0 trainer.errors.size=0 sampler.still=0")
        size = model.config.height, model.config.width
        self.bank = ErrorBank(config.errors, *size).to(self.device) if config.errors.size else None
        self.register_buffer("places", rarity_weight(source.spread.to(self.device), config.loss), persistent=False)

    def _expects(self, step: int) -> bool:
        """Whether a step asks what the past alone lets expect."""
        of_use = self.config.noise_draws > 1 or self.config.undecided_share > 0
        return of_use and float(torch.rand((), generator=self._generator(step, choice=3))) < self.config.expect_share

    @property
    def moment_frames(self) -> int:
        """Frames of a moment: the one to learn and those that the decoder is told of."""
        return 1 + max(self.model.config.history, self.model.config.action_memory, 1)

    def forward(self, portion: Portion) -> tuple[Tensor, dict[str, Any]]:
        """The loss of a portion of a step, the same whenever it is asked for, and what to log.

        Portions of a step share what decides their cost, so that processes wait for each other as little as can be;
        all else is drawn for each apart.
        """
        step = portion.step
        generator = self._generator(step)
        mode = self.levels.mode(generator)
        if portion.part:
            generator = self._generator(step, portion.part)
        record = {"mode": mode} | self._losses(mode, portion.clips, generator, step)
        if self.config.openings:
            record["opening"] = self._opening_loss(generator, portion.clips)
            record["loss"] = record["loss"] + self.config.loss.opening * record["opening"]
        if portion.moments is None:
            return record["loss"], record
        record["nearby"] = self._nearby_loss(generator, portion.moments, step)
        return record["loss"] + record["nearby"], record

    def memory(self) -> dict[str, Tensor]:
        """What it remembers between steps, to be saved with the run and copied back into."""
        return {} if self.bank is None else dict(self.bank.named_buffers())

    def noted(self) -> list[Noted]:
        """Errors of this process's parts of a step, for `learned`."""
        return [] if self.bank is None else self.bank.noted()

    def learned(self, noted: list[Noted]) -> None:
        """Remember the errors of all parts of a step, in their order, so that all processes remember the same."""
        if self.bank is not None:
            self.bank.keep(noted)

    def _generator(self, step: int, part: int = 0, choice: int = 0) -> torch.Generator:
        """What decides everything random in a part of a step; apart from it, a choice common to all parts."""
        seed = np.random.SeedSequence([self.config.seed, step, part, choice]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed[0]))

    def _losses(self, mode: str, clips: Clips, generator: torch.Generator, step: int) -> dict[str, Any]:
        x = self.model.scaler.encode(clips.frames.to(self.device))
        times = self.levels.times(mode, len(x), x.shape[1] - 1, generator).to(self.device)
        noise = torch.randn(x[:, 1:].shape, generator=generator).to(self.device)
        if mode == "teacher":
            return self._teacher_losses(clips, x, times, noise, generator, step)
        noisy = self._noisy(x, x[:, 1:], noise, times, generator)
        levels = torch.cat([torch.zeros_like(times[:, :1]), times], 1)
        seen = torch.cat([x[:, :1], noisy], 1)
        seen = torch.where((levels > 0)[..., None, None, None], seen, self._roughen(seen, generator))
        estimate, tokens = self.model(seen, levels, self._told(clips.actions, generator))
        errors = picture_loss(estimate[:, 1:], x[:, 1:], self._weight(x, x[:, :-1]), times, self.config.loss)
        picture = errors.sum() / (times > 0).sum().clamp(min=1)
        committed = (times == 0).int().cumprod(1).bool()  # clean frames after clean ones alone
        outcome = self._outcome(tokens[:, 1:], clips.rewards[:, 1:], clips.terminated[:, 1:], committed)
        return {"loss": picture + self.config.loss.outcome * outcome, "picture": picture,
                "outcome": outcome} | _by_level(errors, times)

    def _opening_loss(self, generator: torch.Generator, clips: Clips) -> Tensor:
        """Picture loss of some frames of every clip drawn as the first of an episode, from nothing."""
        chosen = torch.linspace(0, clips.frames.shape[1] - 1, self.config.openings).round().long()
        x = self.model.scaler.encode(clips.frames[:, chosen].flatten(0, 1)[:, None].to(self.device))
        told = self._told(clips.actions[:, chosen].flatten(0, 1)[:, None], generator)
        times = self.levels.times("teacher", len(x), 1, generator).to(self.device)
        noise = torch.randn(x.shape, generator=generator).to(self.device)
        estimate, _ = self.model(torch.lerp(x, noise, times[..., None, None, None]), times, told)
        weight = torch.ones_like(x[..., :1]) if self.model.config.latents else self.places.expand(*x.shape[:4], 1)
        return picture_loss(estimate, x, weight, times, self.config.loss).mean()

    def _outcome(self, tokens: Tensor, rewards: Tensor, terminated: Tensor, known: Tensor) -> Tensor:
        """Loss of rewards and ends, read off the tokens [B, T, N, D] of those frames [B, T] that are `known`."""
        reward_logits, termination_logits = self.model.outcome(tokens)
        return outcome_loss(reward_logits[known], termination_logits[known], rewards.to(self.device)[known],
                            terminated.to(self.device)[known])

    def _teacher_losses(self, clips: Clips, x: Tensor, times: Tensor, noise: Tensor,
                        generator: torch.Generator, step: int) -> dict[str, Any]:
        """Every frame from the clean frames before it, real or drawn, and then perhaps from those just drawn.

        Chain-of-forward (Epona, arXiv:2506.24113): what one pass estimated, of whatever noise, is the past of the next,
        a frame shorter. Its passes share one update; Epona makes one for each.
        """
        past, depth = self._past(x, clips, generator, step)
        expects = self._expects(step)
        record, estimate = self._teacher_pass(clips, x, past, times, noise, generator, expects)
        chained = float(torch.rand((), generator=self._generator(step, choice=2))) < self.config.chain_share
        if self.config.chain > 1 and chained:
            losses = [record["loss"]]
            for _ in range(1, min(self.config.chain, x.shape[1] - 1)):
                clips, x = clips.after_first(), x[:, 1:]
                past = as_shown(self.model, estimate[:, :-1].detach(), past[:, :-1], self.served)
                times = self.levels.times("teacher", len(past), past.shape[1], generator).to(self.device)
                noise = torch.randn(past.shape, generator=generator).to(self.device)
                later, estimate = self._teacher_pass(clips, x, past, times, noise, generator, expects)
                losses.append(later["loss"])
            record |= {"loss": torch.stack(losses).mean(), "chained": losses[-1]}
        return record | {"depth": depth}

    def _teacher_pass(self, clips: Clips, x: Tensor, past: Tensor, times: Tensor, noise: Tensor,
                      generator: torch.Generator, expects: bool) -> tuple[dict[str, Any], Tensor]:
        """One pass over clips x [B, T+1, H, W, 3] with frames 0..T-1 as in `past`, if not astray.

        A drawn past in which the ball flew elsewhere says nothing of the recording's next frame, or of its rewards.

        Returns:
            what to log, and the estimates of frames 1..T.
        """
        actions = self._told(clips.actions, generator)
        astray = (past - x[:, :-1]).square().mean((-1, -2, -3)) > self.config.astray
        past = haunt_past(past, self.config.ghost_share, generator)
        disturbed = self.bank is not None and float(torch.rand((), generator=generator)) >= self.config.errors.clean
        context = self._roughen(past, generator, disturbed)
        expected = x[:, 1:]
        if expects:
            with torch.no_grad():
                expected = self._expected(context, noise, actions)
            noise = couple(noise, x[:, 1:], expected, self.config.noise_draws, generator)
        noisy = self._noisy(x, expected, noise, times, generator, disturbed)
        estimate, tokens = self.model.forward_teacher(context, noisy, times, actions)
        if self.bank is not None:
            self.bank.note((estimate - x[:, 1:]).detach(), times * ~astray, generator)
        weight = self._weight(x, past)
        if not self.answers_any_past:
            times = times * ~astray
        errors = picture_loss(estimate, self._target(x, context, noisy, times, actions), weight, times,
                              self.config.loss)
        history, count = self.model.config.history, past.shape[1]
        skilled = times * ~self._just_switched(clips, 1 + history)
        self._remember(self.source.difficulty, clips.rows[:, 1 + history:], errors[:, history:], skilled[:, history:])
        outcome = self._outcome(tokens[:, 1:count], clips.rewards[:, 1:count], clips.terminated[:, 1:count],
                                ~astray[:, 1:])  # of frames committed with a past
        picture = errors.sum() / (times > 0).sum().clamp(min=1)
        return {"loss": picture + self.config.loss.outcome * outcome, "picture": picture, "outcome": outcome,
                "astray": astray.float().mean()} | _by_level(errors, times), estimate

    def _expected(self, context: Tensor, noise: Tensor, actions: Tensor) -> Tensor:
        """The mean of what may come, [B, T, H, W, 3]; `noise` is shaped like it."""
        return self.model.forward_teacher(context, 0 * noise, torch.ones_like(noise[..., 0, 0, 0]), actions)[0]

    def _target(self, x: Tensor, context: Tensor, noisy: Tensor, times: Tensor, actions: Tensor) -> Tensor:
        """What estimates of frames 1..T of clips x [B, T+1, H, W, 3] should be: the frames."""
        return x[:, 1:]

    def _told(self, actions: Tensor, generator: torch.Generator) -> Tensor:
        """Actions [B, T+1] of clips as far as the network is told them."""
        return drop_actions(actions.to(self.device), self.model.actions, self.config.action_dropout,
                            self.config.action_cut, generator)

    def _nearby_loss(self, generator: torch.Generator, clips: Clips, step: int) -> Tensor:
        """Picture loss of single frames that the decoder draws alone: far cheaper than clips, and mostly enough."""
        history, memory = self.model.config.history, self.model.config.action_memory
        x = self.model.scaler.encode(clips.frames.to(self.device))
        actions = clips.actions[:, -1 - memory:].to(self.device)
        times = self.levels.times("teacher", len(x), 1, generator).to(self.device)
        noise = torch.randn(x[:, -1:].shape, generator=generator).to(self.device)
        past = haunt_past(x[:, :-1], self.config.ghost_share, generator)
        before = self._roughen(past, generator)[:, -history:] if history else x[:, :0]
        expected = x[:, -1:]
        if self._expects(step):
            with torch.no_grad():
                expected = self.model.forward_nearby(0 * noise, before, torch.ones_like(times), actions)
            noise = couple(noise, x[:, -1:], expected, self.config.noise_draws, generator)
        noisy = self._noisy(x, expected, noise, times, generator)
        estimate = self.model.forward_nearby(noisy, before, times, actions)
        errors = picture_loss(estimate, x[:, -1:], self._weight(x[:, -2:], past[:, -1:]), times, self.config.loss)
        self._remember(self.source.nearby, clips.rows[:, -1:], errors, times)
        return errors.mean()

    def _noisy(self, x: Tensor, expected: Tensor, noise: Tensor, times: Tensor, generator: torch.Generator,
               disturbed: bool = False) -> Tensor:
        """The last frames of clips x [B, T+1, H, W, 3], or what was expected of them, mixed with noise [B, F, H, W, 3].

        A sampler's first pass leaves behind what was expected, several pale things where there will be one. From then
        on the noise alone tells which; mixed with real frames only, nobody would need to listen to it.
        """
        frames = haunt(x[:, -noise.shape[1]:], x, self.config.ghost_share, generator)
        undecided = torch.rand(noise.shape[:2], generator=generator) < self.config.undecided_share
        undecided = undecided.to(x.device)[..., None, None, None]
        if disturbed and self.bank is not None:
            frames = self.bank.disturb_frames(frames, times, generator)
            noise = self.bank.disturb_noise(noise, times, generator)
        return torch.lerp(torch.where(undecided, expected.to(x.dtype), frames), noise, times[..., None, None, None])

    def _weight(self, x: Tensor, past: Tensor) -> Tensor:
        """Of every pixel of frames 1..T: more where it differs from frame t-1, the real one or the one shown.

        All numbers of an AR-VAE's tokens weigh alike.
        """
        if self.model.config.latents:
            return torch.ones_like(x[:, 1:, ..., :1])
        decode = self.model.scaler.decode
        frames = decode(x)
        moved = motion_weight(frames[:, 1:], frames[:, :-1], self.config.loss)
        return moved.maximum(motion_weight(frames[:, 1:], decode(past), self.config.loss)) * self.places

    def _just_switched(self, clips: Clips, frames: int) -> Tensor:
        """Where one of the last so many frames was the first of another condition, which nothing foretells: [B, T]."""
        under = self.model.actions.condition(clips.actions)
        first = under[:, 1:] != under[:, :-1]
        return torch.stack([F.pad(first, (i, 0))[:, : first.shape[1]] for i in range(frames)]).any(0).to(self.device)

    def _remember(self, difficulty: Difficulty, rows: np.ndarray, errors: Tensor, times: Tensor) -> None:
        """Note how well frames were drawn, where it took skill; all [B, T]."""
        chosen = (times > HARD_TIME).cpu().numpy()
        difficulty.note(rows[chosen], errors.detach().cpu().numpy()[chosen])

    def _past(self, x: Tensor, clips: Clips, generator: torch.Generator, step: int) -> tuple[Tensor, int]:
        """Frames 0..T-1 of clips [B, T+1, H, W, 3] as the past of the others, and how deep they are the world's own.

        The depth is 0 for a real past, and else how many drawn frames a drawn one goes back through.
        """
        own, free, how_far = torch.rand(3, generator=self._generator(step, choice=1)).tolist()
        if step < self.config.own_after * self.config.steps or own >= self.config.own_share:
            return x[:, :-1], 0
        frames = x.shape[1] - 1
        if free < self.config.free_share:
            first = max(frames // 3, 1)  # enough to know how things move
            first += int(how_far * (frames - first))
            return free_past(self.model, clips, self.served, first, generator), frames - first
        depth = 1 + int(how_far * self.config.own_depth)
        return own_past(self.model, x[:, :-1], clips.actions.to(self.device), self.served, depth, generator), depth

    def _roughen(self, context: Tensor, generator: torch.Generator, disturbed: bool = False) -> Tensor:
        """Unlabelled noise on half of the context frames, if disturbed also the world's own errors on some."""
        if disturbed and self.bank is not None:
            context = self.bank.disturb_past(context, generator)
        if self.config.context_noise <= 0:
            return context
        draw = torch.rand(2, *context.shape[:2], 1, 1, 1, generator=generator).to(self.device)
        amount = draw[0] * self.config.context_noise * (draw[1] < 0.5)
        return torch.lerp(context, torch.randn(context.shape, generator=generator).to(self.device), amount)


def _by_level(errors: Tensor, times: Tensor) -> dict[str, float]:
    """Mean picture error at pure noise, high, middle and low noise."""
    edges = {"pure": (0.9999, 2.0), "high": (0.8, 0.9999), "mid": (0.4, 0.8), "low": (1e-9, 0.4)}
    result = {}
    for name, (low, high) in edges.items():
        chosen = (times > low) & (times <= high)
        if chosen.any():
            result[f"loss_{name}"] = round(float(errors.detach()[chosen].mean()), 6)
    return result

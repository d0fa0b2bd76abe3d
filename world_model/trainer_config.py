"""How long and on what a world is trained."""

import os
from dataclasses import dataclass, field

from .error_bank import ErrorBankConfig
from .levels import LevelConfig
from .losses import LossConfig
from .optimizer import OptimizerConfig
from .precision import choose_dtype


@dataclass(kw_only=True)
class TrainerConfig:
    """How long and on what to train."""

    steps: int = 5100
    """optimiser steps"""
    batch: int = 3
    """clips per step"""
    frames: int = 22
    """frames per clip that are drawn; a clip holds one more"""
    event_share: float = 0.15
    """share of clips that contain an event: every reward but 0 and the end of an episode equally often"""
    hard_share: float = 0.55
    """share of clips that end near a frame which was drawn badly the last time, the worse the likelier"""
    switch_share: float = 0.0
    """share of clips that go on under another condition from some frame on; of no meaning where there is only one"""
    openings: int = 0
    """frames of every clip that are drawn from nothing, too, as the first of an episode: what a cut asks for"""
    moments: int = 64
    """single frames per step from which the decoder alone learns what follows from pixels nearby"""
    context_noise: float = 0.1
    """largest noise time mixed, unlabelled, into the clean past; half of the frames get some"""
    ghost_share: float = 0.45
    """share of pasts, and of frames about to be made noisy, in which things that move have a fainter double"""
    noise_draws: int = 128
    """draws of noise per frame with a clean past, of which the one most like the frame is taken; 1: blind pairing"""
    undecided_share: float = 0.5
    """share of noisy frames that hold what was expected instead of the real frame; only the noise tells which comes"""
    expect_share: float = 1.0
    """share of steps in which noise is paired and frames are undecided: that takes drawing every frame once more"""
    own_share: float = 0.7
    """share of teacher-forced steps whose past is drawn by the world itself, against drift"""
    own_depth: int = 2
    """how many times over such a past is drawn, at most: frames from drawn frames from real ones"""
    free_share: float = 0.75
    """share of those steps whose clips are drawn frame by frame, from some frame on, instead of all frames at once"""
    astray: float = 0.0025
    """mean squared error, in model units, from which a drawn past counts as gone astray: nothing is learned from it"""
    own_after: float = 0.25
    """share of the run before which the past is always real"""
    chain: int = 1
    """passes in a row in some steps, each with what the one before estimated as its past"""
    chain_share: float = 0.1
    """share of teacher-forced steps with so many passes"""
    action_dropout: float = 0.0
    """share of frames not told the action that leads to them; what guidance needs"""
    action_cut: float = 0.0
    """share of clips told no action from some frame on; what frames begun without their actions need"""
    average: float = 0.995
    """decay of the weight average that is shipped"""
    save_seconds: float = 240.0
    """time between resumable checkpoints"""
    report_seconds: float = 600.0
    """time between sample strips"""
    precision: str = "auto"
    """auto, bf16 or fp32"""
    workers: int = -1
    """processes that cut clips while the network learns; 0: none; -1: one, where there is more than one CPU"""
    ahead: int = 2
    """steps by which clips are chosen before they are learned from, at least `workers`"""
    accumulate: int = 1
    """parts, one after the other, in which a process takes its share of a step's clips: less memory at once

    A step's loss is the mean of those of its parts, of all processes; each is a mean over its own frames, those it
    learns something of, and draws its own noise. So it is the number of parts that decides a curve, not who takes them.
    """
    parallel: str = "ddp"
    """how several processes hold the network: ddp, a copy each; fsdp, a share of every tensor each"""
    checkpointing: bool = False
    """compute blocks and decoder once more in the backward pass instead of keeping what they went through"""
    compile: bool = False
    """compile blocks and decoder; pays on long runs of large networks"""
    seed: int = 0
    errors: ErrorBankConfig = field(default_factory=ErrorBankConfig)
    levels: LevelConfig = field(default_factory=LevelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        choose_dtype("cpu", self.precision)
        for name in ("steps", "batch", "frames", "noise_draws", "chain", "own_depth", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("moments", "openings"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.frames < 2:
            raise ValueError(f"frames must be at least 2, got {self.frames}")
        if min(self.event_share, self.hard_share) < 0 or self.event_share + self.hard_share > 1:
            raise ValueError(f"event_share and hard_share must not be negative and at most 1 together, "
                             f"got {self.event_share} and {self.hard_share}")
        for name in ("ghost_share", "undecided_share", "expect_share", "own_share", "free_share", "chain_share",
                     "action_dropout", "action_cut", "switch_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.parallel not in ("ddp", "fsdp"):
            raise ValueError(f"parallel must be ddp or fsdp, got {self.parallel!r}")
        if self.workers < -1 or self.ahead < max(self.workers, 1):
            raise ValueError(f"workers must be -1 or more and ahead at least that and 1, "
                             f"got workers={self.workers}, ahead={self.ahead}")

    @property
    def worker_count(self) -> int:
        """`workers`, decided."""
        return min(1, (os.cpu_count() or 1) - 1) if self.workers < 0 else self.workers

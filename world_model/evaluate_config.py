"""What an evaluation measures and how much of it."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from recorders import Command

FULL = {"starts": 200, "horizon": 64, "control_starts": 50, "free_steps": 10_000, "inverse_steps": 6_000,
        "inverse_updates": 1_200, "seeds": 8, "seed_starts": 24, "seed_horizon": 32}
QUICK = {"starts": 24, "horizon": 16, "control_starts": 8, "free_steps": 500, "inverse_steps": 1_500,
         "inverse_updates": 300, "seeds": 4, "seed_starts": 8, "seed_horizon": 8}  # fmt: skip


@dataclass(kw_only=True)
class EvaluateConfig(Command):
    """What is measured and how much of it. Amounts that are null are those of the full or the quick evaluation."""

    world: str = MISSING
    """folder of a world"""
    env: str = ""
    """the real game's Gymnasium id; empty: the world's own"""
    condition: str = ""
    """in a world of several games, which one is measured; the report is called after it"""
    beside: str = ""
    """folder of a second world of the same game, measured alike, e.g. one trained plainly"""
    out: str = ""
    """where the report goes; empty: into the world's folder"""
    quick: bool = False
    """fewer starts, shorter runs, wider intervals"""
    starts: int | None = None
    """held-out situations; 200, quick 24"""
    horizon: int | None = None
    """steps compared; 64, quick 16"""
    control_starts: int | None = None
    """situations from which an action is held; 50, quick 8"""
    free_steps: int | None = None
    """length of the free run; 10,000, quick 500"""
    inverse_steps: int | None = None
    """steps of real play that the inverse dynamics are learned from; 6,000, quick 1,500"""
    inverse_updates: int | None = None
    """batches of that; 1,200, quick 300"""
    seeds: int | None = None
    """noises drawn from one situation; 8, quick 4"""
    seed_starts: int | None = None
    """situations drawn with several noises; 24, quick 8"""
    seed_horizon: int | None = None
    """steps of those; 32, quick 8"""
    seed: int = 1_000_000
    """first episode seed of the real game; training recordings use others"""
    steps: int | None = None
    """denoising passes per frame; null takes the world's own"""
    passes: list[int] = field(default_factory=list)
    """counts of denoising passes whose horizon curves are drawn, too"""
    resume: bool = True
    """take finished parts of an evaluation that was broken off and had the same settings"""
    device: str = "cpu"
    batch: int = 50
    """situations drawn together"""

    def __post_init__(self) -> None:
        for name in FULL:
            given = getattr(self, name)
            least = 2 if name in ("seeds", "starts") else 1  # a start is compared with another's actions
            if given is not None and given < least:
                raise ValueError(f"{name} must be at least {least}, got {given}")
        if min([1, *self.passes]) < 1:
            raise ValueError(f"passes must be at least 1, got {self.passes}")

    def amount(self, name: str) -> int:
        """An amount as given, or as the full or the quick evaluation has it."""
        given = getattr(self, name)
        return int(given if given is not None else (QUICK if self.quick else FULL)[name])

    def amounts(self) -> dict[str, int]:
        """All of them."""
        return {name: self.amount(name) for name in FULL}

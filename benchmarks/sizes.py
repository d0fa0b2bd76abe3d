"""What networks of each size cost: `python -m benchmarks.sizes` prints the table of docs/training.md.

Nothing is computed: networks are built of fake tensors, which have shapes alone, and what a teacher-forced step keeps
for its backward pass is counted on them. `check=true` compares the tiny one's with a real step on the CPU.
"""

import sys

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from world_model import SamplerConfig, WorldModel, WorldModelConfig
from world_model.execution import recompute_in_backward
from world_model.flops import served_flops, training_flops
from world_model.optimizer import split_parameters
from world_model.presets import PRESETS
from world_model.trainer_config import TrainerConfig


def kept_for_backward(model: WorldModel, batch: int, frames: int, checkpointing: bool = False) -> int:
    """Bytes besides weights that a teacher-forced pass in bfloat16 keeps, counted where the model lies.

    Args:
        batch: clips.
        frames: that are drawn of each.
        checkpointing: whether blocks and decoder are computed again; what one of them keeps then comes on top.
    """
    if checkpointing:
        recompute_in_backward(model)
    config, device = model.config, model.scaler.mean.device
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage()._cdata not in own:
            kept[x.untyped_storage()._cdata] = x
        return x

    shape = (batch, frames, config.height, config.width, 3)
    clip, noisy, levels = (torch.zeros(s, device=device) for s in (shape, shape, shape[:2]))
    actions = torch.zeros(batch, frames + 1, dtype=torch.int64, device=device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), torch.autocast(device.type, torch.bfloat16):
        model.forward_teacher(clip, noisy, levels, actions)
    return sum(x.untyped_storage().nbytes() for x in kept.values())


def row(name: str, trainer: TrainerConfig) -> list[str]:
    """The table's line of a preset."""
    config = WorldModelConfig(**PRESETS[name])  # type: ignore[arg-type]
    model, again = WorldModel(config), WorldModel(config)
    kept = [kept_for_backward(model, trainer.batch, trainer.frames),
            kept_for_backward(again, trainer.batch, trainer.frames, checkpointing=True)]
    parameters = sum(p.numel() for p in model.parameters())
    matrices = sum(p.numel() for p in split_parameters(model)[0])
    states = 4 * (3 * parameters + matrices + 2 * (parameters - matrices))  # weights, gradients, average; moments
    served = served_flops(config, SamplerConfig(reuse=True))
    return [name, f"{config.dim} x {config.layers}", f"{parameters / 1e6:.1f} M",
            f"{training_flops(config, trainer.batch, trainer.frames) / 1e12:.2f} T", f"{served / 1e9:.2f} G",
            f"{2 * parameters / 1e9:.2f} GB", f"{states / 1e9:.2f} GB", *(f"{n / 1e9:.2f} GB" for n in kept)]


def main() -> None:
    """Print the table."""
    trainer = TrainerConfig()
    print(f"{trainer.batch} clips of {trainer.frames} frames, {WorldModelConfig().height}x{WorldModelConfig().width}\n")
    head = ["preset", "width x layers", "parameters", "FLOP per teacher step", "FLOP per served step", "served weights",
            "weights, gradients, average, moments", "kept for backward", "the same, checkpointing"]
    if "check=true" in sys.argv[1:]:
        real = kept_for_backward(WorldModel(WorldModelConfig()), trainer.batch, trainer.frames)
        print(f"tiny, on the CPU, with tensors that are there: {real / 1e9:.2f} GB kept for backward\n")
    with FakeTensorMode(allow_non_fake_inputs=True):
        lines = [head, ["---"] * len(head), *(row(name, trainer) for name in PRESETS)]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()

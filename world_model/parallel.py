"""How the processes of a team hold one network: each a copy of it (DDP), or each a share of every tensor (FSDP2).

With FSDP2 a process keeps its share of weights, moments and averages. Blocks are put together for a step, in which they
are used many times, and taken apart after it; so are gradients.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from .blocks import Block
from .team import Team
from .vae_layers import SpatialBlock


def share_out(objective: nn.Module, team: Team, way: str) -> nn.Module:
    """The objective as the whole team learns it; its parameters must be the same in all processes.

    Args:
        way: "ddp" or "fsdp"; one process alone needs none.
    """
    if team.size == 1:
        return objective
    if way == "ddp":  # modes use different parts of the network, and its buffers never change
        return DistributedDataParallel(objective, broadcast_buffers=False, find_unused_parameters=True)
    mesh = init_device_mesh(next(objective.parameters()).device.type, (team.size,))
    blocks = [module for module in objective.modules() if isinstance(module, Block | SpatialBlock)]
    for module in [*blocks, objective]:
        fully_shard(module, mesh=mesh, reshard_after_forward=False)
    objective.register_forward_pre_hook(_put_together)
    return objective


def _put_together(objective: nn.Module, _: Any) -> None:
    """Gather the blocks now: a rollout would do so in inference mode, and its tensors are no use for gradients."""
    for module in objective.modules():
        if isinstance(module, FSDPModule) and module is not objective:
            module.unshard()


def alone(learner: nn.Module, yes: bool) -> AbstractContextManager[Any]:
    """While this lasts gradients stay in their process, if `yes`."""
    if isinstance(learner, DistributedDataParallel):
        return learner.no_sync() if yes else nullcontext()
    if isinstance(learner, FSDPModule):
        learner.set_requires_gradient_sync(not yes)
    return nullcontext()

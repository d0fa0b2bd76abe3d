"""The processes that train one world together, started by torchrun; one process alone is a team too."""

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

_PATIENCE = timedelta(hours=2)
"""for each other; the first process unpacks the recording and draws samples while the others wait"""


class Team:
    """One process's place among those that train together.

    Args:
        rank: number of this process.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @staticmethod
    def join(device: str = "auto") -> tuple["Team", torch.device]:
        """The team that torchrun's environment variables name, and this process's own device.

        Args:
            device: a torch device; "auto": CUDA where there is one. Each process of a machine takes a GPU of its own.

        Raises:
            ValueError: if there is no such kind of device.
        """
        kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            torch.device(kind)
        except RuntimeError as error:
            raise ValueError(f"device must be auto or one of torch's, such as cpu or cuda:0, got {device!r}") from error
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return Team(), torch.device(kind)
        if kind == "cuda":
            kind = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(kind)
        dist.init_process_group("cpu:gloo,cuda:nccl" if kind.startswith("cuda") else "gloo", timeout=_PATIENCE)
        return Team(dist.get_rank(), size), torch.device(kind)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def gather(self, item: Any) -> list[Any]:
        """What every process gives, in their order; all must call it. Items are small and can be pickled."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def wait(self) -> None:
        """Until all processes are here."""
        self.gather(None)

    def leave(self) -> None:
        """Stop working together."""
        if self.size > 1:
            dist.destroy_process_group()

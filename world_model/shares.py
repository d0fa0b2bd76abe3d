"""Tensors of which every process of a team holds a share (DTensor), and the whole ones."""

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from the shares of all processes, all of which must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shared_like(tensor: Tensor, other: Tensor) -> Tensor:
    """This process's share of a whole tensor that all have, if `other`, of the same shape, is shared out."""
    if isinstance(other, DTensor) and not isinstance(tensor, DTensor) and tensor.shape == other.shape:
        return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)
    return tensor

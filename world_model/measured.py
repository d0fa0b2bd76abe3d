"""What a network holds that is measured of the data instead of learned: mean pictures."""

from torch import Tensor, nn


def measured(model: nn.Module) -> dict[str, Tensor]:
    """The persistent buffers of a network by their names in a world's file; float32 whatever its weights are."""
    learned = dict(model.named_parameters())
    return {name: x for name, x in model.state_dict(keep_vars=True).items() if name not in learned}


def put_measured(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Replace them."""
    for name, x in tensors.items():
        module, _, buffer = name.rpartition(".")
        setattr(model.get_submodule(module), buffer, x)

"""What a caller hands to environments that are stepped together, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from torch import Tensor

from world_model import Actions


def action_space(kind: Actions) -> Box | Discrete:
    """The space of one action."""
    if kind.continuous:
        return Box(np.array(kind.low, np.float32), np.array(kind.high, np.float32), dtype=np.float32)
    return Discrete(kind.count)


def checked_count(num_envs: Any) -> int:
    """How many environments.

    Raises:
        ValueError: if it is no integer of at least 1.
    """
    if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer) or num_envs < 1:
        raise ValueError(f"num_envs must be an integer of at least 1, got {num_envs!r}")
    return int(num_envs)


def checked_mode(mode: Any) -> AutoresetMode:
    """The mode, or the one of that name.

    Raises:
        ValueError: if there is none of that name.
    """
    try:
        return AutoresetMode(mode)
    except ValueError:
        names = [one.value for one in AutoresetMode]
        raise ValueError(f"autoreset_mode must be an AutoresetMode or one of {names}, got {mode!r}") from None


def checked_actions(actions: Any, ignored: Sequence[int], count: int, kind: Actions, device: torch.device) -> Tensor:
    """Actions [B, ...] on `device`; one that is possible at the places that are ignored, whatever was there.

    Raises:
        TypeError: if it is one scalar.
        ValueError: if they are not `count` actions of this kind.
    """
    if kind.continuous:
        return _checked_vectors(actions, ignored, count, kind, device)
    num_actions = kind.count
    wanted = f"actions must be {count} integers in [0, {num_actions - 1}]"
    try:
        given = actions.detach() if isinstance(actions, Tensor) else np.asarray(actions)
    except ValueError:  # rows of different lengths
        raise ValueError(f"{wanted}, got {actions!r}") from None
    if given.ndim == 0:
        raise TypeError(f"actions must be {count} integers, one per environment, got {actions!r}")
    if tuple(given.shape) != (count,) or not _holds_integers(given):
        raise ValueError(f"{wanted}, got {given.dtype} {list(given.shape)}")
    own = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given, np.int64))  # any order of bytes
    chosen = own.to(device, torch.int64)
    if ignored:
        chosen = chosen.index_fill(0, torch.tensor(ignored, device=device), 0)
    if bool(((chosen < 0) | (chosen >= num_actions)).any()):
        raise ValueError(f"{wanted}, got {chosen.tolist()[:8]}{' ...' if count > 8 else ''}")
    return chosen


def _checked_vectors(actions: Any, ignored: Sequence[int], count: int, kind: Actions, device: torch.device) -> Tensor:
    given = torch.as_tensor(actions).detach() if isinstance(actions, Tensor) else torch.from_numpy(np.array(actions))
    if given.dim() == 0:
        raise TypeError(f"actions must be [{count}, {len(kind.low)}] numbers, one row per environment, got {actions!r}")
    low, high = (torch.tensor(bound) for bound in (kind.low, kind.high))
    if ignored and given.shape == (count, len(kind.low)):
        given = given.clone()
        given[list(ignored)] = ((low + high) / 2).to(given)
    return torch.from_numpy(kind.checked(given.cpu().numpy(), count)).to(device)


def checked_seeds(seed: Any, count: int) -> list[int | None]:
    """A seed for every environment: none, `seed + i` of a number, or those of a sequence.

    Raises:
        TypeError: if it is none of these.
        ValueError: if a sequence does not hold one per environment.
    """
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(count)]
    if not isinstance(seed, Sequence | np.ndarray) or isinstance(seed, str):
        raise TypeError(f"seed must be None, an integer or one per environment, got {type(seed).__name__}")
    if len(seed) != count:
        raise ValueError(f"seed must hold {count} numbers, one per environment, got {len(seed)}")
    return [int(one) if isinstance(one, np.integer) else one for one in seed]


def checked_mask(mask: Any, count: int) -> list[int]:
    """The places where `options["reset_mask"]` is True.

    Raises:
        TypeError: if it is no numpy array of bool.
        ValueError: if it has not one value per environment, or is nowhere True.
    """
    if not isinstance(mask, np.ndarray):
        raise TypeError(f"options['reset_mask'] must be a numpy array, got {type(mask).__name__}")
    if mask.shape != (count,):
        raise ValueError(f"options['reset_mask'] must have the shape ({count},), got {mask.shape}")
    if mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask'] must have dtype bool, got {mask.dtype}")
    if not mask.any():
        raise ValueError("options['reset_mask'] must be True for at least one environment, got none")
    return [int(row) for row in np.flatnonzero(mask)]


def checked_rows(rows: Any, count: int) -> list[int]:
    """Different places in [0, count); all of them for None.

    Raises:
        ValueError: if they are not that.
    """
    if rows is None:
        return list(range(count))
    given = np.asarray(rows)
    if given.ndim != 1 or not given.size or not _holds_integers(given):
        raise ValueError(f"rows must be places of environments, integers in [0, {count - 1}], got {rows!r}")
    if given.min() < 0 or given.max() >= count or len(set(given.tolist())) < given.size:
        raise ValueError(f"rows must be different integers in [0, {count - 1}], got {given.tolist()}")
    return [int(row) for row in given]


def _holds_integers(values: Any) -> bool:
    if isinstance(values, Tensor):
        return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
    return bool(np.issubdtype(values.dtype, np.integer))

"""What hardly changes is shown as it was: pixels are taken from frames shown before where they are close enough."""

import torch
from torch import Tensor

from .cache import FrameCache
from .patches import FrameScaler


def replenish(frames: Tensor, past: Tensor, still: int, there: Tensor | None = None) -> Tensor:
    """Pixels of `frames` within `still` of a frame of the `past`, in every colour, as they were there; others as drawn.

    Conditional replenishment (Mounts 1969, Bell System Technical Journal 48) with uncovered background (Mukawa and
    Kuroda 1985, IEEE Transactions on Communications 33), there to save bits. Here it stops small errors from adding up,
    for a network that has to draw a resting brick again in every frame draws it a little wrong; and what something that
    moves has covered comes back as it was, instead of keeping a trace of it.

    Args:
        frames: uint8 [..., H, W, 3].
        past: uint8 [..., N, H, W, 3] shown before, oldest first; the nearest counts, of equally near ones the newest.
        there: bool, broadcast over `frames`: where nothing has been shown in this scene, frames stay as they are.
    """
    if not still:
        return frames
    shown, nearest = frames, torch.full_like(frames[..., :1], still, dtype=torch.int16) + 1
    for before in reversed(past.unbind(-4)):
        change = (frames.to(torch.int16) - before.to(torch.int16)).abs().amax(-1, keepdim=True)
        shown = torch.where(change < nearest, before, shown)
        nearest = torch.minimum(change, nearest)
    return shown if there is None else torch.where(there, shown, frames)


def shown_before(cache: FrameCache, scaler: FrameScaler) -> tuple[Tensor, Tensor]:
    """The last pictures of a cache that its network still sees, the last of all among them; for `replenish`.

    Returns:
        uint8 [B, N, H, W, 3]; where a rollout has not as many, the last one stands for those before its start.
        bool [B, 1, 1, 1]: whether there is any, which is not so after a cut, when the last one is of another scene.
    """
    newest = cache.pictures[:, -1:]
    older = cache.recent[:, :-1]
    there = (older != 0).flatten(2).any(-1)[..., None, None, None]
    seen = cache.rings[0].count > 0 if cache.rings else (cache.recent[:, -1:] != 0).flatten(1).any(-1)
    return torch.cat([torch.where(there, scaler.decode(older), newest), newest], 1), seen[:, None, None, None]


def before_each(past: Tensor, count: int) -> Tensor:
    """Of frames [B, T, ...] the last `count` up to each, [B, T, count, ...]; the first stands for those before it."""
    length = past.shape[1]
    places = torch.arange(length, device=past.device)[:, None] + torch.arange(1 - max(count, 1), 1, device=past.device)
    return past[:, places.clamp(min=0)]

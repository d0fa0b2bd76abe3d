"""Some frames of a segment first, then those between them (MMPL, arXiv:2508.03334), for scripts of actions.

What a frame sees is decided by the order of drawing, not by time: every committed frame, the frames drawn before it
even if they are later in time, and those drawn with it. Places in time stay the true ones.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import RingCache, apply_rope

from .blocks import Attend
from .passes import with_noise
from .plan_config import PlanConfig
from .sampler import NoisePath, flow_path
from .state import WorldState

if TYPE_CHECKING:
    from .rollout import Drawn, World

SHORTEST = 8
"""frames below which a segment is drawn one after the other"""


def key_groups(frames: int) -> list[list[int]]:
    """Frames of a segment in the order of drawing: two at its start, middle and end together, then the gaps.

    Raises:
        ValueError: if there are fewer than `SHORTEST`.
    """
    if frames < SHORTEST:
        raise ValueError(f"a segment needs at least {SHORTEST} frames, got {frames}")
    middle = frames // 2
    keys = [0, 1, middle - 1, middle, frames - 2, frames - 1]
    gaps = [[*range(2, middle - 1)], [*range(middle + 1, frames - 2)]]
    return [keys, *(gap for gap in gaps if gap)]


def visible_frames(groups: list[list[int]], group: int) -> list[int]:
    """Frames that a group of `key_groups` sees: itself, earlier ones in time and order, the nearest keys after it."""
    drawn = sorted(i for before in groups[:group] for i in before)
    last = max(groups[group])
    later = [i for i in drawn if i > last]
    return sorted({*groups[group], *(i for i in drawn if i < last), *later[:2]})


@torch.inference_mode()
def by_keyframes(world: "World", state: WorldState, actions: Tensor, plan: PlanConfig) -> Iterator["Drawn"]:
    """Segment after segment of actions [B, n, ...], as told; what is left of a script is drawn one after the other."""
    path = flow_path(world.sampler)
    for first in range(0, actions.shape[1], plan.segment):
        part = actions[:, first : first + plan.segment]
        if part.shape[1] < SHORTEST:
            for action in part.unbind(1):
                yield world.step_tensors(state, world.actions.taken(action))
            continue
        frames = _draw_segment(world, state, part, path)
        for i in range(part.shape[1]):
            yield world.commit_drawn(state, frames[:, i], part[:, i : i + 1])


def _draw_segment(world: "World", state: WorldState, actions: Tensor, path: NoisePath) -> Tensor:
    """Clean frames [B, L, H, W, 3] that L actions lead to, nothing committed. Passes: groups times steps."""
    steps, count = world.sampler.steps, actions.shape[1]
    x = with_noise(world, state, None, count)
    levels = torch.full((count,), steps, device="cpu")
    groups = key_groups(count)
    for g, group in enumerate(groups):
        sees = torch.zeros(count, dtype=torch.bool, device=world.device)
        sees[visible_frames(groups, g)] = True
        for level in range(steps, 0, -1):
            clean = _estimate(world, state, x, path.times[levels], actions, sees)[:, group]
            keep = float(path.sigmas[level - 1] / path.sigmas[level])
            share = float(path.alphas[level - 1]) - keep * float(path.alphas[level])
            x[:, group] = keep * x[:, group] + share * clean
            levels[group] = level - 1
    return x


def _estimate(world: "World", state: WorldState, x: Tensor, times: Tensor, actions: Tensor, sees: Tensor) -> Tensor:
    """Clean estimate of all frames x [B, L, H, W, 3] at `times` [L], every one seeing the frames `sees`, bool [L].

    With `sampler.guidance` it is made twice, as in `Passes`.
    """
    clean, guidance = _told(world, state, x, times, actions, sees), world.sampler.guidance
    if guidance == 1:
        return clean
    unknown = world.model.actions.hidden(actions)
    return torch.lerp(_told(world, state, x, times, unknown, sees), clean, guidance)


def _told(world: "World", state: WorldState, x: Tensor, times: Tensor, actions: Tensor, sees: Tensor) -> Tensor:
    """The estimate of a network that is told these actions."""
    model, cache = world.model, state.cache
    x, recent = x.to(world.dtype), cache.recent.to(world.dtype)
    times = times.to(world.device).expand(len(x), -1)
    led = torch.cat([cache.told, actions], 1)
    distances = model.rotation.distance(x.device)
    rings = [ring for ring in cache.rings if isinstance(ring, RingCache)]  # all of them, see `roll_out`
    tokens = model.think_with(x, recent, times, led, [_attend(ring, distances, sees) for ring in rings])
    return model.draw_cached(tokens, x, recent, times, led).float()


def _attend(ring: RingCache, distances: tuple[Tensor, Tensor], sees: Tensor) -> Attend:
    """Attention to the cache, to the frames in flight `sees`, bool [L], and to a frame's own tokens."""
    count = len(sees)
    place = ring.positions()
    flight = ring.time()[:, None] + torch.arange(count, device=place.device)
    places = torch.cat([place.clamp(min=0), flight], 1)
    own = torch.eye(count, dtype=torch.bool, device=place.device)
    past = (place >= 0)[:, None].expand(-1, count, -1)
    mask = torch.cat([past, (sees | own).expand(len(place), -1, -1)], 2)  # [B, L, C + L]
    mask = mask.repeat_interleave(ring.P, 1).repeat_interleave(ring.P, 2)[:, None]

    def turned(x: Tensor, at: Tensor) -> Tensor:
        cos, sin = (table[at][..., None, None, :] for table in distances)
        return apply_rope(x, cos, sin).flatten(1, 2).transpose(1, 2)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = (torch.cat([held.to(fresh.dtype), fresh.unflatten(1, (count, -1))], 1)
                        for held, fresh in ((ring.k, k), (ring.v, v)))
        out = F.scaled_dot_product_attention(turned(q.unflatten(1, (count, -1)), flight), turned(keys, places),
                                             values.flatten(1, 2).transpose(1, 2), attn_mask=mask)
        return out.transpose(1, 2)

    return attend

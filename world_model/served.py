"""The network as a served world runs it on a CPU: frozen weights, arranged for few and large operations.

The same mathematics as `WorldModel.think_cached` and `draw_cached`, which remain the definition, and the way on a GPU
and while training. What the passes of one step have in common is computed once per step: the past in the order of time,
what frames are told at all levels, what tokens and the decoder read of the pictures before.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import PastFrames, RingCache, decide

from .blocks import Block
from .competition import sharpness
from .decoder import PixelDecoder, TokenDecoder
from .model import WorldModel
from .served_block import ServedBlock, steady_linear
from .served_decoder import ServedDecoder


def can_serve(model: WorldModel) -> bool:
    """Whether `ServedModel` may stand for a model: on a CPU, in eval mode, frozen, by torch's operators."""
    place = model.tokenizer.place
    return (place.device.type == "cpu" and not model.training and not place.requires_grad
            and decide(place.device).backend == "torch")


class ServedModel:
    """Weights of a `WorldModel` that `can_serve`, arranged; later changes of them are not followed."""

    def __init__(self, model: WorldModel):
        config, decoder = model.config, model.decoder
        self.config = config
        self.dtype = model.tokenizer.place.dtype
        self.wide = torch.promote_types(self.dtype, torch.float32)
        self.conditioning, self.tokenizer, self.acting = model.conditioning, model.tokenizer, model.actions
        self.distances = model.rotation.distance(model.tokenizer.place.device)
        with torch.no_grad():
            self.read_now, self.read_before, self.placed = _reading(model)
            place = model.rotation.place(model.tokenizer.place.device)
            self.blocks = [ServedBlock(cast(Block, block), place) for block in model.blocks]
            self.backdrops, means = model.backdrops, model.scaler.mean[None] / config.pixel_scale
            means = means if self.backdrops is None else means + self.backdrops.pictures
            self.pixels = ServedDecoder(decoder, means, config.history) if isinstance(
                decoder, PixelDecoder) else None  # a TokenDecoder is one layer, with nothing to arrange
            self.says = decoder.draw if isinstance(decoder, TokenDecoder) else decoder.canvas
            self.count = 1 + config.action_memory  # actions that a frame is told
            self.offsets = torch.arange(self.count) * (config.num_actions + 1)
            tables = [model.conditioning.action, *model.conditioning.earlier][::-1]  # the earliest action comes first
            plain = not config.conditions
            discrete = [table.weight for table in tables if plain and isinstance(table, nn.Embedding)]
            self.actions = torch.cat(discrete) if discrete else None
            moved = [decoder.modulation] if isinstance(decoder, PixelDecoder) else []
            told = [*(block.modulation for block in model.blocks), model.final, *moved]
            self.tell, self.tell_bias = (torch.cat([getattr(m, name) for m in told]) for name in ("weight", "bias"))
        blocks = torch.tensor([0, 1, 0, 0, 1, 0]).repeat(config.layers)
        tokens = torch.cat([blocks, torch.tensor([0, 1])]).repeat_interleave(config.dim)
        layers = len(decoder.middle) if isinstance(decoder, PixelDecoder) else 0
        convolutions = torch.tensor([1, 0]).repeat_interleave(config.channels).repeat(layers)
        self.raised = torch.cat([tokens, convolutions]).to(self.dtype)  # 1 where `told` is a scale
        self.levels: dict[float, Tensor] = {}

    def told(self, levels: Sequence[float], actions: Tensor) -> Tensor:
        """What frames are told, at each of `levels`: shifts, scales and gates of all that is modulated.

        Args:
            levels: L levels.
            actions: [B, memory + 1, ...], the last leads to the frame.

        Returns:
            [L, B, numbers]; scales are 1 + what was learned.
        """
        if self.actions is None:
            acted = self.conditioning.embed_actions(actions)[:, 0]
        else:
            acted = F.embedding(actions + self.offsets, self.actions).sum(1)
        condition = torch.stack([self._level(level) for level in levels])[:, None] + acted
        told = steady_linear(F.silu(condition).transpose(0, 1).contiguous(), self.tell, self.tell_bias)
        return told.add_(self.raised).transpose(0, 1)

    def _level(self, level: float) -> Tensor:
        """Embedding [C] of a level, made once."""
        if level not in self.levels:
            self.levels[level] = self.conditioning.embed_levels(torch.tensor([level], dtype=torch.float32))[0]
        return self.levels[level]


class ServedStep:
    """Passes over frames in flight after one committed past, for as long as that is not changed."""

    def __init__(self, model: ServedModel, recent: Tensor, actions: Tensor, rings: list[RingCache],
                 levels: Sequence[float], reuse: bool):
        """Look at the past of B rollouts.

        Args:
            recent: [B, history, H, W, 3] the last committed frames, oldest first.
            actions: [B, memory + m, ...] that led to the frames before and lead to m in flight; later ones have none.
            rings: committed frames, one entry per layer that looks back.
            levels: at which a frame alone in flight will be looked at or drawn: prepared together.
            reuse: whether one call of `think` serves all calls of `draw`.
        """
        self.model, self.rings, self.levels, self.reuse = model, rings, list(levels), reuse
        self.actions = actions
        self.recent = self._apart(recent.to(model.wide), -recent.shape[1])
        self.past: list[PastFrames] = []
        self.room = 0
        self.told: dict[float, Tensor] = {}
        self.read_before: Tensor | None = None
        self.drawn_from: Tensor | None = None
        self.unchanging: dict[float, list[Tensor]] = {}

    def think(self, live: Tensor, levels: Sequence[float], fresh: list[tuple[Tensor, ...]] | None = None,
              causal: bool = True) -> Tensor:
        """See `WorldModel.think_cached`: frames in flight [B, F, H, W, 3] at F levels -> tokens [B, F, N, D]."""
        frames, six, live = live.shape[1], 6 * self.model.config.dim, self._apart(live, 0, levels)
        if frames > self.room:
            self.past, self.room = [PastFrames(ring, self.model.distances, frames) for ring in self.rings], frames
        told = torch.stack([self._told(f, level) for f, level in enumerate(levels)], 1)[:, :, None]
        tokens, left = self._read(live, levels), iter(self.past)
        for i, (block, window) in enumerate(zip(self.model.blocks, self.model.config.windows, strict=True)):
            tokens = block(tokens, told[..., i * six : (i + 1) * six].chunk(6, -1), next(left) if window > 1 else None,
                           fresh, causal)
        return tokens

    def draw(self, tokens: Tensor, live: Tensor, levels: Sequence[float]) -> Tensor:
        """See `WorldModel.draw_cached`: tokens of this or an earlier pass -> pictures [B, F, H, W, 3], wide."""
        history, out = self.model.config.history, torch.empty(live.shape, dtype=self.model.wide)
        live = self._apart(live, 0, levels)
        whole = self.recent if len(levels) == 1 else torch.cat([self.recent, _damped(live, levels)], 1)
        for f, level in enumerate(levels):
            before = whole[:, f : f + history]
            if self.model.pixels is None:
                said = self._said(tokens, f, [level])[:, 0].view(live[:, f].shape).to(out.dtype)
                last = before[:, -1] if history else torch.zeros_like(out[:, f])
                out[:, f] = said + torch.lerp(live[:, f].to(out.dtype), last, level)
            else:
                self._draw_pixels(self.model.pixels, tokens, live, before, f, level, out)
        return out if self.model.backdrops is None else out + self.model.backdrops(self._led(0, live.shape[1]))

    def _draw_pixels(self, decoder: ServedDecoder, tokens: Tensor, live: Tensor, before: Tensor, f: int, level: float,
                     out: Tensor) -> None:
        """Put the pictures of frame f in flight into `out`."""
        wide, strength = self.model.wide, sharpness(torch.tensor(level, dtype=self.model.wide), False)
        told = self._told(f, level)[:, -decoder.told :].to(wide).unflatten(1, (-1, decoder.channels))
        unchanging = self._unchanging(decoder, tokens, before, f, level)
        for b in range(len(live)):
            drawn = decoder.correction(live[b, f].to(self.model.dtype), unchanging[b], told[b], strength)
            out[b, f] = before[b, -1] + drawn if before.shape[1] else drawn

    def _led(self, first: int, count: int) -> Tensor:
        """What frames are told that lead to `count` of them from `first` in flight on, [B, count, ...]."""
        begin = first + self.model.count - 1
        missing = max(0, begin + count - self.actions.shape[1])
        return self.model.acting.pad(self.actions, after=missing)[:, begin : begin + count]

    def _apart(self, x: Tensor, first: int, levels: Sequence[float] | None = None) -> Tensor:
        """Frames x [B, F, H, W, 3], from `first` in flight on, apart from their backdrops: `WorldModel._apart`."""
        if self.model.backdrops is None or not x.shape[1]:
            return x
        times = None if levels is None else torch.tensor(levels, dtype=torch.float32).expand(len(x), -1)
        return x - self.model.backdrops(self._led(first, x.shape[1]), times).to(x.dtype)

    def _told(self, f: int, level: float) -> Tensor:
        """`ServedModel.told` of frame f in flight at a level, [B, numbers]."""
        count = self.model.count
        actions = self._led(f - count + 1, count)
        if f or level not in self.levels:
            return self.model.told([level], actions)[0]
        if not self.told:
            self.told = dict(zip(self.levels, self.model.told(self.levels, actions), strict=True))
        return self.told[level]

    def _read(self, live: Tensor, levels: Sequence[float]) -> Tensor:
        """`PatchTokenizer.embed`: frames [B, F, H, W, 3] and those before them -> tokens [B, F, N, D]."""
        model, history, frames = self.model, self.model.config.history, live.shape[1]
        patches = model.tokenizer.patchify(_damped(live, levels).to(model.dtype))
        before = self.read_before if frames == 1 else None
        if before is None:
            whole = torch.cat([model.tokenizer.patchify(self.recent.to(model.dtype)), patches[:, :-1]], 1)
            seen = [whole[:, history - i : history - i + frames] for i in range(1, history + 1)]
            before = steady_linear(torch.cat(seen, -1), model.read_before) + model.placed if seen else model.placed
        if frames == 1:
            self.read_before = before
        return steady_linear(patches, model.read_now) + before

    def _said(self, tokens: Tensor, f: int, levels: Sequence[float]) -> Tensor:
        """What tokens of frame f say to the decoder, modulated as each level asks: [B, L, N, ...]."""
        end = 2 * tokens.shape[-1] * (1 + 3 * self.model.config.layers)
        moves = [self._told(f, level)[:, end - 2 * tokens.shape[-1] : end] for level in levels]
        shift, scale = torch.stack(moves, 1)[:, :, None].chunk(2, -1)  # [B, L, 1, D]
        normed = F.layer_norm(tokens[:, f, None], tokens.shape[-1:], eps=1e-6)
        return steady_linear(torch.addcmul(shift, normed, scale), self.model.says.weight, self.model.says.bias)

    def _unchanging(self, decoder: ServedDecoder, tokens: Tensor, before: Tensor, f: int,
                    level: float) -> list[Tensor]:
        """`ServedDecoder.unchanging` of frame f at a level, one per rollout; of one alone at all levels together."""
        if tokens.shape[1] == 1 and tokens is self.drawn_from and level in self.unchanging:
            return self.unchanging[level]
        together = tokens.shape[1] == 1 and self.reuse and level in self.levels
        levels = [x for x in self.levels if x > 0] if together else [level]
        said = self._said(tokens, f, levels)
        under = self.model.acting.condition(self._led(f, 1))[:, 0].tolist()
        made = [decoder.unchanging(said[b], before[b].flip(0), under[b]) for b in range(len(tokens))]
        self.drawn_from, self.unchanging = tokens, {x: [m[i] for m in made] for i, x in enumerate(levels)}
        return self.unchanging[level]


def _reading(model: WorldModel) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [D, patch] of a frame and [D, history * patch] of those before it, and what every token adds [N, D].

    Row and column sums are linear in the pixels, so their weights are spread over the pixels they sum.
    """
    reader, dtype = model.tokenizer, model.tokenizer.place.dtype
    pictures, (height, width) = 1 + reader.history, reader.patch
    wide = torch.promote_types(dtype, torch.float32)
    colours = reader.channels
    by_row, by_column = reader.sums.weight.to(wide).split([pictures * height * colours, pictures * width * colours], 1)
    whole = reader.project.weight.to(wide).unflatten(1, (pictures, height, width, colours))
    whole = whole + by_row.unflatten(1, (pictures, height, 1, colours)) / 2
    whole = whole + by_column.unflatten(1, (pictures, 1, width, colours)) / 2
    now, before = whole.flatten(1).to(dtype).split([reader.patch_dim, reader.history * reader.patch_dim], 1)
    return now.contiguous(), before.contiguous(), (reader.project.bias.to(wide) + reader.place.to(wide)).to(dtype)


def _damped(x: Tensor, levels: Sequence[float]) -> Tensor:
    """See `model.py`: frames [B, F, H, W, 3] as tokens read them."""
    if not any(levels):
        return x
    return x * (1 - 0.9 * torch.tensor(levels, dtype=x.dtype))[:, None, None, None]

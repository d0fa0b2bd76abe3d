"""The causal diffusion transformer over frames (AR-Diffusion, arXiv:2503.07418, made action-conditioned).

Every frame has its own noise level t in [0, 1] on the rectified-flow path x_t = (1 - t) x_0 + t eps; attention
is strictly causal over frames and bidirectional inside a frame; the output is the clean frame x_0.
Action `actions[:, i]` is the one that leads to frame i (taken after seeing frame i - 1), an id or a vector: `Actions`.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import RingCache, adaln_modulate, frame_attention, frame_attention_tf, window_attention

from .backdrops import Backdrops
from .blocks import Attend, Block
from .codec import TokenScaler
from .conditioning import Conditioning
from .decoder import PixelDecoder, TokenDecoder
from .heads import OutcomeHead
from .memory import Memory
from .model_config import WorldModelConfig
from .patches import FrameScaler, PatchTokenizer
from .rotation import Rotation, Tables


class WorldModel(nn.Module):
    """Draws clean frames from noisy ones; holds no state and no loop."""

    def __init__(self, config: WorldModelConfig):
        super().__init__()
        self.config = config
        config.check_patch()
        height, width, channels = config.frame_shape
        scaler = TokenScaler if config.latents else FrameScaler
        self.scaler = scaler(height, width, config.pixel_scale, channels)
        self.backdrops = Backdrops(config.actions, config.frame_shape) if config.conditions else None
        patch = [1, 1] if config.latents else config.patch
        self.tokenizer = PatchTokenizer(height, width, patch, config.dim, config.history, channels)
        condition_dim = config.dim // 2
        self.actions = config.actions
        self.conditioning = Conditioning(self.actions, condition_dim, config.action_memory)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, config.mlp_ratio, condition_dim) for _ in range(config.layers))
        self.final = nn.Linear(condition_dim, 2 * config.dim)
        self.decoder: TokenDecoder | PixelDecoder
        if config.latents:
            self.decoder = TokenDecoder(config.dim, channels)
        else:
            self.decoder = PixelDecoder(config.grid, config.patch, config.dim, config.history, config.canvas,
                                        config.channels, condition_dim, config.kinds)
        self.outcome = OutcomeHead(config.dim, config.reward_values)
        self.rotation = Rotation(config)
        nn.init.zeros_(self.final.weight)
        nn.init.zeros_(self.final.bias)

    def forward(self, x: Tensor, levels: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Clean estimate of every frame of clips, each frame seeing the noisy frames before it.

        Args:
            x: [B, T, H, W, 3] frames in model units at their levels.
            levels: [B, T] in [0, 1].
            actions: [B, T, ...].

        Returns:
            clean estimate [B, T, H, W, 3], tokens [B, T, N, D].
        """
        known = self._after_unknown(actions)
        noisy, condition = self._apart(x, actions, levels), self.conditioning(levels, known)
        seen = self._seen(_damped(noisy, levels))
        tokens = self._think(seen, condition, self.rotation.clip([*range(x.shape[1])], x.device),
                             [self._attend_in(window, frame_attention) for window in self.config.windows])
        return self._draw(tokens, [noisy, *seen[1:]], condition, levels, actions), tokens

    def forward_teacher(self, context: Tensor, noisy: Tensor, levels: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Every frame of a clip drawn from its own clean past, all in one pass (ACDiT, arXiv:2412.07720).

        Args:
            context: [B, T, H, W, 3] clean frames 0..T-1.
            noisy: [B, T, H, W, 3] noisy frames 1..T.
            levels: [B, T] levels of `noisy`; the context is labelled level 0.
            actions: [B, T+1, ...], `actions[:, i]` leads to frame i.

        Returns:
            clean estimates of frames 1..T [B, T, H, W, 3],
            tokens [B, 2T, N, D]: those of the clean frames 0..T-1, then of the noisy ones.
        """
        frames, known = context.shape[1], self._after_unknown(actions)
        past = self._seen(self._apart(context, actions[:, :-1]))
        noisy = self._apart(noisy, actions[:, 1:], levels)
        fresh = [_damped(noisy, levels), *past[:-1]] if self.config.history else [_damped(noisy, levels)]
        condition = torch.cat([self.conditioning(torch.zeros_like(levels), known[:, :-1]),
                               self.conditioning(levels, known[:, 1:])], 1)
        both = [torch.cat(pair, 1) for pair in zip(past, fresh, strict=True)]
        times = [*range(frames), *range(1, frames + 1)]
        tokens = self._think(both, condition, self.rotation.clip(times, context.device),
                             [self._attend_in(window, frame_attention_tf) for window in self.config.windows])
        drawn = self._draw(tokens[:, frames:], [noisy, *fresh[1:]], condition[:, frames:], levels, actions[:, 1:])
        return drawn, tokens

    def forward_cached(self, x: Tensor, before: Tensor, levels: Tensor, actions: Tensor,
                       rings: Sequence[RingCache | Memory]) -> tuple[Tensor, Tensor]:
        """Clean estimate of the frames in flight, given committed frames through the cache.

        Args:
            x: [B, F, H, W, 3] frames in flight at their levels, oldest first.
            before: [B, history, H, W, 3] the committed frames just before them, oldest first.
            levels: [B, F].
            actions: [B, action_memory + F, ...], those that led to the committed frames just before come first.
            rings: committed frames, one entry per layer that looks back.

        Returns:
            clean estimate [B, F, H, W, 3], tokens [B, F, N, D].
        """
        tokens = self.think_cached(x, before, levels, actions, rings)
        return self.draw_cached(tokens, x, before, levels, actions), tokens

    def think_cached(self, x: Tensor, before: Tensor, levels: Tensor, actions: Tensor,
                     rings: Sequence[RingCache | Memory], fresh: list[tuple[Tensor, ...]] | None = None,
                     causal: bool = True) -> Tensor:
        """The tokens that `forward_cached` draws from.

        Args:
            fresh: if given, what every layer that looks back `append`s, [B, F*N, H, D/H] each, is put there: a commit.
            causal: whether a frame in flight sees only frames in flight up to itself.
        """
        distances = self.rotation.distance(x.device)

        def attend_to(ring: RingCache | Memory) -> Attend:
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                if fresh is not None:
                    fresh.append((k, v, q) if isinstance(ring, Memory) else (k, v))
                if isinstance(ring, Memory):
                    return ring.attend(q, k, v, distances, causal)
                return window_attention(q, k, v, ring, causal=causal, rope_t=distances)

            return attend

        return self.think_with(x, before, levels, actions, [attend_to(ring) for ring in rings])

    def think_with(self, x: Tensor, before: Tensor, levels: Tensor, actions: Tensor, looks: list[Attend]) -> Tensor:
        """`think_cached` with any attention in the layers that look back, one of `looks` for each of them."""
        left = iter(looks)
        attends = [next(left) if window > 1 else self._attend_in(1, frame_attention) for window in self.config.windows]
        before, x = self._both_apart(before, x, levels, actions)
        seen = self._seen_after(before, _damped(x, levels))
        return self._think(seen, self.conditioning(levels, actions), self.rotation.place(x.device), attends)

    def draw_cached(self, tokens: Tensor, x: Tensor, before: Tensor, levels: Tensor, actions: Tensor) -> Tensor:
        """`forward_cached` with tokens of this or an earlier pass over the same past."""
        before, x = self._both_apart(before, x, levels, actions)
        damped = self._seen_after(before, _damped(x, levels))
        told = actions[:, self.config.action_memory :]
        return self._draw(tokens, [x, *damped[1:]], self.conditioning(levels, actions), levels, told)

    def forward_nearby(self, x: Tensor, before: Tensor, levels: Tensor, actions: Tensor) -> Tensor:
        """Clean estimate of single frames by the decoder alone, with tokens that say nothing.

        Args:
            x: [B, 1, H, W, 3] frames at their levels.
            before: [B, history, H, W, 3] the frames just before, oldest first.
            levels: [B, 1].
            actions: [B, action_memory + 1, ...], the one that leads to `x` last.

        Returns:
            [B, 1, H, W, 3].
        """
        before, x = self._both_apart(before, x, levels, actions)
        seen = [x, *(before[:, i : i + 1] for i in reversed(range(before.shape[1])))]
        dtype = self._dtype_like(x)
        tokens = torch.zeros(len(x), 1, self.config.tokens, self.config.dim, dtype=dtype, device=x.device)
        condition = F.silu(self.conditioning(levels, actions))
        return self._decode(tokens, seen, condition, levels, actions[:, self.config.action_memory :])

    def _after_unknown(self, actions: Tensor) -> Tensor:
        """Put `action_memory` unknown actions before those of a clip, [B, T, ...] -> [B, action_memory + T, ...]."""
        return self.actions.pad(actions, before=self.config.action_memory)

    def _apart(self, x: Tensor, told: Tensor, levels: Tensor | None = None) -> Tensor:
        """Frames [B, T, H, W, 3] apart from the backdrops of their conditions; see `Backdrops`."""
        return x if self.backdrops is None else x - self.backdrops(told, levels).to(x.dtype)

    def _both_apart(self, before: Tensor, x: Tensor, levels: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Committed frames [B, history, ...] and those in flight, told actions [B, action_memory + F, ...]."""
        memory = self.config.action_memory
        its = actions[:, memory - self.config.history : memory]
        return self._apart(before, its), self._apart(x, actions[:, memory : memory + x.shape[1]], levels)

    def _seen(self, x: Tensor) -> list[Tensor]:
        """Every frame of a clip, then the frames one, two, ... earlier; zeros before the start."""
        frames = x.shape[1]
        return [F.pad(x, (0, 0, 0, 0, 0, 0, i, 0))[:, :frames] for i in range(1 + self.config.history)]

    def _seen_after(self, before: Tensor, x: Tensor) -> list[Tensor]:
        """Every frame of x [B, F, H, W, 3], then the frames one, two, ... earlier, the first ones from `before`."""
        whole, history = torch.cat([before, x], 1), self.config.history
        return [whole[:, history - i : history - i + x.shape[1]] for i in range(1 + history)]

    @staticmethod
    def _dtype_like(x: Tensor) -> torch.dtype:
        """What products with x are computed in."""
        return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype

    def _attend_in(self, window: int, attention: Callable[..., Tensor]) -> Attend:
        """Attention over whole clips inside a window; without one there are no sinks either."""
        sinks = self.config.sinks if window > 1 else 0
        return lambda q, k, v: attention(q, k, v, self.config.tokens, window=window, sinks=sinks)

    def _think(self, seen: list[Tensor], condition: Tensor, rotation: Tables, attends: list[Attend]) -> Tensor:
        """Tokens [B, T, N, D] of frames after all blocks."""
        tokens, condition = self.tokenizer.embed(seen).flatten(1, 2), F.silu(condition)
        for block, attend in zip(self.blocks, attends, strict=True):
            tokens = block(tokens, condition, rotation, attend)
        return tokens.unflatten(1, (-1, self.config.tokens))

    def _draw(self, tokens: Tensor, seen: list[Tensor], condition: Tensor, levels: Tensor, actions: Tensor) -> Tensor:
        """The picture [B, T, H, W, 3] that tokens stand for, told actions [B, T, ...]."""
        condition = F.silu(condition)
        shift, scale = self.final(condition).chunk(2, -1)
        told = adaln_modulate(tokens.flatten(1, 2), shift, scale, self.config.tokens).view_as(tokens)
        return self._decode(told, seen, condition, levels, actions)

    def _decode(self, tokens: Tensor, seen: list[Tensor], condition: Tensor, levels: Tensor, actions: Tensor) -> Tensor:
        mean = self.scaler.mean / self.config.pixel_scale
        if self.backdrops is None:
            drawn: Tensor = self.decoder(tokens, seen, mean, condition, levels)
            return drawn
        its = self.backdrops(actions)
        drawn = self.decoder(tokens, seen, mean + its, condition, levels)
        return drawn + its.to(drawn.dtype)


def _damped(x: Tensor, levels: Tensor) -> Tensor:
    """Frames as tokens read them, the noisier the smaller: x [B, T, H, W, 3], levels [B, T].

    At full size the noise of a patch's hundreds of pixels would drown the few that moved in the frames before once
    all are projected to one token. The decoder, which looks pixel by pixel, reads noise as it is.
    """
    return x * (1 - 0.9 * levels.to(x.dtype))[..., None, None, None]

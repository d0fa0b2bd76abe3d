"""Block-causal attention over frames: every token sees its own frame and the frames before it.

With P tokens per frame, query frame f sees key frame g iff  g <= f  and  (f - g < window  or  g < sinks).
Layout everywhere: [B, T, P, H, D] (batch, frames, tokens per frame, heads, head width).
References build the mask and take a plain softmax; the fast paths gather each frame's window and call
torch's scaled_dot_product_attention without a dense mask.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def frame_mask(frames: int, window: int, sinks: int = 0, device: torch.device | None = None) -> Tensor:
    """Which key frames a query frame may see: bool [frames, frames], rows are queries."""
    f = torch.arange(frames, device=device)[:, None]
    g = torch.arange(frames, device=device)[None, :]
    return (g <= f) & ((f - g < window) | (g < sinks))


def teacher_mask(frames: int, window: int, sinks: int = 0, device: torch.device | None = None) -> Tensor:
    """Frame mask of a clip given twice: clean frames 0..T-1, then noisy frames 1..T.

    Clean frame i sees clean frames <= i. Noisy frame i sees clean frames < i and itself, nothing else
    (skip-causal attention, ACDiT, arXiv:2412.07720). Both within the window, which counts the frame itself.

    Returns:
        bool [2T, 2T].
    """
    whole = frame_mask(frames + 1, window, sinks, device)
    mask = torch.zeros(2 * frames, 2 * frames, dtype=torch.bool, device=device)
    mask[:frames, :frames] = whole[:frames, :frames]
    past = whole & ~torch.eye(frames + 1, dtype=torch.bool, device=device)
    mask[frames:, :frames] = past[1:, :frames]
    mask[frames:, frames:] = torch.eye(frames, dtype=torch.bool, device=device)
    return mask


def _masked_softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Plain attention. q [B, F, P, H, D], k and v [B, G, P, H, D], mask bool [F, G] -> [B, F, P, H, D]."""
    _check(q, k, v)
    batch, frames, tokens, heads, width = q.shape
    q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))  # [B, H, F*P, D]
    dense = mask.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
    scores = (q @ k.transpose(-1, -2)) / width**0.5
    out = scores.masked_fill(~dense, float("-inf")).softmax(-1) @ v
    return out.transpose(1, 2).reshape(batch, frames, tokens, heads, width)


def frame_attention_reference(q: Tensor, k: Tensor, v: Tensor, *, window: int, sinks: int = 0) -> Tensor:
    """The definition of `frame_attention`."""
    return _masked_softmax_attention(q, k, v, frame_mask(q.shape[1], window, sinks, q.device))


def teacher_attention_reference(q: Tensor, k: Tensor, v: Tensor, *, window: int, sinks: int = 0) -> Tensor:
    """The definition of `teacher_attention`."""
    return _masked_softmax_attention(q, k, v, teacher_mask(q.shape[1] // 2, window, sinks, q.device))


def frame_attention(q: Tensor, k: Tensor, v: Tensor, *, window: int, sinks: int = 0) -> Tensor:
    """Attention of every frame to itself and the frames before it, inside a window (plus sink frames).

    Args:
        q, k, v: [B, T, P, H, D].
        window: frames seen, the frame itself included; at least 1.
        sinks: first frames that stay visible beyond the window.

    Returns:
        [B, T, P, H, D].

    Raises:
        ValueError: if the shapes differ or the window is smaller than 1.
    """
    _check(q, k, v, window=window)
    window = min(window, q.shape[1])
    if window == 1 and not sinks:
        return _own_frame(q, k, v)
    if sinks:
        return _masked_sdpa(q, k, v, frame_mask(q.shape[1], window, sinks, q.device))
    mask = _started(q.shape[1], window, q.shape[2], q.device)
    return _framewise(q, _windows(k, window), _windows(v, window), mask)


def teacher_attention(q: Tensor, k: Tensor, v: Tensor, *, window: int, sinks: int = 0) -> Tensor:
    """Attention of a clip given twice, [clean 0..T-1 | noisy 1..T], under `teacher_mask`.

    Args:
        q, k, v: [B, 2T, P, H, D].
        window: frames seen, the frame itself included; at least 2 to see any context.
        sinks: first clean frames that stay visible beyond the window.

    Returns:
        [B, 2T, P, H, D].

    Raises:
        ValueError: if the shapes differ, the frame count is odd or the window is smaller than 1.
    """
    _check(q, k, v, window=window)
    if q.shape[1] % 2:
        raise ValueError(f"q must hold clean and noisy frames in equal number, got {q.shape[1]} frames")
    frames, tokens = q.shape[1] // 2, q.shape[2]
    if window == 1 and not sinks:
        return _own_frame(q, k, v)
    if sinks:
        return _masked_sdpa(q, k, v, teacher_mask(frames, window, sinks, q.device))
    window = min(window, frames + 1)
    mask = _started(frames, window, tokens, q.device)
    keys, values = _windows(k[:, :frames], window), _windows(v[:, :frames], window)  # [B, T, window*P, H, D]
    clean = _framewise(q[:, :frames], keys, values, mask)
    own_keys = torch.cat([keys[:, :, tokens:], k[:, frames:]], 2)
    own_values = torch.cat([values[:, :, tokens:], v[:, frames:]], 2)
    own_mask = torch.cat([mask[:, tokens:], mask.new_ones(frames, tokens)], 1)
    noisy = _framewise(q[:, frames:], own_keys, own_values, own_mask)
    return torch.cat([clean, noisy], 1)


def cached_attention(q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor) -> Tensor:
    """Attention of the frames in flight to committed frames and, causally, to each other.

    Args:
        q, k, v: [B, F, P, H, D], the frames in flight, oldest first.
        past_k, past_v: [B, C*P, H, D], tokens of C committed frames in any order; C may be 0.

    Returns:
        [B, F, P, H, D]; committed frames are visible to every frame in flight.
    """
    _check(q, k, v)
    frames = q.shape[1]
    outputs = []
    for f in range(frames):  # unmasked calls over growing key sets: faster on a CPU than one masked call
        keys = torch.cat([past_k, k[:, : f + 1].flatten(1, 2)], 1).transpose(1, 2)
        values = torch.cat([past_v, v[:, : f + 1].flatten(1, 2)], 1).transpose(1, 2)
        outputs.append(_sdpa(q[:, f].transpose(1, 2), keys, values).transpose(1, 2))
    return torch.stack(outputs, 1) if frames > 1 else outputs[0].reshape(q.shape)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Torch's attention, [..., H, L, D], in the dtype that is fastest where it runs.

    On CPUs without AMX the bfloat16 kernel is slower than float32 (forward + backward of 40 x 360 tokens:
    68 against 48 ms), so there it runs in float32 and the result is cast back.
    """
    dtype = value.dtype
    if dtype == torch.bfloat16 and query.device.type == "cpu" and not torch.cpu._is_amx_tile_supported():
        query, key, value = query.float(), key.float(), value.float()
    with torch.autocast(query.device.type, enabled=False):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).to(dtype)


def _own_frame(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention inside each frame only. [B, T, P, H, D] each."""
    query, key, value = (x.flatten(0, 1).transpose(1, 2) for x in (q, k, v))  # [B*T, H, P, D]
    return _sdpa(query, key, value).transpose(1, 2).reshape(q.shape)


def _windows(x: Tensor, window: int) -> Tensor:
    """Each frame's last `window` frames: [B, T, P, H, D] -> [B, T, window*P, H, D], zeros before the start."""
    frames = x.shape[1]
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, window - 1, 0))
    return torch.cat([padded[:, j : j + frames] for j in range(window)], 2)


def _started(frames: int, window: int, tokens: int, device: torch.device) -> Tensor:
    """Which window slots hold a frame at or after the start: bool [T, window*P]."""
    f = torch.arange(frames, device=device)[:, None]
    slot = torch.arange(window, device=device)[None, :]
    return (f - window + 1 + slot >= 0).repeat_interleave(tokens, 1)


def _framewise(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """One unshared key set per frame. q [B, T, P, H, D], keys [B, T, L, H, D], mask [T, L] -> like q."""
    batch = q.shape[0]
    query, key, value = (x.flatten(0, 1).transpose(1, 2) for x in (q, keys, values))  # [B*T, H, L, D]
    bias = mask.repeat(batch, 1)[:, None, None, :]
    out = _sdpa(query, key, value, bias)
    return out.transpose(1, 2).reshape(q.shape)


def _masked_sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Dense frame mask through torch's attention. Shapes as `_masked_softmax_attention`."""
    tokens = q.shape[2]
    dense = mask.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
    query, key, value = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
    out = _sdpa(query, key, value, dense)
    return out.transpose(1, 2).reshape(q.shape)


def _check(q: Tensor, k: Tensor, v: Tensor, window: int = 1) -> None:
    if q.dim() != 5 or k.shape != v.shape or q.shape[0] != k.shape[0] or q.shape[2:] != k.shape[2:]:
        raise ValueError(
            "q, k, v must be [batch, frames, tokens, heads, width] with equal batch, tokens, heads and width, "
            f"got {list(q.shape)}, {list(k.shape)}, {list(v.shape)}"
        )
    if window < 1:
        raise ValueError(f"window must be at least 1 frame, got {window}")

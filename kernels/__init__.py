"""Attention over frames, windows and ring caches, and what surrounds it: functions on tensors, nothing of the model.

Each has a reference, a path through torch's own operators and triton kernels; `decide` says which one runs and why.
"""

from .dispatch import Decision, decide
from .frame_attention import frame_attention, frame_attention_reference, frame_attention_tf
from .frame_mask import frame_mask, teacher_mask
from .modulate import adaln_modulate, adaln_modulate_reference, gated_residual, gated_residual_reference
from .past_frames import PastFrames, attend_alone
from .qk_norm import qk_norm_rope, qk_norm_rope_reference
from .qk_norm_append import qk_norm_rope_append, qk_norm_rope_append_reference
from .ring import RingCache
from .rope import apply_rope, apply_rope_reference, axial_angles, rotation_tables
from .window_attention import window_attention

__all__ = [
    "Decision",
    "PastFrames",
    "RingCache",
    "adaln_modulate",
    "adaln_modulate_reference",
    "apply_rope",
    "apply_rope_reference",
    "attend_alone",
    "axial_angles",
    "decide",
    "frame_attention",
    "frame_attention_reference",
    "frame_attention_tf",
    "frame_mask",
    "gated_residual",
    "gated_residual_reference",
    "qk_norm_rope",
    "qk_norm_rope_append",
    "qk_norm_rope_append_reference",
    "qk_norm_rope_reference",
    "rotation_tables",
    "teacher_mask",
    "window_attention",
]

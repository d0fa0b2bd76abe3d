"""Attention over frames and rotary positions: functions on tensors, nothing of the model."""

from .attention import (
    cached_attention,
    frame_attention,
    frame_attention_reference,
    frame_mask,
    teacher_attention,
    teacher_attention_reference,
    teacher_mask,
)
from .rope import apply_rope, axial_angles

__all__ = [
    "apply_rope",
    "axial_angles",
    "cached_attention",
    "frame_attention",
    "frame_attention_reference",
    "frame_mask",
    "teacher_attention",
    "teacher_attention_reference",
    "teacher_mask",
]

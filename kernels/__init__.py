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
from .rope import apply_rope, apply_rope_reference, axial_angles, rotation_tables

__all__ = [
    "apply_rope",
    "apply_rope_reference",
    "axial_angles",
    "cached_attention",
    "frame_attention",
    "frame_attention_reference",
    "frame_mask",
    "rotation_tables",
    "teacher_attention",
    "teacher_attention_reference",
    "teacher_mask",
]

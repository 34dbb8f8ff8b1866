"""Continual-learning methods: what may change a gradient step."""

from __future__ import annotations

from everlearn.methods.anchor import Anchor, AnchorConfig
from everlearn.methods.distillation import DistillationConfig, SnapshotDistillation
from everlearn.methods.orthogonal import OrthogonalConfig, OrthogonalSubspaces
from everlearn.methods.registry import METHODS, MethodEntry, create_method, method_names
from everlearn.methods.replay import ExperienceReplay, ReplayConfig

__all__ = [
    "METHODS",
    "Anchor",
    "AnchorConfig",
    "DistillationConfig",
    "ExperienceReplay",
    "MethodEntry",
    "OrthogonalConfig",
    "OrthogonalSubspaces",
    "ReplayConfig",
    "SnapshotDistillation",
    "create_method",
    "method_names",
]

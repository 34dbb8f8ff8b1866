"""Continual-learning methods: what may change a gradient step."""

from __future__ import annotations

from everlearn.methods.registry import METHODS, MethodEntry, create_method, method_names
from everlearn.methods.replay import ExperienceReplay, ReplayConfig

__all__ = ["METHODS", "ExperienceReplay", "MethodEntry", "ReplayConfig", "create_method", "method_names"]

"""Bounded stores of examples that replay draws from."""

from __future__ import annotations

from everlearn.memory.memory import Memory
from everlearn.memory.model_example import InputArray, ModelExample
from everlearn.memory.packing import pack_examples, unpack_examples
from everlearn.memory.reservoir import ReservoirMemory

__all__ = ["InputArray", "Memory", "ModelExample", "ReservoirMemory", "pack_examples", "unpack_examples"]

"""Contracts of plug-ins as checks that third parties run in their own tests.

One suite a kind: each function takes something that makes a new instance and raises AssertionError
where the instance breaks the contract. ``METHOD_CHECKS`` and ``MEMORY_CHECKS`` are tables for
``pytest.mark.parametrize``.
"""

from __future__ import annotations

from everlearn.checks.memories import MEMORY_CHECKS, check_memory
from everlearn.checks.methods import METHOD_CHECKS, check_method

__all__ = ["MEMORY_CHECKS", "METHOD_CHECKS", "check_memory", "check_method"]

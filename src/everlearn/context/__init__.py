"""Incremental context: what a language model carries from one chunk of a long text to the next."""

from __future__ import annotations

from everlearn.context.carry import Carry, CarryConfig, CarryResult, Rows
from everlearn.context.lanes import NO_LABEL, LaneChunk, Lanes, Span, TokenRun
from everlearn.context.make import make_carry

__all__ = [
    "NO_LABEL",
    "Carry",
    "CarryConfig",
    "CarryResult",
    "LaneChunk",
    "Lanes",
    "Rows",
    "Span",
    "TokenRun",
    "make_carry",
]

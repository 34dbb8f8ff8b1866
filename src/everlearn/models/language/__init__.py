"""Causal language models and encoder-decoders: tokens, generation."""

from __future__ import annotations

__all__: list[str] = []

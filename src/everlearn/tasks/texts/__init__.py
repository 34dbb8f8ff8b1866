"""What language models and encoder-decoders share."""

from __future__ import annotations

__all__: list[str] = []

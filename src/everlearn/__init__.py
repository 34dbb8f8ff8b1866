"""everlearn keeps a pretrained language model learning after it is deployed."""

from __future__ import annotations

__version__ = "0.1.0"

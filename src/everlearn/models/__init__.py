"""Pretrained encoders: loading, pooling, and codes of texts and vectors."""

from __future__ import annotations

from everlearn.models.encoder.coder import CoderConfig, TextCoder, default_layers
from everlearn.models.encoder.lexical import gram_features
from everlearn.models.encoder.load import Trunk, load_trunk
from everlearn.models.encoder.vectors import VectorCoder

__all__ = [
    "CoderConfig",
    "TextCoder",
    "Trunk",
    "VectorCoder",
    "default_layers",
    "gram_features",
    "load_trunk",
]

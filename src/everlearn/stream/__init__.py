"""Streams of examples: sources with cursors, orders, and the codes file."""

from everlearn.stream.codes import CodesSource, CodesWriter, is_codes_file
from everlearn.stream.open import open_source
from everlearn.stream.order import Experience, Order, arrange
from everlearn.stream.source import EndOfStream, FieldNames, Rejection, Source, SourceConfig, SourceReader

__all__ = [
    "CodesSource",
    "CodesWriter",
    "EndOfStream",
    "Experience",
    "FieldNames",
    "Order",
    "Rejection",
    "Source",
    "SourceConfig",
    "SourceReader",
    "arrange",
    "is_codes_file",
    "open_source",
]

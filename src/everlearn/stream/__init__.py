"""Streams of examples: sources with cursors, orders, and the codes file."""

from everlearn.stream.documents import DocumentsSource
from everlearn.stream.files.codes import CodesSource, CodesWriter, is_codes_file
from everlearn.stream.open import open_source
from everlearn.stream.order import Experience, Order, arrange
from everlearn.stream.pieced import PiecedSource
from everlearn.stream.source import (
    DocumentConfig,
    EndOfStream,
    FieldNames,
    Rejection,
    Source,
    SourceConfig,
    SourceReader,
)

__all__ = [
    "CodesSource",
    "CodesWriter",
    "DocumentConfig",
    "DocumentsSource",
    "EndOfStream",
    "Experience",
    "FieldNames",
    "Order",
    "PiecedSource",
    "Rejection",
    "Source",
    "SourceConfig",
    "SourceReader",
    "arrange",
    "is_codes_file",
    "open_source",
]

"""Which settings of reading a source has no use for."""

from __future__ import annotations

from collections.abc import Mapping

from everlearn.stream.documents import DocumentsSource
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.files.columnar import ArrowSource, ParquetSource
from everlearn.stream.files.hf_datasets import HuggingFaceSource
from everlearn.stream.files.json_values import JsonValuesSource
from everlearn.stream.files.line_files import JsonLinesSource, TextLinesSource
from everlearn.stream.pieced import PiecedSource
from everlearn.stream.source import Source
from everlearn.stream.standard_input import StandardInputSource

__all__ = ["unused_settings"]

_FIELDS = ("text_field", "target_field", "id_field", "domain_field", "time_field")
_NO_CELLS = {"delimiter": "only CSV and TSV files have cells to part"}
_NO_ENCODING = {"encoding": "only text files are encoded in different ways"}
_NO_FIELDS = dict.fromkeys(_FIELDS, "plain text has no fields")
_NO_PLAIN_TEXT = {"documents": "only plain text is parted into documents"}
_NO_RECORDS = {"max_record_bytes": "a document may have any length"}
_CODES = dict.fromkeys((*_FIELDS, "max_record_bytes"), "the columns of a codes file have fixed names")

_UNUSED: Mapping[type, Mapping[str, str]] = {
    JsonLinesSource: _NO_CELLS,
    JsonValuesSource: _NO_CELLS,
    TextLinesSource: {**_NO_CELLS, **_NO_FIELDS},
    DocumentsSource: {**_NO_CELLS, **_NO_FIELDS, **_NO_RECORDS},
    ParquetSource: {**_NO_CELLS, **_NO_ENCODING},
    ArrowSource: {**_NO_CELLS, **_NO_ENCODING},
    HuggingFaceSource: {**_NO_CELLS, **_NO_ENCODING},
    StandardInputSource: _NO_CELLS,
    CodesSource: {**_NO_CELLS, **_NO_ENCODING, **_CODES},
}


def unused_settings(source: Source) -> Mapping[str, str]:
    """Names of stream settings that change nothing of how a source is read, each with the reason.

    >>> from pathlib import Path
    >>> from everlearn.stream.source import SourceConfig
    >>> unused_settings(JsonLinesSource(Path("messages.jsonl"), SourceConfig()))
    {'delimiter': 'only CSV and TSV files have cells to part'}
    """
    if isinstance(source, PiecedSource):
        return {**unused_settings(source.source), **_NO_PLAIN_TEXT}
    return _UNUSED.get(type(source), {})

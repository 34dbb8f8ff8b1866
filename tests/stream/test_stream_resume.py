"""Every source, read in batches of any size and opened again anywhere, gives the same examples once."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.stream import EndOfStream, Rejection, Source, SourceConfig, SourceReader, open_source
from everlearn.types import Cursor, Example

Row = dict[str, str | None]

# A text of None is a bad record; the others hold what trips line splitters and CSV readers.
texts = st.one_of(
    st.none(),
    st.sampled_from(
        ["a", 'say "hi"', "two\nlines", "a,b\tc", "ünï", "line\u2028sep", "x\x0by", "\x85z", "cr\r\nlf"]
    ),
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
    ).filter(lambda text: not text.isspace() and "\r" not in text),
)
rows_strategy = st.lists(
    st.fixed_dictionaries({"text": texts, "label": st.sampled_from(["x", "y", None])}), max_size=12
)


def json_lines(rows: list[Row]) -> bytes:
    # Blank lines, Windows line ends and a line that is no JSON stand between the records.
    lines = []
    for index, row in enumerate(rows):
        lines.append(
            json.dumps(row, ensure_ascii=bool(index % 2)).encode() + (b"\r\n" if index % 3 else b"\n")
        )
        if index % 4 == 1:
            lines += [b"\n", b" \r\n", b"{no json\n", b"\xff\xfe\n"]
    return b"".join(lines).removesuffix(b"\n")


def delimited(rows: list[Row], delimiter: str) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["text", "label"])
    for index, row in enumerate(rows):
        writer.writerow([row["text"] or "", row["label"] or ""])
        if index % 4 == 1:
            out.write("\r\n")
            writer.writerow(["one", "cell", "too many"])
    return out.getvalue().encode()


def table(rows: list[Row]) -> pa.Table:
    schema = pa.schema([("text", pa.string()), ("label", pa.string())])
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def write_stream(rows: list[Row], path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table(rows).schema) as writer:
        writer.write_table(table(rows), max_chunksize=4)


FORMATS: dict[str, Callable[[list[Row], Path], Any]] = {
    "a.jsonl": lambda rows, path: path.write_bytes(json_lines(rows)),
    "b.ndjson.gz": lambda rows, path: path.write_bytes(gzip.compress(json_lines(rows))),
    "c.json.zst": lambda rows, path: path.write_bytes(zstandard.compress(json_lines(rows))),
    "d.csv": lambda rows, path: path.write_bytes(delimited(rows, ",")),
    "e.tsv.gz": lambda rows, path: path.write_bytes(gzip.compress(delimited(rows, "\t"))),
    "f.parquet": lambda rows, path: pq.write_table(table(rows), path, row_group_size=5),
    "g.arrow": write_stream,
    "h.feather": lambda rows, path: pyarrow.feather.write_feather(table(rows), str(path), chunksize=4),
}


def read_from(
    source: Source, cursor: Cursor | None, limit: int
) -> tuple[list[tuple[Example, Cursor]], list[Rejection], list[int]]:
    reader: SourceReader = source.open(cursor)
    found: list[tuple[Example, Cursor]] = []
    rejected: list[Rejection] = []
    num_rejected: list[int] = []
    try:
        while True:
            batch = reader.next_batch(limit)
            rejected += reader.take_rejected()
            assert len(batch) <= limit
            found += [(example, reader.cursor()) for example in batch]
            num_rejected += [len(rejected)] * len(batch)
    except EndOfStream:
        rejected += reader.take_rejected()
        with pytest.raises(EndOfStream):
            reader.next_batch(1)
    reader.close()
    return found, rejected, num_rejected


def seen(example: Example) -> tuple[str, str | None, str | None]:
    return example.id, example.text, example.target


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, deadline=None)
@given(rows=rows_strategy, limit=st.integers(1, 7))
def test_resumes_at_every_position(name: str, rows: list[Row], limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        FORMATS[name](rows, path)
        # Lines that are not UTF-8 are among those of JSON.
        source = open_source(path, SourceConfig(encoding="utf-8" if "json" in name else None))

        singly, rejected, num_rejected = read_from(source, None, 1)
        assert [example.text for example, _ in singly] == [row["text"] for row in rows if row["text"]]
        assert [example.target for example, _ in singly] == [row["label"] for row in rows if row["text"]]
        assert len({example.id for example, _ in singly}) == len(singly)

        in_batches, rejected_in_batches, _ = read_from(source, None, limit)
        assert list(map(seen, (e for e, _ in in_batches))) == list(map(seen, (e for e, _ in singly)))
        assert rejected_in_batches == rejected

        start = source.open()
        cursors = [start.cursor(), *(cursor for _, cursor in singly)]
        start.close()
        for position, cursor in enumerate(cursors):
            stored = json.loads(json.dumps(dict(cursor)))
            rest, rejected_later, _ = read_from(source, stored, limit)
            assert list(map(seen, (e for e, _ in rest))) == list(map(seen, (e for e, _ in singly[position:])))
            assert rejected_later == rejected[num_rejected[position - 1] if position else 0 :]


@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=10),
    max_bytes=st.integers(1, 20),
    chunk_bytes=st.integers(1, 50),
    ends=st.booleans(),
)
def test_lines_do_not_depend_on_chunks(
    lines: list[bytes], max_bytes: int, chunk_bytes: int, ends: bool
) -> None:
    from everlearn.stream.lines import LineScanner

    data = b"\n".join(lines) + (b"\n" if ends else b"")
    if data.startswith(b"\xef\xbb\xbf"):
        return
    stream = io.BytesIO(data)
    scanner = LineScanner(lambda: stream.read(chunk_bytes), max_bytes=max_bytes, place="test")
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    offset = 0
    for number, content in enumerate(expected, start=1):
        line = scanner.read()
        assert line is not None
        offset = min(offset + len(content) + 1, len(data))
        assert (scanner.line, scanner.offset) == (number, offset)
        assert scanner.oversized == (len(content.removesuffix(b"\r")) > max_bytes)
        if not scanner.oversized:
            assert line.removesuffix(b"\n") == content
    assert scanner.read() == b""


@pytest.mark.parametrize("name", FORMATS)
def test_count_is_the_number_of_records_or_unknown(name: str, tmp_path: Path) -> None:
    rows: list[Row] = [{"text": f"text {index}", "label": "x"} for index in range(1200)]
    path = tmp_path / name
    if "json" in name or "sv" in name:
        tab = "\t" if "tsv" in name else ","
        header = f"text{tab}label\n"
        lines = [json.dumps(row) if "json" in name else f"{row['text']}{tab}x" for row in rows]
        data = (("" if "json" in name else header) + "\n".join(lines)).encode()
        packers: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress}
        pack = packers.get(path.suffix, bytes)
        path.write_bytes(pack(data))
    else:
        FORMATS[name](rows, path)
    source = open_source(path)
    assert source.count() == 1200
    assert len(read_from(source, None, 100)[0]) == 1200


def test_a_cursor_of_another_source_is_refused(tmp_path: Path) -> None:
    from everlearn.errors import InputError

    for name, write in FORMATS.items():
        path = tmp_path / name
        write([{"text": "a", "label": "x"}], path)
        source = open_source(path)
        for cursor in (
            {"nonsense": 1},
            {"line": 99, "offset": 9_999},
            {"line": 99},
            {"row": 99},
            {"line": -1},
        ):
            with pytest.raises(InputError, match=r"cursor|stopped"), closing(source.open(cursor)) as reader:
                reader.next_batch(1)
        assert [e.text for e, _ in read_from(source, None, 5)[0]] == ["a"]

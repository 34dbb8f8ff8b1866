"""Documents and their pieces: exact, resumable anywhere, from files and live, and chats."""

from __future__ import annotations

import gzip
import json
import os
import re
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from everlearn.errors import ConfigError, InputError
from everlearn.stream import (
    DocumentConfig,
    EndOfStream,
    FieldNames,
    PiecedSource,
    Rejection,
    Source,
    SourceConfig,
    SourceReader,
    open_source,
)
from everlearn.stream.pieces import cut_text
from everlearn.stream.source import DocumentSplit
from everlearn.stream.standard_input import StandardInputSource
from everlearn.types import Cursor, Example

LIMIT = 16
PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}

raw_texts = st.lists(
    st.sampled_from(["a", "word", " ", "\t", "\n", "\n\n", "\r\n", "\r", "é", "世界", "🙂"]), max_size=60
).map("".join)


def config(split: DocumentSplit = "blank-lines", limit: int = LIMIT, **options: Any) -> SourceConfig:
    return SourceConfig(documents=DocumentConfig(split=split, max_piece_bytes=limit), **options)


def documents_of(text: str, split: DocumentSplit) -> list[tuple[int, str]]:
    """Number and text of each document, by the rules as one would say them, from the whole text."""
    if split == "file":
        return [(1, text)] if text and not text.isspace() else []
    lines = text.split("\n")
    if split == "lines":
        found = [(i, line.removesuffix("\r")) for i, line in enumerate(lines, 1)]
        return [(number, line) for number, line in found if line.strip(" \t\r")]
    groups: list[list[str]] = [[]]
    for line in lines:
        if line.strip(" \t\r"):
            groups[-1].append(line)
        else:
            groups.append([])
    texts = ["\n".join(group).removesuffix("\r") for group in groups if group]
    return list(enumerate(texts, 1))


def joined(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """Documents put together again, after a look at the fields and ids of their pieces."""
    result: list[tuple[str, str]] = []
    is_open, previous = False, 0
    for example in examples:
        document, part = example.fields["document"], example.fields["part"]
        assert example.text
        assert len(example.text.encode()) <= LIMIT
        assert example.id == (f"{document}#{part}" if part else document)
        assert (part > 0) == is_open
        if is_open:
            name, text = result.pop()
            assert name == document
            result.append((name, text + example.text))
            assert part == previous + 1
        else:
            result.append((document, example.text))
        previous = part
        is_open = not example.fields["last"]
    assert not is_open
    return result


def read_all(
    reader: SourceReader, limit: int = 1
) -> tuple[list[tuple[Example, Cursor]], list[Rejection], list[int]]:
    """Examples, each with the cursor after its batch; rejections; how many were told by each example."""
    found: list[tuple[Example, Cursor]] = []
    rejected: list[Rejection] = []
    told: list[int] = []
    try:
        while True:
            batch = reader.next_batch(limit)
            rejected += reader.take_rejected()
            assert len(batch) <= limit
            found += [(example, json.loads(json.dumps(dict(reader.cursor())))) for example in batch]
            told += [len(rejected)] * len(batch)
    except EndOfStream:
        rejected += reader.take_rejected()
    reader.close()
    return found, rejected, told


def seen(pairs: Sequence[tuple[Example, Cursor]]) -> list[tuple[str, str | None, Any]]:
    return [(example.id, example.text, dict(example.fields)) for example, _ in pairs]


def check_resumes_anywhere(source: Source, limit: int) -> None:
    singly, rejected, told = read_all(source.open())
    together, rejected_together, _ = read_all(source.open(), limit)
    assert seen(together) == seen(singly)
    assert rejected_together == rejected
    for position, (_, cursor) in enumerate(singly):
        rest, rejected_later, _ = read_all(source.open(cursor), limit)
        assert seen(rest) == seen(singly[position + 1 :])
        assert rejected_later == rejected[told[position] :]


def no_long_white(data: bytes) -> bool:
    return re.search(rb"[ \t\r]{%d}" % LIMIT, data) is None


@pytest.mark.parametrize("split", ["blank-lines", "lines", "file"])
@pytest.mark.parametrize("packed", PACKERS)
@settings(max_examples=30, deadline=None)
@given(text=raw_texts, limit=st.integers(1, 5), mark=st.booleans())
def test_pieces_are_the_documents_and_resume_anywhere(
    split: DocumentSplit, packed: str, text: str, limit: int, mark: bool
) -> None:
    assume(no_long_white(text.encode()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"book.txt{packed}")
        path.write_bytes(PACKERS[packed](b"\xef\xbb\xbf" * mark + text.encode()))
        source = open_source(path, config(split))
        pairs, rejected, _ = read_all(source.open())
        expected = [(f"book:{number}", each) for number, each in documents_of(text, split)]
        assert joined([example for example, _ in pairs]) == expected
        assert rejected == []
        check_resumes_anywhere(source, limit)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from([b"abc ", b"\n", b"\n\n", b"\xff", b"\0", b"  \n", "é".encode()]), max_size=50
    ),
    split=st.sampled_from(["blank-lines", "lines", "file"]),
    chunk=st.integers(1, 40),
)
def test_unsound_pieces_are_passed_over_and_chunks_do_not_matter(
    parts: list[bytes], split: DocumentSplit, chunk: int
) -> None:
    from everlearn.stream.documents import document_reader

    data = b"".join(parts)

    def open_at(size: int, cursor: Cursor | None = None) -> SourceReader:
        rest = [data[0 if cursor is None else cursor["offset"] :]]

        def read() -> bytes | None:
            taken, rest[0] = rest[0][:size], rest[0][size:]
            return taken

        return document_reader(read, config(split), name="t", stem="t", cursor=cursor, close=lambda: None)

    whole, rejected, told = read_all(open_at(10_000))
    in_chunks, rejected_in_chunks, _ = read_all(open_at(chunk), 3)
    assert seen(in_chunks) == seen(whole)
    assert rejected_in_chunks == rejected
    joined([example for example, _ in whole])  # parts are counted without gaps, and the last is marked
    bad_lines = {1 + data.count(b"\n", 0, at) for at in range(len(data)) if data[at] in b"\xff\0"}
    assert {int(r.place.removeprefix("t:")) for r in rejected} <= bad_lines
    assert bool(rejected) == bool(bad_lines)
    for position, (_, cursor) in enumerate(whole):
        rest, rejected_later, _ = read_all(open_at(chunk, cursor), 3)
        assert seen(rest) == seen(whole[position + 1 :])
        assert rejected_later == rejected[told[position] :]


def test_a_rejection_names_place_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"good words, good words\nbad \xff words, many\nother words\n\nnext\n\na\0b")
    pairs, rejected, _ = read_all(open_source(path, config(encoding="utf-8")).open())
    assert joined([example for example, _ in pairs])[-1] == ("t:2", "next")
    assert (rejected[0].place, rejected[0].excerpt) == ("t.txt:2", "bad \N{REPLACEMENT CHARACTER}")
    assert re.fullmatch(r"not UTF-8, .*; \d+ bytes of document 1 are passed over", rejected[0].reason)
    assert (rejected[1].place, rejected[1].reason) == (
        "t.txt:7",
        "holds NUL characters: binary data?; 3 bytes of document 3 are passed over",
    )
    reader = open_source(path, config(strict=True, encoding="utf-8")).open()
    assert len(reader.next_batch(1)) == 1
    with pytest.raises(InputError, match=r"t\.txt:2: not UTF-8"):
        wait_for(reader, 2)
    reader.close()


def test_where_pieces_are_cut() -> None:
    assert cut_text("0123456789\nabcdefghij", 16) == ["0123456789\n", "abcdefghij"]
    assert cut_text("a bcdefghijklmnopqrst", 16) == ["a", " bcdefghijklmnop", "qrst"]
    assert cut_text("世" * 6, 16) == ["世" * 5, "世"]
    assert cut_text("", 16) == [""]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200), limit=st.integers(16, 40))
def test_cut_texts_join_to_the_text(text: str, limit: int) -> None:
    pieces = cut_text(text, limit)
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= limit for piece in pieces)
    assert len(pieces) == 1 or all(pieces)


def test_a_document_larger_than_what_is_held(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    with path.open("wb") as out:
        for number in range(2_000):
            out.write(b"%07d " % number * 500 + b"\n")
    source = open_source(path, config("file", 16_384))
    tracemalloc.start()
    reader = source.open()
    num_bytes = num_pieces = 0
    last = False
    try:
        while True:
            for example in reader.next_batch(1):
                num_bytes += len(example.text or "")
                num_pieces += 1
                last = example.fields["last"]
    except EndOfStream:
        reader.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_bytes == path.stat().st_size == 8_002_000
    assert num_pieces == 500  # four lines each
    assert last
    assert peak < 1_000_000


def test_a_truncated_archive_gives_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.txt.gz"
    text = os.urandom(3_000).hex()
    path.write_bytes(gzip.compress(text.encode())[:-200])
    reader = open_source(path, config("file", 100)).open()
    examples: list[Example] = []
    message = ""
    while not message:
        try:
            examples += reader.next_batch(7)
        except InputError as error:
            message = str(error)
    assert message.startswith("t.txt.gz:1: the file cannot be read any further")
    assert text.startswith("".join(example.text or "" for example in examples))
    assert len(examples) > 20
    assert not any(example.fields["last"] for example in examples)
    reader.close()


def write_records(path: Path, records: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path, row_group_size=2)
    elif path.suffix == ".csv":
        path.write_text("id,text,domain\n" + "".join(f"{r['id']},{r['text']},d\n" for r in records))
    else:
        path.write_text("not json\n" + "not json\n".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_long_records_are_cut_and_resume_anywhere(name: str, tmp_path: Path) -> None:
    texts = ["short", "long words and many more", "x" * 33, "fits in 16 bytes", "é" * 20, "end"]
    records = [{"id": f"r{i}", "text": text, "domain": "d"} for i, text in enumerate(texts)]
    source = open_source(write_records(tmp_path / name, records), config())
    assert isinstance(source, PiecedSource)
    pairs, rejected, _ = read_all(source.open(), 3)
    examples = [example for example, _ in pairs]
    assert [e.id for e in examples] == [
        "r0",
        "r1",
        "r1#1",
        "r2",
        "r2#1",
        "r2#2",
        "r3",
        "r4",
        "r4#1",
        "r4#2",
        "r5",
    ]
    assert "".join(e.text or "" for e in examples) == "".join(texts)
    assert {e.domain for e in examples} == {"d"}
    assert dict(examples[2].fields) == {"document": "r1", "part": 1, "last": True}
    assert dict(examples[6].fields) == {}
    assert len(rejected) == (6 if name == "t.jsonl" else 0)
    check_resumes_anywhere(source, 3)
    with pytest.raises(InputError, match="not one of pieces"):
        source.open({"line": 3, "offset": 17})
    middle = read_all(source.open())[0][4][1]
    if name == "t.csv":
        other = open_source(tmp_path / name, config(limit=64)).open(middle)
        with pytest.raises(InputError, match="has 1 pieces, not more than the 2"):
            other.next_batch(1)
        other.close()


def test_the_limit_of_records_is_that_of_documents(tmp_path: Path) -> None:
    path = write_records(tmp_path / "t.jsonl", [{"text": "x" * 3_000_000}])
    pairs, _, _ = read_all(open_source(path, config(limit=1_000_000)).open())
    assert [len(example.text or "") for example, _ in pairs] == [1_000_000] * 3
    small = SourceConfig(documents=DocumentConfig(max_record_bytes=1_000))
    assert "longer than 1,000 bytes" in read_all(open_source(path, small).open())[1][-1].reason


CHAT = [{"role": "user", "content": "hello, how are you today?"}, {"role": "assistant", "content": "good\n"}]


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_chats_are_taken_whole(name: str, tmp_path: Path) -> None:
    path = write_records(tmp_path / name, [{"id": "a", "messages": CHAT}, {"id": "b", "messages": CHAT[1:]}])
    pairs, _, _ = read_all(open_source(path, config()).open())
    assert [(e.id, e.text) for e, _ in pairs] == [("a", "hello, how are you today?\ngood\n"), ("b", "good\n")]
    assert pairs[0][0].fields["messages"] == CHAT
    if name == "t.jsonl":
        asked_for = SourceConfig(fields=FieldNames(messages="messages"))
        assert len(read_all(open_source(path, asked_for).open())[0]) == 2
        assert "no field 'text'" in read_all(open_source(path).open())[1][-1].reason


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("hi", "must be a list of messages with 'role' and 'content', not str"),
        ([], "must be a list of messages with 'role' and 'content', not an empty list"),
        (["hi"], "message 1 must be an object with 'role' and 'content', not str"),
        ([*CHAT, {"content": "x"}], "message 3: no 'role'"),
        ([{"role": "user", "content": None}], "message 1: 'content' must be a string, not null"),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            "message 1: 'content' must be a string, not list",
        ),
        ([{"role": " ", "content": "x"}], "message 1 has a blank 'role'"),
        ([{"role": "user", "content": " "}], "field 'messages' is blank"),
        ([{"role": "user", "content": "\ud800"}], "not valid Unicode"),
        (None, "no field 'text'; its fields are messages"),
    ],
)
def test_wrong_chats_are_rejected(messages: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"messages": messages}))
    pairs, rejected, _ = read_all(open_source(path, config()).open())
    assert pairs == []
    assert rejected[0].place == "t.jsonl:1"
    assert reason in rejected[0].reason


def test_the_text_is_looked_for_under_other_names(tmp_path: Path) -> None:
    fields = FieldNames(text_alternatives=("source",))
    records: list[dict[str, Any]] = [
        {"source": "hallo", "target": "hello"},
        {"text": None, "source": "welt", "target": "world"},
    ]
    for name in ("t.jsonl", "t.parquet"):
        path = write_records(tmp_path / name, records)
        pairs, _, _ = read_all(open_source(path, SourceConfig(fields=fields)).open())
        assert [(e.text, e.target, dict(e.fields)) for e, _ in pairs] == [
            ("hallo", "hello", {}),
            ("welt", "world", {}),
        ]
    path.with_name("u.jsonl").write_text('{"body": "x"}')
    source = open_source(tmp_path / "u.jsonl", SourceConfig(fields=fields))
    assert "no field 'text' or 'source'; its fields are body" in read_all(source.open())[1][0].reason
    with pytest.raises(ConfigError, match=r"fields\.text_alternatives is 'text', which fields\.text already"):
        FieldNames(text_alternatives=("text",))


def test_settings_are_checked() -> None:
    with pytest.raises(
        ConfigError, match=r"documents\.split must be one of blank-lines, file, lines, not 'x'"
    ):
        DocumentConfig(split="x")  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"documents\.max_piece_bytes must be an integer of at least 16, not 15"
    ):
        DocumentConfig(max_piece_bytes=15)
    with pytest.raises(ConfigError, match=r"documents\.max_record_bytes must be a positive integer, not 0"):
        DocumentConfig(max_record_bytes=0)


def pipe(split: DocumentSplit = "blank-lines", cursor: Cursor | None = None) -> tuple[SourceReader, int, int]:
    read_end, write_end = os.pipe()
    source = StandardInputSource(config(split), descriptor=read_end, patience_seconds=0.01)
    return source.open(cursor), read_end, write_end


def wait_for(reader: SourceReader, num: int) -> list[Example]:
    found: list[Example] = []
    for _ in range(500):
        found += reader.next_batch(10)
        if len(found) >= num:
            break
    return found


def test_a_live_document_without_end() -> None:
    reader, read_end, write_end = pipe("file")
    assert reader.next_batch(5) == []
    assert reader.cursor() == {}
    os.write(write_end, b"some words ")
    assert reader.next_batch(5) == []
    os.write(write_end, b"and more words and more\n")
    (first,) = wait_for(reader, 1)
    assert (first.id, first.text, first.fields["last"]) == ("stdin:1", "some words and", False)
    cursor = reader.cursor()
    os.close(write_end)
    rest, _, _ = read_all(reader)
    assert "".join(example.text or "" for example, _ in rest) == " more words and more\n"
    assert rest[-1][0].fields["last"] is True
    os.close(read_end)

    # A pipe cannot be read again: what comes next goes on with the document.
    reader, read_end, write_end = pipe("file", cursor)
    os.write(write_end, b"next")
    os.close(write_end)
    assert seen(read_all(reader)[0]) == [
        ("stdin:1#1", "next", {"document": "stdin:1", "part": 1, "last": True})
    ]
    os.close(read_end)


def test_live_documents_come_when_they_end() -> None:
    reader, read_end, write_end = pipe()
    os.write(write_end, b"\n\nfirst\n")
    assert reader.next_batch(5) == []
    os.write(write_end, b"\nsecond")
    assert [e.text for e in wait_for(reader, 1)] == ["first"]
    assert reader.next_batch(5) == []
    os.close(write_end)
    assert [example.id for example, _ in read_all(reader)[0]] == ["stdin:2"]
    cursor = reader.cursor()
    os.close(read_end)
    reader, read_end, write_end = pipe(cursor=cursor)
    os.write(write_end, b'{"text": "a"}\n')
    with pytest.raises(InputError, match="holds JSON, but held plain text when this run read it before"):
        wait_for(reader, 1)
    os.close(write_end)
    reader.close()
    os.close(read_end)


def test_live_records_are_cut() -> None:
    reader, read_end, write_end = pipe()
    os.write(write_end, b'{ "text": "many words, more words, the end"}\n')
    first: Sequence[Example] = []
    while not first:
        first = reader.next_batch(1)
    assert (first[0].id, first[0].fields["last"]) == ("stdin:1", False)
    cursor = reader.cursor()
    reader.close()
    # The rest of the record is gone with the pipe.
    later, later_read_end, later_write_end = pipe(cursor=cursor)
    os.write(later_write_end, b'{"text": "next"}\n')
    os.close(later_write_end)
    assert seen(read_all(later)[0]) == [("stdin:2", "next", {})]
    for descriptor in (write_end, read_end, later_read_end):
        os.close(descriptor)


@pytest.mark.parametrize(
    "content", ["one two three four five\n\nsix\n", '{"text": "one two three four five"}\n{"text": "six"}\n']
)
def test_a_redirected_file_resumes_anywhere(content: str, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_text(content)
    descriptor = os.open(path, os.O_RDONLY)
    source = StandardInputSource(config(), descriptor=descriptor, patience_seconds=0.01)
    pairs, _, _ = read_all(source.open())
    assert [example.text for example, _ in pairs] == ["one two three", " four five", "six"]
    check_resumes_anywhere(source, 2)
    os.close(descriptor)


def test_an_empty_stream_is_over() -> None:
    reader, read_end, write_end = pipe()
    os.close(write_end)
    assert read_all(reader)[0] == []
    os.close(read_end)

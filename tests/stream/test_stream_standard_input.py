"""Standard input: live pipes and redirected files."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from everlearn.errors import InputError
from everlearn.stream import EndOfStream, SourceConfig, SourceReader, open_source
from everlearn.stream.standard_input import StandardInputSource
from everlearn.types import Example


def drain(reader: SourceReader, limit: int = 10) -> list[Example]:
    examples: list[Example] = []
    try:
        while True:
            examples += reader.next_batch(limit)
    except EndOfStream:
        return examples


def summary(examples: Sequence[Example]) -> list[tuple[str, str | None, str | None]]:
    return [(e.id, e.text, e.target) for e in examples]


def test_a_pipe_gives_what_has_arrived() -> None:
    read_end, write_end = os.pipe()
    source = StandardInputSource(SourceConfig(), descriptor=read_end, patience_seconds=0.02)
    reader = source.open()
    began = time.monotonic()
    assert reader.next_batch(5) == []
    assert time.monotonic() - began < 5

    os.write(write_end, b'{"text": "a", "label": "x"}\nplain text\nhal')
    first: list[Example] = []
    while len(first) < 2:
        first += reader.next_batch(5)
    assert summary(first) == [("stdin:1", "a", "x"), ("stdin:2", "plain text", None)]
    assert reader.next_batch(5) == []
    assert reader.cursor() == {"line": 2}

    os.write(write_end, b"f a line\n{bad\n[1]")
    os.close(write_end)
    rest = drain(reader)
    assert summary(rest) == [("stdin:3", "half a line", None), ("stdin:5", "[1]", None)]
    assert [r.place for r in reader.take_rejected()] == ["stdin:4"]
    reader.close()
    os.close(read_end)


def test_a_pipe_opened_from_a_cursor_goes_on_counting() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"next\n")
    os.close(write_end)
    reader = StandardInputSource(SourceConfig(), descriptor=read_end).open({"line": 41})
    assert summary(drain(reader)) == [("stdin:42", "next", None)]
    reader.close()
    os.close(read_end)


TEXTS = ["l'été à Zürich", "naïve café", "plain", "ß €", "wałęsa"[:2]]
EXPECTED = [(f"stdin:{k + 1}", text, None) for k, text in enumerate(TEXTS)]


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", None),
        ("utf-8-sig", None),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("cp1252", "cp1252"),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_pipe_in_another_encoding(encoding: str, named: str | None, step: int) -> None:
    data = ("\n".join(TEXTS) + "\n").encode(encoding)
    read_end, write_end = os.pipe()
    source = StandardInputSource(SourceConfig(encoding=named), descriptor=read_end, patience_seconds=0.01)
    reader = source.open()
    assert reader.next_batch(5) == []
    for start in range(0, len(data), step):
        os.write(write_end, data[start : start + step])
    os.close(write_end)
    assert summary(drain(reader)) == EXPECTED
    assert not reader.take_rejected()
    reader.close()
    os.close(read_end)


@pytest.mark.parametrize(("encoding", "named"), [("utf-16", None), ("cp1252", "cp1252"), ("utf-8", None)])
@pytest.mark.parametrize("first", [1, 3])
def test_a_redirected_file_in_another_encoding_is_gone_on_with(
    tmp_path: Path, encoding: str, named: str | None, first: int
) -> None:
    path = tmp_path / "texts"
    path.write_bytes(("\n".join(TEXTS) + "\n").encode(encoding))
    config = SourceConfig(encoding=named)
    with path.open("rb") as file:
        reader = StandardInputSource(config, descriptor=file.fileno()).open()
        begun = reader.next_batch(first)
        cursor = reader.cursor()
        reader.close()
    with path.open("rb") as file:
        reader = StandardInputSource(config, descriptor=file.fileno()).open(cursor)
        assert summary([*begun, *drain(reader)]) == EXPECTED
        reader.close()


def test_a_pipe_whose_bytes_fit_no_utf8_says_what_helps() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, "été\nplain\n".encode("cp1252"))
    os.close(write_end)
    reader = StandardInputSource(SourceConfig(), descriptor=read_end).open()
    assert summary(drain(reader)) == [("stdin:2", "plain", None)]
    assert "--encoding" in reader.take_rejected()[0].reason
    reader.close()
    os.close(read_end)


def test_much_data_and_a_slow_reader() -> None:
    read_end, write_end = os.pipe()

    def produce() -> None:
        with os.fdopen(write_end, "wb") as out:
            for index in range(60_000):
                out.write(b'{"text": "message %d of a long stream"}\n' % index)
            out.write(b"x" * 3_000_000 + b"\nlast\n")

    producer = threading.Thread(target=produce)
    producer.start()
    reader = StandardInputSource(SourceConfig(), descriptor=read_end).open()
    time.sleep(0.05)
    examples = drain(reader, 1_000)
    producer.join()
    assert len(examples) == 60_001
    assert examples[-1].text == "last"
    assert [r.reason for r in reader.take_rejected()] == ["longer than 1,000,000 bytes"]
    reader.close()
    os.close(read_end)


def test_a_redirected_file_is_resumed_like_a_file(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"one\ntwo\n\nthree\n")
    descriptor = os.open(path, os.O_RDONLY)
    source = StandardInputSource(SourceConfig(), descriptor=descriptor)
    reader = source.open()
    (one,) = reader.next_batch(1)
    cursor = reader.cursor()
    reader.close()
    assert one.text == "one"
    again = source.open(cursor)
    assert summary(drain(again)) == [("stdin:2", "two", None), ("stdin:4", "three", None)]
    again.close()
    os.close(descriptor)


def test_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"hello\n")
    os.close(write_end)
    with os.fdopen(read_end, "r") as replaced:
        monkeypatch.setattr("sys.stdin", replaced)
        source = open_source("-")
        assert (source.name, source.count()) == ("stdin", None)
        reader = source.open()
        assert [e.text for e in drain(reader)] == ["hello"]
        reader.close()


def test_a_closed_standard_input_is_an_input_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.close(write_end)
    with pytest.raises(InputError, match="standard input cannot be read"):
        StandardInputSource(SourceConfig(), descriptor=read_end).open()

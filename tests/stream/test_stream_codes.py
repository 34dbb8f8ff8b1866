"""The codes file: what is written comes back, whole files only, damage is named."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.errors import InputError, StorageError
from everlearn.stream import CodesSource, CodesWriter, EndOfStream, Source, is_codes_file, open_source
from everlearn.types import Code, Cursor, Example, Json

DENSE_SIZE = 6
CONFIG: dict[str, Json] = {"layers": [1, 2], "name": "tiny"}


def example(index: int, seed: int = 0, text: str | None = "text") -> Example:
    generator = np.random.default_rng((seed, index))
    num_grams = int(generator.integers(0, 9))
    code = Code(
        dense=generator.integers(-128, 128, DENSE_SIZE).astype(np.int8),
        gram_ids=np.unique(generator.integers(0, 2**32, num_grams).astype(np.uint32)),
        gram_values=np.array([], np.uint8),
    )
    values = generator.integers(0, 256, len(code.gram_ids)).astype(np.uint8)
    return Example(
        id=f"id {index}",
        text=text,
        target=None if index % 3 == 0 else f"label {index % 5}",
        domain="ünï" if index % 2 else None,
        time="2024-01-02" if index % 2 else None,
        code=Code(dense=code.dense, gram_ids=code.gram_ids, gram_values=values),
        fields={"k": [index, None]} if index % 2 else {},
    )


def write(path: Path, examples: list[Example]) -> None:
    with CodesWriter(path, coder_fingerprint="f" * 64, coder_config=CONFIG, dense_size=DENSE_SIZE) as writer:
        for begin in range(0, len(examples), 7):
            writer.write(examples[begin : begin + 7])


def read(source: Source, limit: int = 50, cursor: Cursor | None = None) -> list[Example]:
    reader = source.open(cursor)
    found: list[Example] = []
    try:
        while True:
            found += reader.next_batch(limit)
    except EndOfStream:
        return found
    finally:
        reader.close()


def assert_same(found: list[Example], expected: list[Example]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in ("id", "text", "target", "domain", "time", "code", "fields"):
            assert getattr(one, name) == getattr(other, name)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 12), limit=st.integers(1, 5))
def test_round_trip_and_resume(seed: int, count: int, limit: int) -> None:
    examples = [example(index, seed, None if seed % 2 else "text\n\u2028") for index in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.parquet")
        write(path, examples)
        source = open_source(path)
        assert isinstance(source, CodesSource)
        assert (source.coder_fingerprint, source.coder_config) == ("f" * 64, CONFIG)
        assert (source.dense_size, source.count()) == (DENSE_SIZE, count)
        assert_same(read(source, limit), examples)
        for position in range(count + 1):
            assert_same(read(source, limit, {"row": position}), examples[position:])


def test_more_than_a_row_group(tmp_path: Path) -> None:
    examples = [example(index) for index in range(9_000)]
    write(tmp_path / "c.parquet", examples)
    source = CodesSource(tmp_path / "c.parquet")
    assert pq.ParquetFile(tmp_path / "c.parquet").num_row_groups == 3
    assert_same(read(source, 999), examples)
    assert_same(read(source, 999, {"row": 8_990}), examples[8_990:])


def test_the_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    writer = CodesWriter(path, coder_fingerprint="f", coder_config={}, dense_size=DENSE_SIZE)
    writer.write([example(1)])
    assert not path.exists()
    writer.close()
    writer.close()
    assert [each.name for each in tmp_path.iterdir()] == ["c.parquet"]

    writer = CodesWriter(path, coder_fingerprint="f", coder_config={}, dense_size=DENSE_SIZE)
    with pytest.raises(ValueError, match="has no code"), writer:
        writer.write([*(example(index) for index in range(5_000)), Example(id="x", text="x")])
    assert [each.name for each in tmp_path.iterdir()] == ["c.parquet"]
    assert_same(read(CodesSource(path)), [example(1)])


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere.c\.parquet cannot be written"):
        CodesWriter(tmp_path / "nowhere" / "c.parquet", coder_fingerprint="f", coder_config={}, dense_size=3)
    with CodesWriter(tmp_path / "c.parquet", coder_fingerprint="f", coder_config={}, dense_size=3) as writer:
        with pytest.raises(ValueError, match="'id 1' has a code of shape"):
            writer.write([example(1)])
        with pytest.raises(ValueError, match="'x' has no code"):
            writer.write([Example(id="x", text="x")])
    assert read(CodesSource(tmp_path / "c.parquet")) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no device that is always full")
    path = tmp_path / "c.parquet"
    write(path, [example(1)])
    writer = CodesWriter(path, coder_fingerprint="f", coder_config={}, dense_size=DENSE_SIZE)
    (temporary,) = (each for each in tmp_path.iterdir() if each != path)
    with open(full, "wb") as device:
        # The open file now leads to the full device.
        os.dup2(device.fileno(), writer._file.fileno())
    with pytest.raises(StorageError, match="No space left"):
        writer.write([example(index) for index in range(9_000)])
    for _ in range(2):
        with pytest.raises(StorageError, match="No space left"):
            writer.close()
    assert not temporary.exists()
    assert_same(read(CodesSource(path)), [example(1)])


def test_recognising_codes_files(tmp_path: Path) -> None:
    write(tmp_path / "c.parquet", [example(1)])
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "t.parquet")
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    assert is_codes_file(tmp_path / "c.parquet")
    assert not is_codes_file(tmp_path / "t.parquet")
    assert not is_codes_file(tmp_path / "x.parquet")
    assert not is_codes_file(tmp_path / "missing.parquet")
    with pytest.raises(InputError, match="is no codes file; `everlearn encode`"):
        CodesSource(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (b'{"format_version": 2}', "format version 2; this release reads version 1"),
        (b"{no json", "damaged metadata"),
        (b'{"format_version": 1}', "damaged metadata"),
        (b"[]", "damaged metadata"),
    ],
)
def test_other_versions_and_damaged_metadata(tmp_path: Path, metadata: bytes, message: str) -> None:
    write(tmp_path / "c.parquet", [example(1)])
    table = pq.read_table(tmp_path / "c.parquet").replace_schema_metadata({"everlearn.codes": metadata})
    pq.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / "d.parquet")


def test_damaged_rows_are_rejected(tmp_path: Path) -> None:
    write(tmp_path / "c.parquet", [example(index) for index in range(3)])
    table = pq.read_table(tmp_path / "c.parquet")
    rows = table.to_pylist()
    rows[0].update(gram_ids=b"12345678", gram_values=b"1")
    rows[1].update(gram_ids=bytes(8), gram_values=b"12")
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "d.parquet")
    source = CodesSource(tmp_path / "d.parquet")
    reader = source.open()
    assert [e.id for e in reader.next_batch(5)] == ["id 2"]
    assert [(r.place, "damaged code" in r.reason) for r in reader.take_rejected()] == [
        ("d.parquet:1", True),
        ("d.parquet:2", True),
    ]
    reader.close()
    assert json.loads(table.schema.metadata[b"everlearn.codes"])["format_version"] == 1

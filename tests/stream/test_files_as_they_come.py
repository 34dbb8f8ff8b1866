"""Files as help desks and databases write them: encodings, delimiters, arrays, pipes, values of any type."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stream.test_stray_quotes import read

from everlearn.errors import ConfigError, InputError
from everlearn.stream.open import open_source
from everlearn.stream.order import arrange
from everlearn.stream.source import ChangedSourceError, EndOfStream, FieldNames, SourceConfig, SourceReader
from everlearn.stream.standard_input import StandardInputSource
from everlearn.types import Example

ROWS = [("k1", "réinitialiser le mot de passe", "accès"), ("k2", "où est mon colis", "envoi")]


def as_csv(delimiter: str = ",", line_end: str = "\n") -> str:
    rows = [("id", "text", "label"), *ROWS]
    return "".join(delimiter.join(row) + line_end for row in rows)


def taken(path: Path, **config: Any) -> list[tuple[str, str | None, str | None]]:
    examples, rejected = read(path, SourceConfig(**config))
    assert not rejected
    return [(one.id, one.text, one.target) for one in examples]


def until_end(reader: SourceReader) -> list[Example]:
    """All examples of a source that is live."""
    found: list[Example] = []
    while True:
        try:
            found += reader.next_batch(5)
        except EndOfStream:
            return found


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, encoding: str, suffix: str) -> None:
    data = as_csv().encode(encoding)
    path = tmp_path / f"t.csv{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    assert taken(path) == ROWS


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16-le", "cp850"])
def test_an_encoding_that_is_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv().encode(encoding))
    assert taken(path, encoding=encoding) == ROWS
    lines = tmp_path / "t.jsonl"
    records = [{"id": id_, "text": text, "label": label} for id_, text, label in ROWS]
    lines.write_bytes("\n".join(json.dumps(one, ensure_ascii=False) for one in records).encode(encoding))
    assert taken(lines, encoding=encoding) == ROWS


def test_an_encoding_that_cannot_be_used_says_what_helps(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv().encode("utf-16-le"))
    with pytest.raises(InputError, match="--encoding utf-16-le"):
        open_source(path).open()
    with pytest.raises(ConfigError, match="'klingon' is not known"):
        SourceConfig(encoding="klingon")


def test_a_byte_that_the_encoding_does_not_know_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,text,label\nk1,caf\xe9,x\nk2,\x81,x\nk3,ok,x\n")
    examples, rejected = read(path, SourceConfig(encoding="cp1252"))
    assert [one.text for one in examples] == ["café", "ok"]
    assert [one.place for one in rejected] == ["t.csv:3"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_header_says_the_delimiter(tmp_path: Path, delimiter: str, line_end: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv(delimiter, line_end).encode())
    assert taken(path) == ROWS
    assert taken(path, delimiter=delimiter) == ROWS


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.json.gz"])
def test_a_list_of_objects(tmp_path: Path, indent: int | None, name: str) -> None:
    records = [{"id": f"k{k}", "text": f"message {k} é", "label": "a", "n": [k, {}]} for k in range(3_000)]
    data = json.dumps(records, indent=indent, ensure_ascii=False).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert [one[0] for one in taken(path)] == [f"k{k}" for k in range(3_000)]
    reader = open_source(path).open()
    reader.next_batch(1_234)
    cursor = reader.cursor()
    reader.close()
    again = open_source(path).open(cursor)
    assert again.next_batch(1)[0].id == "k1234"
    again.close()


def test_objects_over_several_lines_and_what_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{\n "text": "one",\n "label": "a"\n}\n{"text": "two", "label": "b"}\n')
    assert [one[1] for one in taken(path)] == ["one", "two"]
    path.write_text('[\n{"text": "one"}, 5, {"text": ""}, {"text": "two"}\n]')
    examples, rejected = read(path)
    assert [one.text for one in examples] == ["one", "two"]
    assert [one.place for one in rejected] == ["t.json:2", "t.json:3"]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", '[0.5, {"a": -2.5E+400}]'])
def test_a_number_that_json_does_not_have_spoils_its_object_alone(tmp_path: Path, number: str) -> None:
    path = tmp_path / "t.json"
    bad = f'{{"text": "two", "n": {number}}}'
    path.write_text(f'[{{"text": "one", "n": 1e99}},\n{bad}, {{"text": "three"}}]')
    examples, (rejection,) = read(path)
    assert [one.text for one in examples] == ["one", "three"]
    assert examples[0].fields["n"] == 1e99
    assert (rejection.place, rejection.excerpt) == ("t.json:2", bad)
    assert "JSON" in rejection.reason


@pytest.mark.parametrize("broken", ['[{"text": "a"}, {"text": ', '[{"text": "a"}', '[{"text": "a"} x'])
def test_a_list_that_breaks_off_gives_what_was_before(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(broken)
    reader = open_source(path).open()
    assert [one.text for one in reader.next_batch(5)] == ["a"]
    with pytest.raises(InputError, match=r"t\.json:2"):
        reader.next_batch(5)
    reader.close()


def table_in(name: str, table: pa.Table) -> bytes:
    """A table as a file of the kind that a name ends in, in groups of rows that fit no other size."""
    sink = pa.BufferOutputStream()
    if name.endswith(".parquet"):
        pq.write_table(table, sink, row_group_size=1_300)
    else:
        new = pa.ipc.new_stream if name.endswith(".feather") else pa.ipc.new_file
        with new(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=700)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    "name",
    ["t.jsonl", "t.csv", "t.csv.gz", "t.jsonl.gz", "t.json", "t.parquet", "t.arrow", "t.feather"],
)
def test_what_was_changed_before_the_place_is_noticed(tmp_path: Path, name: str) -> None:
    def written(numbers: list[int]) -> bytes:
        if name.endswith((".parquet", ".arrow", ".feather")):
            columns = {"id": [f"r{k:05}" for k in numbers], "text": [f"message {k:05}" for k in numbers]}
            return table_in(name, pa.table(columns | {"n": [None if k % 3 else k for k in numbers]}))
        if ".csv" in name:
            text = "id,text\n" + "".join(f"r{k:05},message {k:05}\n" for k in numbers)
        else:
            lines = [json.dumps({"id": f"r{k:05}", "text": f"message {k:05}"}) for k in numbers]
            text = f"[{','.join(lines)}]" if name == "t.json" else "\n".join(lines) + "\n"
        return gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()

    path = tmp_path / name
    path.write_bytes(written(list(range(6_000))))
    reader = open_source(path).open()
    reader.next_batch(5_000)
    cursor = json.loads(json.dumps(reader.cursor()))
    reader.close()
    same = open_source(path).open(cursor)
    assert same.cursor() == cursor
    assert same.next_batch(1)[0].id == "r05000"
    same.next_batch(717)
    later = same.cursor()
    same.close()
    again = open_source(path).open(later)
    assert again.next_batch(1)[0].id == "r05718"
    again.close()
    path.write_bytes(written(list(range(7_000))))  # grown behind it
    grown = open_source(path).open(cursor)
    assert grown.next_batch(1_999)[-1].id == "r06998"
    grown.close()
    path.write_bytes(written([*range(4_000), *range(4_001, 6_001)]))
    with pytest.raises(ChangedSourceError, match="was changed before"):
        open_source(path).open(cursor)
    older = {key: value for key, value in cursor.items() if key != "sha256"}
    open_source(path).open(older).close()


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=('{"text": "one"}\n{"text": "two"}\n',))
    writer.start()
    source = open_source(path)
    assert source.count() is None
    reader = source.open()
    texts = [one.text for one in until_end(reader)]
    writer.join()
    reader.close()
    assert texts == ["one", "two"]
    assert isinstance(open_source("/dev/stdin"), StandardInputSource)


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        ('[{"text": "a"}]\n', "list of JSON objects"),
        ("[\n", "list of JSON objects"),
        ("id,text\n1,a\n", "header of a table"),
        ('"text";"label"\n', "header of a table"),
    ],
)
def test_input_that_is_neither_lines_of_json_nor_texts(sent: str, what: str) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, sent.encode())
    os.close(write_end)
    reader = StandardInputSource(SourceConfig(), descriptor=read_end).open()
    with pytest.raises(InputError, match=what):
        until_end(reader)
    reader.close()
    os.close(read_end)


@pytest.mark.parametrize("text", ["[URGENT] please call", "text, and more of it", "a,b"])
def test_texts_that_only_look_a_little_like_it(text: str) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, f"{text}\n".encode())
    os.close(write_end)
    reader = StandardInputSource(SourceConfig(), descriptor=read_end).open()
    assert [one.text for one in until_end(reader)] == [text]
    reader.close()
    os.close(read_end)


def test_targets_that_come_later_by_csv_and_parquet(tmp_path: Path) -> None:
    fields = FieldNames(text_optional=True)
    path = tmp_path / "late.csv"
    path.write_text("id,label\nk1,new\n")
    assert taken(path, fields=fields) == [("k1", None, "new")]
    path.write_text("id,text,label\nk1,hello,\nk1,,greet\nk2, ,leave\n")
    assert taken(path, fields=fields) == [("k1", "hello", None), ("k1", None, "greet"), ("k2", None, "leave")]
    pq.write_table(pa.table({"id": [1], "label": ["new"]}), tmp_path / "late.parquet")
    assert taken(tmp_path / "late.parquet", fields=fields) == [("1", None, "new")]
    path.write_text("id,label\nk1,new\n")
    with pytest.raises(InputError, match="no column 'text'"):
        open_source(path).open()


def test_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("note,text,label,note\na,hello,x,b\n")
    (example,), _ = read(path)
    assert (example.text, example.fields) == ("hello", {"note": "a", "note (2)": "b"})
    for columns in (["text", "label", "label"], ["text", "text", "label"]):
        path.write_text(",".join(columns) + "\na,b,c\n")
        with pytest.raises(InputError, match="twice"):
            open_source(path).open()
        table = pa.table([["a"], ["b"], ["c"]], names=columns)
        pq.write_table(table, tmp_path / "t.parquet")
        with pytest.raises(InputError, match="twice"):
            open_source(tmp_path / "t.parquet").open()


def test_one_number_is_one_label_and_one_id(tmp_path: Path) -> None:
    lines = ['{"id": 1, "text": "a", "label": 1}', '{"id": 2.0, "text": "b", "label": 1.0}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (tmp_path / "t.csv").write_text("id,text,label\n1.0,a,1.0\n2,b,1\n")
    columns = {"id": [1.0, 2.0], "text": ["a", "b"], "label": [decimal.Decimal("1.00")] * 2}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.csv", "t.parquet"):
        assert taken(tmp_path / name) == [("1", "a", "1"), ("2", "b", "1")]
    texts = FieldNames(target_is_label=False)
    assert [one[2] for one in taken(tmp_path / "t.csv", fields=texts)] == ["1.0", "1"]


def test_binary_columns_are_the_texts_they_spell(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([b"k1", b"k2", b"\xff"], pa.binary()),
        "text": pa.array(["où".encode(), b"caf\xe9", b"ok"], pa.large_binary()),
        "label": pa.array([b"a", b"b", b"c"], pa.binary()),
        "blob": pa.array([b"\xff\xfe", b"x", b"y"], pa.binary()),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    examples, rejected = read(tmp_path / "t.parquet")
    assert [(one.id, one.text, one.target, one.fields) for one in examples] == [
        ("k1", "où", "a", {"blob": None})
    ]
    assert [(one.place, one.reason) for one in rejected] == [
        ("t.parquet:2", "field 'text': not UTF-8"),
        ("t.parquet:3", "field 'id': not UTF-8"),
    ]


def test_times_beyond_pythons_calendar_and_unknown_zones_harm_nobody(tmp_path: Path) -> None:
    far = [1_700_000_000_000_000, 253_402_300_800_000_000]
    columns = {
        "text": ["a", "b"],
        "closed": pa.array(far, pa.timestamp("us")),
        "zone": pa.array([1, 2], pa.timestamp("us", "Mars/Olympus")),
        "exact": pa.array([1_700_000_000_123_456_789, 2], pa.timestamp("ns")),
        "took": pa.array([2**62, 1], pa.duration("s")),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    examples, rejected = read(tmp_path / "t.parquet")
    assert not rejected
    assert [one.fields["closed"] for one in examples] == ["2023-11-14T22:13:20", None]
    assert [one.fields["zone"] for one in examples] == [None, None]
    assert examples[0].fields["exact"] == "2023-11-14T22:13:20.123456"
    _, rejected = read(tmp_path / "t.parquet", SourceConfig(fields=FieldNames(time="closed")))
    assert [one.place for one in rejected] == ["t.parquet:2"]


def test_a_target_that_nobody_looks_at(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a", "label": ["b", "c"]}\n{"text": "d", "label": {"e": 1}}\n')
    assert len(read(path)[1]) == 2
    fields = FieldNames(lenient_target=True)
    assert [one[2] for one in taken(path, fields=fields)] == [None, None]


def test_half_surrogates_anywhere_are_refused_with_their_record(tmp_path: Path) -> None:
    bad = ['"user": "caf\\udce9"', '"u\\ud800": 1', '"nested": [{"a": ["\\udfff"]}]', '"id": "\\ud800"']
    path = tmp_path / "t.jsonl"
    path.write_text(
        "\n".join(['{"text": "ok 😀 \\ud83d\\ude00"}', *(f'{{"text": "a", {one}}}' for one in bad)])
    )
    examples, rejected = read(path)
    assert [one.text for one in examples] == ["ok 😀 😀"]
    assert len(rejected) == len(bad)
    assert all("surrogate" in one.reason and one.reason.isprintable() for one in rejected)


@pytest.mark.parametrize("time", ["nan", "NaN", "inf", "-Infinity"])
def test_a_time_that_is_no_number_does_not_unsort_the_others(time: str) -> None:
    examples = [Example(id=str(k), text="a", time=one) for k, one in enumerate(["3", time, "1"])]
    with pytest.raises(InputError, match="neither ISO 8601 nor a number"):
        arrange(examples, "by-time", 1, 0)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.sampled_from(["\ud800", "a\udfff", "\0", "", " ", "1.0", "nan", "é", "x" * 300]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["text", "label", "target", "id", "domain", "time", "messages", "other", "\ud800", ""]
)


@settings(max_examples=80, deadline=None)
@given(records=st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=6), name=st.sampled_from("lj"))
def test_no_record_of_json_is_unexpected(records: list[dict[str, Any]], name: str) -> None:
    good = {"text": "the end", "label": "z"}
    lines = [json.dumps(one) for one in [*records, good]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.jsonl" if name == "l" else "t.json")
        path.write_text("\n".join(lines) if name == "l" else f"[{','.join(lines)}]")
        examples, rejected = read(path)
        assert len(examples) + len(rejected) == len(lines)
        assert examples[-1].text == "the end"
        for one in examples:
            json.dumps(dict(one.fields), ensure_ascii=False).encode()
        for refusal in rejected:
            (refusal.place + refusal.reason + refusal.excerpt).encode()


ARROW_TYPES: list[Any] = [
    pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.bool_(), pa.string(), pa.binary(), pa.date32(),
    pa.date64(), pa.time64("ns"), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "UTC"),
    pa.timestamp("ms", "Nowhere/Never"), pa.duration("ns"), pa.decimal128(38, 3), pa.list_(pa.int64()),
    pa.struct([("a", pa.timestamp("us"))]), pa.null(), pa.dictionary(pa.int8(), pa.string()),
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(data=st.data(), field=st.sampled_from(["text", "label", "id", "time", "other"]))
def test_no_value_of_a_table_is_unexpected(data: st.DataObject, field: str) -> None:
    kind = data.draw(st.sampled_from(ARROW_TYPES))
    width = kind.bit_width // 8 if pa.types.is_primitive(kind) and kind.bit_width >= 8 else 0
    if width:
        raw = data.draw(st.binary(min_size=3 * width, max_size=3 * width))
        column = pa.Array.from_buffers(kind, 3, [None, pa.py_buffer(raw)])
    else:
        column = pa.nulls(3, kind)
    others = {name: ["a", "b", "c"] for name in ("text", "label") if name != field}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.arrow")
        table = pa.table({**others, field: column})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
            out.write_table(table)
        examples, rejected = read(path)
        assert len(examples) + len(rejected) == 3
        for one in examples:
            json.dumps(dict(one.fields), allow_nan=False).encode()


def test_dates_are_texts(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], "day": [datetime.date(2024, 5, 6)], "at": [datetime.time(7, 8)]})
    pq.write_table(table, tmp_path / "t.parquet")
    (example,), _ = read(tmp_path / "t.parquet")
    assert example.fields == {"day": "2024-05-06", "at": "07:08:00"}

"""What becomes an example, what is rejected, and with which reason."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from everlearn.errors import ConfigError, InputError
from everlearn.stream import EndOfStream, FieldNames, Rejection, Source, SourceConfig, open_source
from everlearn.types import Example


def read(source: Source, limit: int = 100) -> tuple[list[Example], list[Rejection]]:
    reader = source.open()
    examples: list[Example] = []
    rejected: list[Rejection] = []
    try:
        while True:
            examples += reader.next_batch(limit)
    except EndOfStream:
        rejected += reader.take_rejected()
    reader.close()
    return examples, rejected


def write(path: Path, *lines: bytes | str) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def test_fields_of_a_record(tmp_path: Path) -> None:
    path = write(
        tmp_path / "some.train.jsonl",
        '{"text": "one", "label": "a", "domain": "d", "date": "2024-01-01", "id": 7, "k": [1, {"k": null}]}',
        '{"text": "two", "intent": "b", "time": 12.5, "id": "", "domain": {"not": "a name"}}',
        '{"text": "three", "target": null, "label": "where the target is null"}',
    )
    one, two, three = read(open_source(path))[0]
    assert (one.id, one.text, one.target, one.domain, one.time) == ("7", "one", "a", "d", "2024-01-01")
    assert one.fields == {"k": [1, {"k": None}]}
    assert (two.id, two.target, two.time, two.domain) == ("some.train:2", "b", "12.5", None)
    assert two.fields == {"domain": {"not": "a name"}}
    assert (three.id, three.target, three.fields) == (
        "some.train:3",
        "where the target is null",
        {},
    )


@pytest.mark.parametrize(
    ("spelled", "target"),
    [
        ('"a"', "a"),
        ("3", "3"),
        ("2.5", "2.5"),
        ("true", "True"),
        ("null", None),
        ('""', None),
        ('"  "', None),
    ],
)
def test_targets(tmp_path: Path, spelled: str, target: str | None) -> None:
    path = write(tmp_path / "t.jsonl", f'{{"text": "x", "label": {spelled}}}')
    assert [example.target for example in read(open_source(path))[0]] == [target]


def test_named_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.jsonl", '{"label": "the text", "cls": "c", "where": "w", "when": "2020", "key": "k"}'
    )
    fields = FieldNames(text="label", target="cls", domain="where", time="when", id="key")
    (example,), rejected = read(open_source(path, SourceConfig(fields=fields)))
    assert not rejected
    assert (example.id, example.text, example.target) == ("k", "the text", "c")
    assert (example.domain, example.time, example.fields) == ("w", "2020", {})


BAD_LINES: list[tuple[bytes, str]] = [
    (b"{not json", "not JSON: .* at column 2"),
    (b'{"text": "a"} trailing', "not JSON: Extra data"),
    (b'["text"]', "not a JSON object but a list"),
    (b'"text"', "a string"),
    (b"17", "a number"),
    (b"{}", "no field 'text'; it has no fields"),
    (b'{"msg": "a", "cat": 1}', r"no field 'text'; its fields are msg, cat \(see --text-field\)$"),
    (json.dumps({f"f{k}": k for k in range(11)}).encode(), r"f8, f9, \.\.\. \("),
    (b'{"\\ud800\\n": 1}', r"field '[^\n\ud800]+' is not valid Unicode"),
    (b'{"text": 5}', "field 'text' must be a string, not int"),
    (b'{"text": null}', "not null"),
    (b'{"text": "  \\n"}', "field 'text' is blank"),
    (b'{"text": "a\\u0000b"}', "NUL"),
    (b'{"text": "a\\ud800b"}', "surrogate"),
    (b'{"text": "a", "label": ["b"]}', "field 'label' must be .* not a list"),
    (b'{"text": "a", "label": {"b": 1}}', "not an object"),
    (b'{"text": "a", "label": "\\udc00"}', "surrogate"),
    (b'{"text": "a", "score": NaN}', "NaN"),
    (b'{"text": "a", "score": 1e999}', "1e999"),
    (b'{"text": "a", "scores": [{"least": -1.5e400}]}', "beyond what a double can hold"),
    (b'{"text": "caf\xe9"}', "not UTF-8, .*: byte 14"),
    (b"\x00\x01\x02\xff\x00", "not UTF-8, .*: byte 4"),
    (b"\x00\x01\x02\x00", "not JSON"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"text": "a", "n": ' + b"9" * 5_000 + b"}", "not usable JSON"),
    (b'{"text": "' + b"x" * 200_000 + b'"}', "longer than 150,000 bytes"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_bad_lines_are_rejected_and_nothing_else(tmp_path: Path, line: bytes, reason: str) -> None:
    path = write(tmp_path / "t.jsonl", '{"text": "before"}', "", line, '{"text": "after"}')
    config = SourceConfig(max_record_bytes=150_000, encoding="utf-8")
    examples, (rejection,) = read(open_source(path, config))
    assert [(e.text, e.id) for e in examples] == [("before", "t:1"), ("after", "t:4")]
    assert rejection.place == "t.jsonl:3"
    assert len(rejection.excerpt) <= 200
    assert rejection.excerpt.isprintable()
    assert re.search(reason, rejection.reason)

    reader = open_source(path, replace(config, strict=True)).open()
    assert [e.text for e in reader.next_batch(10)] == ["before"]
    cursor = reader.cursor()
    for _ in range(2):
        with pytest.raises(InputError, match=r"t\.jsonl:3: "):
            reader.next_batch(10)
    reader.close()
    # After the line was mended, the stream goes on behind what was returned.
    write(path, '{"text": "before"}', "", '{"text": "mended"}', '{"text": "after"}')
    reader = open_source(path, SourceConfig(strict=True)).open(cursor)
    assert [e.text for e in reader.next_batch(10)] == ["mended", "after"]
    reader.close()


def test_byte_order_mark_windows_line_ends_no_last_line_end(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b\xe2\x80\xa8b"}\r\n{"text": "c"}'
    path = write(tmp_path / "t.jsonl", data)
    examples, rejected = read(open_source(path))
    assert [e.text for e in examples] == ["a", "b\u2028b", "c"]
    assert rejected == []
    path = write(tmp_path / "t.csv", b"\xef\xbb\xbf" + b'text,label\r\n"a",x\r\n\r\nb,y')
    assert [(e.text, e.target, e.id) for e in read(open_source(path))[0]] == [
        ("a", "x", "t:2"),
        ("b", "y", "t:4"),
    ]


@pytest.mark.parametrize(
    "name", ["t.jsonl", "t.csv", "t.tsv", "t.txt", "t.jsonl.gz", "t.jsonl.zst", "bom.jsonl"]
)
def test_empty_files_have_no_examples(tmp_path: Path, name: str) -> None:
    data = b"\xef\xbb\xbf" if name.startswith("bom") else b""
    packers: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress}
    pack = packers.get(Path(name).suffix, bytes)
    (tmp_path / name).write_bytes(pack(data))
    assert read(open_source(tmp_path / name)) == ([], [])


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_huge_line_is_skipped_in_bounded_memory(tmp_path: Path, suffix: str) -> None:
    huge = b'{"text": "' + b"x y " * 10_000_000 + b'"}'
    data = b'{"text": "a"}\n' + huge + b'\n{"text": "b"}\n' + huge
    path = tmp_path / f"t.jsonl{suffix}"
    path.write_bytes(
        gzip.compress(data, 1) if suffix == ".gz" else zstandard.compress(data) if suffix == ".zst" else data
    )
    del data, huge
    tracemalloc.start()
    try:
        examples, rejected = read(open_source(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [(e.text, e.id) for e in examples] == [("a", "t:1"), ("b", "t:3")]
    assert [r.place for r in rejected] == [f"t.jsonl{suffix}:2", f"t.jsonl{suffix}:4"]
    # A piece of zstd may unfold to 16 MiB; this file repeats itself, so it does.
    assert peak < (40_000_000 if suffix == ".zst" else 6_000_000)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_truncated_files_give_their_good_lines_first(tmp_path: Path, suffix: str) -> None:
    import random

    noise = random.Random(0)
    lines = [json.dumps({"text": noise.randbytes(40).hex()}) for _ in range(20_000)]
    data = "\n".join(lines).encode()
    packed = gzip.compress(data) if suffix == ".gz" else zstandard.compress(data)
    path = tmp_path / f"t.jsonl{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    reader = open_source(path).open()
    examples: list[Example] = []
    message = ""
    while not message:
        try:
            examples += reader.next_batch(300)
        except InputError as error:
            message = str(error)
    reader.close()
    assert len(examples) > 5_000
    assert [e.text for e in examples] == [json.loads(line)["text"] for line in lines[: len(examples)]]
    assert message.startswith(f"{path}:{len(examples) + 1}: ")
    assert reader.cursor()["line"] == len(examples)
    assert open_source(path).count() is None


def test_compressed_files_of_several_members(tmp_path: Path) -> None:
    first, second = b'{"text": "a"}\n{"te', b'xt": "b"}\n'
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(first) + gzip.compress(second))
    (tmp_path / "t.jsonl.zst").write_bytes(zstandard.compress(first) + zstandard.compress(second))
    for name in ("t.jsonl.gz", "t.jsonl.zst"):
        assert [e.text for e in read(open_source(tmp_path / name))[0]] == ["a", "b"]


def test_a_file_that_is_not_what_its_suffix_says(tmp_path: Path) -> None:
    for name in ("t.jsonl.gz", "t.jsonl.zst", "t.parquet", "t.arrow", "t.feather"):
        path = write(tmp_path / name, '{"text": "plain"}')
        with pytest.raises(InputError, match=name), closing(open_source(path).open()) as reader:
            reader.next_batch(1)
        assert open_source(path).count() is None


def test_csv_quotes_and_widths(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        'id,text,label,""',
        'k1,"line one\nline ""two"", more",x,',
        "k2,too,few",
        "k3,far,too,many,cells",
        "k4,ok,,",
        b"k5,caf\xe9,x,",
        b'k6,"caf\xe9\nover two lines",x,',
        "k7,in\rside,x,",
        "k8,,x,",
        'k9,"open quote,x,',
        "k10,swallowed no more,x,",
    )
    examples, rejected = read(open_source(path, SourceConfig(encoding="utf-8")))
    assert [(e.id, e.text, e.target, e.fields) for e in examples] == [
        ("k1", 'line one\nline "two", more', "x", {}),
        ("k4", "ok", None, {}),
        ("k10", "swallowed no more", "x", {}),
    ]
    assert [(r.place, r.reason.split(":")[0][:28]) for r in rejected] == [
        ("t.csv:4", "3 cells where the header has"),
        ("t.csv:5", "5 cells where the header has"),
        ("t.csv:7", "not UTF-8, or not as the res"),
        ("t.csv:8", "not UTF-8, or not as the res"),
        ("t.csv:10", "new-line character seen in u"),
        ("t.csv:11", "field 'text' is blank"),
        ("t.csv:12", "a quote is left open"),
    ]


def test_csv_records_that_are_too_long(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "text,label", '"' + "x" * 500, "never closed,x", "a,x", "y" * 500 + ",x", "b,x"
    )
    examples, rejected = read(open_source(path, SourceConfig(max_record_bytes=100)))
    assert [e.text for e in examples] == ["never closed", "a", "b"]
    assert [r.place for r in rejected] == ["t.csv:2", "t.csv:5"]
    long = "z" * 300_000
    path = write(tmp_path / "long.csv", "text,label", f"{long},x")
    assert [e.text for e in read(open_source(path))[0]] == [long]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "message:label", "a:b")
    with pytest.raises(InputError, match=r"no column 'text'.*message:label.*--text-field.*--delimiter"):
        open_source(path).open()
    pq.write_table(pa.table({"message": ["a"], "kind": ["b"]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"no column 'text'.*message, kind"):
        open_source(tmp_path / "t.parquet").open()
    config = SourceConfig(fields=FieldNames(text="message", target="labell"))
    with pytest.raises(InputError, match="'labell' for the target"):
        open_source(tmp_path / "t.parquet", config).open()
    path = write(tmp_path / "twice.csv", "text,label,text", "a,b,c")
    with pytest.raises(InputError, match="'text' twice"):
        open_source(path).open()


def test_typed_columns(tmp_path: Path) -> None:
    import datetime
    import decimal

    columns = {
        "text": ["a", None, "b", "c" * 200],
        "label": pa.array([1, 2, None, 3], pa.int64()),
        "time": [datetime.datetime(2024, 5, 6, 7, 8)] * 4,
        "price": [decimal.Decimal("1.50")] * 4,
        "blob": [b"123"] * 4,
        "score": [float("nan"), 1.0, 2.0, 3.0],
        "nested": [{"a": [1]}] * 4,
        "domain": pa.array(["d", "d", None, "d"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    examples, rejected = read(open_source(tmp_path / "t.parquet", SourceConfig(max_record_bytes=100)))
    assert [(e.id, e.target, e.time, e.domain) for e in examples] == [
        ("t:1", "1", "2024-05-06T07:08:00", "d"),
        ("t:3", None, "2024-05-06T07:08:00", None),
    ]
    assert examples[0].fields == {"price": "1.50", "blob": "123", "score": None, "nested": {"a": [1]}}
    assert json.loads(json.dumps(examples[0].fields)) == examples[0].fields
    assert [(r.place, r.reason) for r in rejected] == [
        ("t.parquet:2", "field 'text' must be a string, not null"),
        ("t.parquet:4", "longer than 100 bytes"),
    ]


def test_strings_of_a_table_that_are_not_utf8(tmp_path: Path) -> None:
    offsets = pa.array([0, 1, 2, 3], pa.int32()).buffers()[1]
    bad = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xffb")])
    pyarrow_file = tmp_path / "t.arrow"
    with (
        pa.OSFile(str(pyarrow_file), "wb") as file,
        pa.ipc.new_file(file, pa.schema({"text": pa.string()})) as out,
    ):
        out.write_table(pa.table({"text": bad}))
    examples, rejected = read(open_source(pyarrow_file))
    assert [(e.text, e.id) for e in examples] == [("a", "t:1"), ("b", "t:3")]
    assert [(r.place, r.reason) for r in rejected] == [("t.arrow:2", "field 'text': not UTF-8")]


def test_plain_text_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "one\r", "", '{"text": "not parsed"}', b"\xff", "a\0b", "last")
    examples, rejected = read(open_source(path, SourceConfig(encoding="utf-8")))
    assert [(e.id, e.text, e.target) for e in examples] == [
        ("t:1", "one", None),
        ("t:3", '{"text": "not parsed"}', None),
        ("t:6", "last", None),
    ]
    assert [r.place for r in rejected] == ["t.txt:4", "t.txt:5"]


def test_rejections_do_not_pile_up_in_one_call(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", *["bad"] * 2_500, '{"text": "good"}')
    reader = open_source(path).open()
    sizes = []
    texts: list[str | None] = []
    while not texts:
        texts = [e.text for e in reader.next_batch(10)]
        sizes.append(len(reader.take_rejected()))
    reader.close()
    assert texts == ["good"]
    assert sizes == [1_000, 1_000, 500]


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl does not exist"):
        open_source(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match=r"no known format; known are \.jsonl"):
        open_source(write(tmp_path / "t.docx", "x"))
    with pytest.raises(InputError, match="does not name a data set"):
        open_source("hf:")


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_record_bytes must be a positive integer, not 0"):
        SourceConfig(max_record_bytes=0)
    with pytest.raises(ConfigError, match=r"fields\.text must be the name of a field, not ''"):
        FieldNames(text="")
    with pytest.raises(ConfigError, match=r"fields\.target is 'text', which fields\.text already uses"):
        FieldNames(target="text")


def test_a_batch_holds_at_least_one(tmp_path: Path) -> None:
    reader = open_source(write(tmp_path / "t.jsonl", '{"text": "a"}')).open()
    with pytest.raises(ValueError, match="limit must be at least 1"):
        reader.next_batch(0)
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.next_batch(1)


def test_a_damaged_page_of_a_table_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"text": [f"text number {index}" for index in range(4_000)]})
    pq.write_table(table, path, row_group_size=1_000, compression="zstd", use_dictionary=False)
    offset = pq.read_metadata(path).row_group(2).column(0).data_page_offset
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 200)
    reader = open_source(path).open()
    examples: list[Example] = []
    message = ""
    while not message:
        try:
            examples += reader.next_batch(300)
        except InputError as error:
            message = str(error)
    reader.close()
    assert [e.text for e in examples] == [f"text number {index}" for index in range(len(examples))]
    assert 1_000 <= len(examples) <= 2_000
    assert message.startswith(f"t.parquet:{len(examples) + 1}: ")
    assert reader.cursor()["row"] == len(examples)

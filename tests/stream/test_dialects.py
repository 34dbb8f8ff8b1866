"""Tables of every delimiter and JSON in every arrangement: what was written is read, from any cursor on."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stream.test_encodings import read_on
from tests.stream.test_stray_quotes import read

from everlearn.errors import InputError
from everlearn.stream.notes import reading_notes
from everlearn.stream.open import open_source
from everlearn.stream.source import EndOfStream, FieldNames, SourceConfig

PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)
CELLS = PLAIN | st.sampled_from(['say "hi"', "two\nlines", "a,b;c\td|e", "", '"', "'", "é€", "1.50"])
ROWS = st.lists(st.tuples(CELLS, CELLS), max_size=8)


def table(rows: list[tuple[str, str]], delimiter: str, quoting: int, line_end: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=line_end)  # type: ignore[arg-type]
    writer.writerow(["text", "note", "id"])
    writer.writerows([f"x{text}", note, f"k{number}"] for number, (text, note) in enumerate(rows))
    return out.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_tables_come_back(rows: list[tuple[str, str]], delimiter: str, quoting: int, line_end: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_bytes(table(rows, delimiter, quoting, line_end).encode())
        examples, rejected = read(path)
        assert not rejected
        assert [(one.id, one.text, one.fields["note"]) for one in examples] == [
            (f"k{number}", f"x{text}", note) for number, (text, note) in enumerate(rows)
        ]
        whole, _ = read_on(path, None)
        for position, (_, _, cursor) in enumerate(whole):
            assert read_on(path, cursor)[0] == whole[position + 1 :]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | PLAIN | st.sampled_from(["]", "}", '"', "\\", "[{"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(
    notes=st.lists(VALUES, max_size=6),
    before=st.dictionaries(st.sampled_from(["version", "meta", "count"]), VALUES, max_size=2),
    after=st.dictionaries(st.sampled_from(["next", "total"]), PLAIN | st.integers(), max_size=2),
    indent=st.none() | st.integers(0, 3),
    is_wrapped=st.booleans(),
)
def test_arrays_come_back(
    notes: list[Any], before: dict[str, Any], after: dict[str, Any], indent: int | None, is_wrapped: bool
) -> None:
    records = [{"text": f"x{number}", "note": note} for number, note in enumerate(notes)]
    before = {name: one for name, one in before.items() if not isinstance(one, list)}
    value: Any = {**before, "data": records, **after} if is_wrapped else records
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.json")
        path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
        examples, rejected = read(path)
        assert not rejected
        assert [one.text for one in examples] == [one["text"] for one in records]
        assert [one.fields["note"] for one in examples] == notes
        whole, _ = read_on(path, None)
        for position, (_, _, cursor) in enumerate(whole):
            assert read_on(path, cursor)[0] == whole[position + 1 :]


@pytest.mark.parametrize(
    "text", ['[{"text": "a"}]', '{"data": [{"text": "a"}], "n": 1}\n', '[{"text": "a"}\n]\n']
)
def test_a_list_that_was_read_to_its_end_is_not_read_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    with closing(open_source(path).open()) as reader:
        assert len(reader.next_batch(5)) == 1
        with pytest.raises(EndOfStream):
            reader.next_batch(5)
        cursor = reader.cursor()
    assert read_on(path, cursor)[0] == []


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("text,label", ","),
        ("name, first;text;label", ";"),
        ('"text";"label, by hand"', ";"),
        ("text\tlabel (a|b)", "\t"),
        ("text|a;b,c|label", "|"),
        ("subject;body, long", ";"),
    ],
)
def test_the_columns_say_what_parts_them(tmp_path: Path, header: str, delimiter: str) -> None:
    path = tmp_path / "t.csv"
    cells = next(csv.reader([header], delimiter=delimiter))
    path.write_text(f"{header}\n{delimiter.join('x' * len(cells))}\n", encoding="utf-8")
    name = "subject" if "subject" in cells else "text"
    examples, rejected = read(path, SourceConfig(fields=FieldNames(text=name)))
    assert ([one.text for one in examples], rejected) == (["x"], [])


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_first_line_that_says_the_delimiter(tmp_path: Path, line_end: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(line_end.join(["sep=;", "text;intent,label", "a;b,c", "d;e", ""]), newline="")
    examples, rejected = read(path)
    assert [(one.id, one.text) for one in examples] == [("t:3", "a"), ("t:4", "d")]
    assert not rejected
    whole, _ = read_on(path, None)
    for position, (_, _, cursor) in enumerate(whole):
        assert read_on(path, cursor)[0] == whole[position + 1 :]


def test_a_delimiter_that_is_not_clear_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text;intent,label\na;b,c\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"t\.csv: the header may be parted by ',' or by ';': .*--delimiter"):
        open_source(path).open()
    assert read(path, SourceConfig(delimiter=";"))[0][0].text == "a"


@pytest.mark.parametrize("text", ["[]", "[\n]\n", '{"data": []}', '{"n": 0, "items": [ ]}'])
def test_an_empty_list(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    assert read(path) == ([], [])


def test_a_list_in_an_object_is_told_and_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"version": {"a": [1]}, "items": [{"text": "a"}], "tags": []}', encoding="utf-8")
    source = open_source(path)
    source.open().close()
    assert reading_notes(source) == ["t.json is one JSON object; the list in its field 'items' is read."]
    path.write_text('{"items": [{"text": "a"}], "users": [{"name": "b"}]}', encoding="utf-8")
    with pytest.raises(InputError, match=r"several lists of objects \(items, users\)"):
        open_source(path).open()


def test_a_large_list_in_an_object_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    records = ",".join(f'{{"text": "message {number:06} {"x" * 200}"}}' for number in range(40_000))
    path.write_text(f'{{"items": [{records}], "users": [{{"name": "b"}}]}}', encoding="utf-8")
    tracemalloc.start()
    with closing(open_source(path).open()) as reader:
        count = 0
        while count < 40_000:
            count += len(reader.next_batch(100))
        with pytest.raises(InputError, match="several lists of objects"):
            reader.next_batch(100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000 < path.stat().st_size


@pytest.mark.parametrize("text", ['{"text": "a", "tags": [{"n": 1}]}', '{"tags": [{"n": 1}], "text": "a"}'])
def test_a_record_with_a_list_is_a_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    for contents, count in ((text, 1), (json.dumps(json.loads(text), indent=1), 1), (f"{text}\n{text}\n", 2)):
        path.write_text(contents, encoding="utf-8")
        examples, rejected = read(path)
        assert ([one.text for one in examples], rejected) == (["a"] * count, [])


def test_an_object_that_breaks_off_behind_its_list(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"items": [{"text": "a"}], "users', encoding="utf-8")
    with closing(open_source(path).open()) as reader:
        assert len(reader.next_batch(5)) == 1
        with pytest.raises(InputError, match="the object around the list 'items' has no end"):
            reader.next_batch(5)

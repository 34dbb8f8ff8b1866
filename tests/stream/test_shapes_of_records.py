"""Records in the shapes that annotation tools and data sets have: what is read, and what is refused."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.stream.kinds_of_files import CHATS, KINDS, PAIRS, as_json, label_studio, label_studio_min
from tests.stream.test_stray_quotes import read

from everlearn.errors import ConfigError, InputError
from everlearn.stream.notes import reading_notes, why_no_targets
from everlearn.stream.open import open_source
from everlearn.stream.source import DocumentConfig, FieldNames, Source, SourceConfig


def written(folder: Path, *records: Any, name: str = "t.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(as_json(record) + "\n" for record in records), encoding="utf-8")
    return path


def fields_of(options: list[str]) -> dict[str, Any]:
    given = dict(zip(options[::2], options[1::2], strict=True))
    fields = FieldNames(text=given.get("--text-field", "text"), target=given.get("--target-field"))
    return {"fields": fields, "encoding": given.get("--encoding")}


def opened(path: Path, **fields: Any) -> Source:
    source = open_source(path, SourceConfig(fields=FieldNames(**fields)))
    with closing(source.open()) as reader:
        reader.next_batch(5)
    return source


def refused(path: Path, **fields: Any) -> str:
    examples, (rejection,) = read(path, SourceConfig(fields=FieldNames(**fields)))
    assert not examples
    return rejection.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_file(tmp_path: Path, kind: str) -> None:
    name, encoding, write, options = KINDS[kind]
    path = tmp_path / name
    path.write_bytes(write(PAIRS).encode(encoding))
    examples, rejected = read(path, SourceConfig(**fields_of(options)))
    assert not rejected
    assert [(one.text, one.target) for one in examples] == PAIRS
    for one in examples:  # what is text and label is nowhere else
        assert "message" not in as_json(one.fields)
        assert "guess" not in as_json(one.fields)


def test_a_label_of_label_studio(tmp_path: Path) -> None:
    skipped = label_studio("b", ["x"], ["y"])
    skipped["annotations"][0]["was_cancelled"] = True
    two = label_studio("c", ["x"])
    two["annotations"][0]["result"] += label_studio("c", ["sad"], question="mood")["annotations"][0]["result"]
    path = written(tmp_path, label_studio("a", ["x"], ["x"]), skipped)
    examples, rejected = read(path)
    assert not rejected
    assert [(one.text, one.target, one.fields) for one in examples] == [
        ("a", "x", {"customer": "c1"}),
        ("b", "y", {"customer": "c1"}),
    ]
    assert "'topic'" in reading_notes(opened(path))[0]
    path = written(tmp_path, two)
    assert "2 questions are answered (topic, mood); name one (--target-field)" in refused(path)
    assert read(path, SourceConfig(fields=FieldNames(target="mood")))[0][0].target == "sad"
    assert "disagree (x, y)" in refused(written(tmp_path, label_studio("a", ["x"], ["y"])))
    assert "2 labels (x, y), and one can be learned" in refused(
        written(tmp_path, label_studio("a", ["x", "y"]))
    )
    several = label_studio_min("a", {"choices": ["x", "y"]}, 1)
    assert "2 labels (x, y)" in refused(written(tmp_path, several))
    lenient = SourceConfig(fields=FieldNames(lenient_target=True))
    assert [one.target for one in read(written(tmp_path, several, two), lenient)[0]] == [None, None]


def test_an_export_without_annotations_says_why(tmp_path: Path) -> None:
    source = opened(written(tmp_path, label_studio("a"), label_studio("b")))
    assert "export of Label Studio whose records have no answers" in str(why_no_targets(source))


def test_the_text_of_an_export(tmp_path: Path) -> None:
    task = label_studio("", ["x"])
    task["data"] = {"review": "bad", "stars": 1}
    assert [one.text for one in read(written(tmp_path, task))[0]] == ["bad"]
    task["data"] = {"title": "bad", "review": "very bad"}
    path = written(tmp_path, task)
    assert "no field 'text'; its fields are title, review" in refused(path)
    for name in ("review", "data.review"):
        (example,), _ = read(path, SourceConfig(fields=FieldNames(text=name)))
        assert (example.text, example.target, example.fields) == ("very bad", "x", {"title": "bad"})


def test_what_else_is_asked_of_an_export(tmp_path: Path) -> None:
    fields = FieldNames(time="created_at", domain="data.customer")
    (example,), _ = read(written(tmp_path, label_studio("a", ["x"])), SourceConfig(fields=fields))
    assert (example.time, example.domain, example.id) == ("2025-01-01T00:00:00Z", "c1", "1")


def test_several_labels_of_a_line_of_fasttext(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("__label__a one\n__label__a\t__label__b two\nno label\n__label__c\n", encoding="utf-8")
    examples, rejected = read(path)
    assert [(one.text, one.target) for one in examples] == [("one", "a"), ("no label", None)]
    assert [one.place for one in rejected] == ["t.txt:2", "t.txt:4"]
    assert "2 labels (a, b)" in rejected[0].reason
    texts = SourceConfig(fields=FieldNames(target_is_label=False))
    assert read(path, texts)[0][0].text == "__label__a one"


def test_nested_names(tmp_path: Path) -> None:
    pair = {"translation": {"en": "where", "de": "wo"}, "set": {"part": {"name": "a", "n": 1}}}
    names = FieldNames(text="translation.en", target="translation.de", domain="set.part.name")
    (example,), _ = read(written(tmp_path, pair), SourceConfig(fields=names))
    assert (example.text, example.target, example.domain) == ("where", "wo", "a")
    assert example.fields == {"set": {"part": {"n": 1}}}
    assert "(see --text-field, for example --text-field translation.en)" in refused(written(tmp_path, pair))
    flat = {"translation.en": "one field", "translation.de": "x"}
    assert read(written(tmp_path, flat), SourceConfig(fields=names))[0][0].text == "one field"
    pq.write_table(pa.table({"translation": [pair["translation"]]}), tmp_path / "t.parquet")
    columns = FieldNames(text="translation.en", target="translation.de")
    (example,), _ = read(tmp_path / "t.parquet", SourceConfig(fields=columns))
    assert (example.text, example.target) == ("where", "wo")
    with pytest.raises(InputError, match=r"no column 'other\.en'"):
        open_source(tmp_path / "t.parquet", SourceConfig(fields=FieldNames(text="other.en"))).open()


def test_a_text_of_several_fields(tmp_path: Path) -> None:
    fields = FieldNames(text="subject", text_joined=("mail.body",))
    records = [
        {"subject": "Parcel", "mail": {"body": "Where is it?"}},
        {"subject": None, "mail": {"body": "Hello"}},
        {"subject": "Only this", "label": "a"},
        {"subject": " ", "mail": {"body": ""}},
        {"subject": "x", "mail": {"body": 5}},
        {"label": "a"},
    ]
    examples, rejected = read(written(tmp_path, *records), SourceConfig(fields=fields))
    assert [one.text for one in examples] == ["Parcel\nWhere is it?", "Hello", "Only this"]
    assert [one.fields for one in examples] == [{}, {}, {}]
    assert [one.reason.partition(";")[0] for one in rejected] == [
        "field 'subject' is blank",
        "field 'mail.body' must be a string, not int",
        "no field 'subject'",
    ]
    path = tmp_path / "t.csv"
    path.write_text("subject,body,label\nParcel,Where?,a\n,Hello,b\n", encoding="utf-8")
    columns = FieldNames(text="subject", text_joined=("body",))
    assert [one.text for one in read(path, SourceConfig(fields=columns))[0]] == ["Parcel\nWhere?", "Hello"]
    with pytest.raises(InputError, match="no column 'mail' for the text"):
        open_source(path, SourceConfig(fields=FieldNames(text="subject", text_joined=("mail",)))).open()
    with pytest.raises(ConfigError, match="already uses"):
        FieldNames(text="a", text_joined=("a",))


CHAT = SourceConfig(documents=DocumentConfig())


@pytest.mark.parametrize("kind", CHATS)
def test_a_chat_of_another_shape(tmp_path: Path, kind: str) -> None:
    name, make = CHATS[kind]
    records = [make("where is it?", "on its way"), make("and now?", "there")]
    path = written(tmp_path, *records) if name.endswith("l") else tmp_path / name
    if not name.endswith("l"):
        path.write_text(json.dumps(records), encoding="utf-8")
    examples, rejected = read(path, CHAT)
    assert not rejected
    assert [one.text for one in examples] == ["where is it?\non its way", "and now?\nthere"]
    assert examples[0].fields == {
        "messages": [
            {"role": "user", "content": "where is it?"},
            {"role": "assistant", "content": "on its way"},
        ]
    }


def test_tables_of_instructions(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("instruction,input,output\nAdd.,1 and 2,3\nSay hello.,,Hello\n", encoding="utf-8")
    assert [one.text for one in read(path, CHAT)[0]] == ["Add.\n\n1 and 2\n3", "Say hello.\nHello"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"conversations": []}, "must be a list of turns"),
        ({"conversations": ["hello"]}, "turn 1 must be an object"),
        ({"conversations": [{"from": "wizard", "value": "a"}]}, "turn 1: 'from' must be one of human, user"),
        ({"conversations": [{"from": "human", "value": None}]}, "turn 1: 'value' must be a string"),
        ({"instruction": "do", "output": " "}, "field 'output' is blank"),
        ({"instruction": "do", "input": 5, "output": "x"}, "field 'input' must be a string, not int"),
        ({"prompt": "do"}, "no field 'text'; its fields are prompt"),
        ({"prompt": [1], "completion": "x"}, "message 1 must be an object"),
    ],
)
def test_a_malformed_chat(tmp_path: Path, record: Any, reason: str) -> None:
    examples, (rejection,) = read(written(tmp_path, record), CHAT)
    assert not examples
    assert reason in rejection.reason


def test_turns_of_systems_and_tools(tmp_path: Path) -> None:
    turns = [("system", "be kind"), ("human", "hi"), ("observation", "3"), ("gpt", "hello")]
    record: Any = {"conversations": [{"from": role, "value": value} for role, value in turns]}
    (example,), _ = read(written(tmp_path, record), CHAT)
    assert [one["role"] for one in example.fields["messages"]] == ["system", "user", "tool", "assistant"]
    record = {"prompt": [{"role": "user", "content": "hi"}], "response": "hello", "system": "be kind"}
    (example,), _ = read(written(tmp_path, record), CHAT)
    assert [one["role"] for one in example.fields["messages"]] == ["system", "user", "assistant"]

"""Files as people have them, each learned by the real command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.text_runs import (
    language_settings,
    translation_settings,
    write_language_model,
    write_translator,
)
from tests.runtime.word_pairs import write_encoder
from tests.stream.kinds_of_files import CHATS, KINDS, PAIRS, array, label_studio

Run = Callable[..., Any]

# What says of itself what it is, and must be told.
NOTED = {
    "cp1252": "t.csv is not UTF-8 and is read as cp1252 (ù, first in line 3)",
    "list in an object": "the list in its field 'data' is read",
    "label studio": "its labels are the answers to 'topic' (--target-field names another)",
    "label studio, min": "an export of Label Studio; its labels are the answers to 'topic'",
    "argilla": "an export of Argilla; its labels are the answers to 'topic'",
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a run over a tiny encoder."""
    model = write_encoder(tmp_path_factory.mktemp("encoder") / "tiny")
    return ["--model", str(model), "--features", "64", "--batch-size", "4", "--threads", "1"]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "tiny")


def options_of(settings: dict[str, Any], folder: Path) -> list[str]:
    """Settings as options, in a file."""
    tree: dict[str, Any] = {}
    for path, value in settings.items():
        *sections, name = path.split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    (folder / "settings.yaml").write_text(json.dumps(tree), encoding="utf-8")
    return ["--config", str(folder / "settings.yaml")]


def learned(ended: Any) -> int:
    assert ended.code == 0, ended.err
    count = ended.result["learned"]
    assert isinstance(count, int)
    return count


def refused(ended: Any, run: Path, *parts: str) -> None:
    assert ended.code == 3, ended.err
    assert "Traceback" not in ended.err
    assert not run.exists()
    for part in parts:
        assert part in " ".join(ended.err.split())


@pytest.mark.parametrize("kind", KINDS)
def test_learns(tmp_path: Path, inside: Run, encoder: list[str], kind: str) -> None:
    name, encoding, write, options = KINDS[kind]
    (tmp_path / name).write_bytes(write(PAIRS).encode(encoding))
    ended = inside("learn", tmp_path / name, "--out", tmp_path / "run", "--json", *options, *encoder)
    assert learned(ended) == len(PAIRS)
    assert (ended.result["classes"], ended.result["rejected"]) == (2, 0)
    assert NOTED.get(kind, "") in " ".join(ended.err.split())
    again = inside("learn", tmp_path / name, "--out", tmp_path / "run", "--json")
    assert "Nothing is left to learn" in again.err


def test_goes_on_in_what_was_recognised(tmp_path: Path, inside: Run, encoder: list[str]) -> None:
    path, run = tmp_path / "t.csv", tmp_path / "run"
    lines = ["text,label", *(f"{text},{label}" for text, label in PAIRS)]
    path.write_bytes("".join(f"{line}\n" for line in lines[:6]).encode("cp1252"))
    assert learned(inside("learn", path, "--out", run, "--json", *encoder)) == 5
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("cp1252"))
    ended = inside("learn", path, "--out", run, "--json")
    assert learned(ended) == len(PAIRS)
    assert "Went on after the 5 examples" in ended.err
    assert "is read as cp1252" in ended.err
    assert "is read as cp1252" in inside("evaluate", run, path).err
    assert "is read as cp1252" in inside("learn", path, "--out", tmp_path / "r", "--test", path, *encoder).err
    encoded = inside("encode", path, "--out", tmp_path / "codes.parquet", *encoder[:2])
    assert "is read as cp1252" in encoded.err


def test_several_columns(tmp_path: Path, inside: Run, encoder: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("subject,body,label\nParcel,Where is it?,a\nLogin,It fails,b\n", encoding="utf-8")
    fields = ["--text-field", "subject", "--text-field", "body"]
    run = tmp_path / "run"
    assert learned(inside("learn", path, "--out", run, "--json", "--keep-text", *fields, *encoder)) == 2
    assert inside("journal", "export", run, tmp_path / "out.jsonl").code == 0
    kept = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["text"] for one in kept] == ["Parcel\nWhere is it?", "Login\nIt fails"]


@pytest.mark.parametrize("kind", CHATS)
def test_chats_of_other_shapes(tmp_path: Path, inside: Run, language_model: Path, kind: str) -> None:
    name, make = CHATS[kind]
    records = [make(f"what is {number} and one?", f"it is {number + 1}.") for number in range(6)]
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    (tmp_path / name).write_text(lines if name.endswith("l") else json.dumps(records), encoding="utf-8")
    options = options_of(language_settings(language_model), tmp_path)
    ended = inside("learn", tmp_path / name, "--out", tmp_path / "run", "--json", *options)
    assert learned(ended) == 6
    assert 0 < ended.result["bytes"] < 6 * len("it is 10.")  # of the answers alone


def test_translations(tmp_path: Path, inside: Run) -> None:
    path = tmp_path / "t.jsonl"
    pairs = [{"translation": {"en": f"one {number}", "de": f"eins {number}"}} for number in range(8)]
    path.write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs), encoding="utf-8")
    options = options_of(translation_settings(write_translator(tmp_path / "tiny")), tmp_path)
    run = tmp_path / "run"
    ended = inside("learn", path, "--out", run, *options)
    refused(ended, run, "t.jsonl:1: no field 'text' or 'source'", "--text-field translation.en")
    fields = ["--text-field", "translation.en", "--target-field", "translation.de"]
    assert learned(inside("learn", path, "--out", run, "--json", *fields, *options)) == 8


def test_labels_that_differ_by_case_are_told_once(tmp_path: Path, inside: Run, encoder: list[str]) -> None:
    path, run = tmp_path / "t.jsonl", tmp_path / "run"
    labels: list[Any] = ["Parcel", "parcel", " parcel", 1, 1.0, "1", "other"]
    records = [{"text": f"message {number}", "label": label} for number, label in enumerate(labels)]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    ended = inside("learn", path, "--out", run, "--json", *encoder)
    assert learned(ended) == 7
    assert ended.result["classes"] == 5
    told = " ".join(ended.err.split())
    assert "Labels ' parcel' and 'Parcel' differ by case or spaces alone" in told
    assert "different ones (1 more such)" in told
    with path.open("a", encoding="utf-8") as out:
        out.write('{"text": "more", "label": "parcel"}\n')
    assert "differ by case" not in inside("learn", path, "--out", run, "--json").err


def test_files_that_nobody_can_read(tmp_path: Path, inside: Run, encoder: list[str]) -> None:
    run = tmp_path / "run"

    def learn(name: str, data: bytes, *options: str) -> Any:
        (tmp_path / name).write_bytes(data)
        return inside("learn", tmp_path / name, "--out", run, *options, *encoder)

    mixed = "text,label\ndéjà,a\n".encode() + "reçu,b\n".encode("cp1252")
    refused(learn("mixed.csv", mixed), run, "mixed.csv:3: the file is in two encodings", "--encoding")
    refused(learn("book.csv", b"PK\x03\x04" + bytes(90)), run, "an .xlsx workbook; save it as CSV")
    refused(learn("binary.csv", bytes(range(1, 256)) * 9), run, "binary.csv:2: binary data")
    refused(learn("two.csv", b"text;intent,label\na;b,c\n"), run, "by ',' or by ';'", "--delimiter")
    refused(learn("none.json", b"[]"), run, "none.json is empty: there is nothing to learn")
    refused(learn("none.json", b'{"data": []}'), run, "none.json is empty")
    lists = f'{{"a": {array(PAIRS)}, "b": {array(PAIRS)}}}'.encode()
    refused(learn("lists.json", lists), run, "several lists of objects (a, b)")
    tasks = json.dumps([label_studio("a"), label_studio("b")]).encode()
    refused(
        learn("tasks.json", tasks),
        run,
        "none of its 2 examples has a target, so nothing was learned: it is an export of Label Studio whose "
        "records have no answers of annotators",
    )
    several = json.dumps([label_studio("a", ["x", "y"])]).encode()
    one = ("--task", "classify")
    refused(learn("tasks.json", several, *one), run, "tasks.json:1: 2 labels (x, y)")
    refused(learn("fast.txt", b"__label__a __label__b text\n", *one), run, "fast.txt:1: 2 labels (a, b)")

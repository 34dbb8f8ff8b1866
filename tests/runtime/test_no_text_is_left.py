"""After forgetting, or after dropping texts, no file of a run spells a text in any way."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.runtime.text_runs import (
    language_settings,
    learn,
    translation_settings,
    write_jsonl,
    write_language_model,
    write_translator,
)
from tests.runtime.word_pairs import write_encoder

from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.journal_views import compact_run

Settings = dict[str, Any]
NUM = 6
GONE = 3
CASES = [
    *(("closed-form", kind) for kind in ("jsonl", "csv", "parquet")),
    ("gradient", "jsonl"),
    *(("lm", kind) for kind in ("jsonl", "csv", "parquet", "txt")),
    *(("chats", kind) for kind in ("jsonl", "parquet")),
    *(("seq2seq", kind) for kind in ("jsonl", "csv", "parquet")),
]


def said(number: int) -> str:
    """A text that nothing else is like, with letters that JSON may escape."""
    return f"wörd{number}zebra said twice"


def answered(number: int) -> str:
    """What was answered to it, or what it means in another language."""
    return f"änswer{number}gnu it is"


def records(task: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for k in range(NUM):
        one: dict[str, Any] = {"id": f"identity{k}", "customer": f"c{k % 2}", "raw": f"> {said(k)} <"}
        if task == "chats":
            roles = {"user": said(k), "assistant": answered(k)}
            one["messages"] = [{"role": role, "content": text} for role, text in roles.items()]
        elif task == "seq2seq":
            one |= {"source": said(k), "target": answered(k)}
        else:
            one |= {"text": said(k)}
            one |= {} if task == "lm" else {"label": f"label{k % 2}"}
        made.append(one)
    return [*made, made[1]]  # one comes twice


def write(path: Path, task: str, kind: str) -> Path:
    rows = records(task)
    path = path.with_suffix(f".{kind}")
    if kind == "jsonl":
        return write_jsonl(path, rows)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("\n\n".join(one["text"] for one in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def settings_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    folder = tmp_path_factory.mktemp("models")
    made = {
        "encoder": write_encoder(folder / "encoder"),
        "lm": write_language_model(folder / "lm"),
        "seq2seq": write_translator(folder / "seq2seq"),
    }

    def settings(task: str, **more: Any) -> Settings:
        if task in ("lm", "chats"):
            return language_settings(made["lm"], stream__batch_size=2, **more)
        if task == "seq2seq":
            return translation_settings(made["seq2seq"], **{"stream__batch_size": 2} | more)
        chosen = {"learner.kind": task, "model.name": str(made["encoder"]), "run.threads": 1}
        small = {"closed-form": {"learner.closed_form.num_features": 64}, "gradient": {}}[task]
        return chosen | small | {name.replace("__", "."): value for name, value in more.items()}

    return settings


def spelled(run: Path, words: str) -> list[str]:
    """Where the words are spelled: as they are, escaped, in UTF-16, in any cell of a table."""
    forms = [words.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be")]
    forms.append(json.dumps(words)[1:-1].encode())
    found = []
    for path in (one for one in run.rglob("*") if one.is_file()):
        found += [f"{path.name}: bytes" for form in forms if form in path.read_bytes()]
        found += [
            f"{path.name}: {place}" for place, value in cells(path) if any(form in value for form in forms)
        ]
    return found


def cells(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield "schema", repr(table.schema.metadata).encode() + repr(table.schema).encode()
        yield "rows", repr(table.to_pylist()).encode()
    elif path.suffix == ".sqlite":
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall():
                for row in connection.execute(f"SELECT * FROM {table}"):
                    for value in row:
                        yield table, value if isinstance(value, bytes) else str(value).encode()


def id_of(run: Path, words: str) -> str:
    with RunFolder.open_to_read(run) as folder:
        arrivals = folder.journal.examples.arrivals(1, folder.journal.next_offset - 1)
        return next(one.example.id for _, one in arrivals if words in (one.example.text or ""))


@pytest.mark.parametrize(("task", "kind"), CASES)
def test_nothing_forgotten_and_then_nothing_dropped_is_spelled(
    tmp_path: Path, settings_of: Callable[..., Settings], task: str, kind: str
) -> None:
    run = tmp_path / "run"
    learn(write(tmp_path / "stream", task, kind), run, settings_of(task, run__keep_text=True))
    id_ = id_of(run, said(GONE))
    assert spelled(run, said(GONE))
    forget_in_run(run, ids=[id_])
    gone = [said(GONE), answered(GONE), f'"{id_}"', f"identity{GONE}"]
    assert {one: spelled(run, one) for one in gone} == {one: [] for one in gone}
    assert spelled(run, said(GONE - 1))
    # The stream again: what was deleted is refused, the others are known.
    shutil.copy(tmp_path / f"stream.{kind}", tmp_path / f"again.{kind}")
    learn(tmp_path / f"again.{kind}", run)
    if kind != "txt":  # whose documents are named by their file
        assert {one: spelled(run, one) for one in gone} == {one: [] for one in gone}
    assert compact_run(run, drop_text_after_days=0).num_texts_dropped >= NUM - 1
    for k in range(NUM):
        assert spelled(run, said(k)) == []
        if task == "chats":
            assert spelled(run, answered(k)) == []
    with RunFolder.open_to_read(run) as folder:
        kept = {one.example.fields.get("customer") for _, one in folder.journal.examples.arrivals(1, NUM)}
        assert kept == ({None} if kind == "txt" else {"c0", "c1"})


@pytest.mark.parametrize("task", ["closed-form", "gradient", "lm", "chats", "seq2seq"])
@pytest.mark.parametrize("way", ["no-keep-text", "text-days"])
def test_texts_that_are_not_to_be_kept_are_nowhere(
    tmp_path: Path, settings_of: Callable[..., Settings], task: str, way: str
) -> None:
    run = tmp_path / "run"
    # The memory of a learner that replays keeps what it learns from.
    more: Settings = {} if task == "closed-form" else {"learner__gradient__replay": 0}
    more |= (
        {"run__keep_text": False} if way == "no-keep-text" else {"run__keep_text": True, "run__text_days": 0}
    )
    more |= {} if task in ("lm", "chats") else {"stream__delay": 2}
    stream = write(tmp_path / "stream", task, "jsonl")
    settings = settings_of(task, **more)
    kept = {"run.keep_text": True, "run.text_days": None}
    whole = learn(stream, tmp_path / "whole", settings | kept).summary
    # Also what is cut off in the middle, with examples that wait for their turn, is gone on with.
    learn(stream, run, settings, batches=2)
    summary = learn(stream, run).summary
    assert (summary["fingerprint"], summary["examples"]) == (whole["fingerprint"], whole["examples"])
    for k in range(NUM):
        assert spelled(run, said(k)) == []
        if task in ("chats", "seq2seq"):
            assert spelled(run, answered(k)) == []
    # Known they are all the same.
    shutil.copy(stream, tmp_path / "again.jsonl")
    again = learn(tmp_path / "again.jsonl", run).summary
    assert again["examples"] == whole["examples"]
    assert spelled(run, said(2)) == []

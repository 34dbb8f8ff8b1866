"""A setting of reading is refused for exactly those streams that are read the same without it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from tests.runtime.text_runs import corpus, language_settings, learn, write_language_model

from everlearn.errors import ConfigError, EverlearnError, StoppedError
from everlearn.runtime.commands.encode import encode_stream
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.folder.useful_settings import check_fits_sources
from everlearn.runtime.interruption import StopFlag
from everlearn.settings import RunConfig
from everlearn.stream.open import open_source
from everlearn.tasks.reading import read_all
from everlearn.tasks.table import task_of

RECORDS = [
    {
        "text": f"a text: number {k}, déjà vu",
        "body": f"another; {k}",
        "label": "a",
        "kind": "b",
        "id": f"i{k}",
        "key": f"k{k}",
        "domain": "d",
        "place": "p",
        "time": "2024-01-01",
        "when": "2025-01-01",
    }
    for k in range(3)
]
OTHERS: dict[str, Any] = {
    "stream.text_field": "body",
    "stream.target_field": "kind",
    "stream.id_field": "key",
    "stream.domain_field": "place",
    "stream.time_field": "when",
    "stream.max_record_bytes": 16,
    "stream.encoding": "cp1252",
    "stream.delimiter": ";",
    "stream.documents": "lines",
}


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in RECORDS), encoding="utf-8")


def write_json(path: Path) -> None:
    path.write_text(json.dumps(RECORDS, indent=1, ensure_ascii=False), encoding="utf-8")


def write_csv(path: Path) -> None:
    rows = [list(RECORDS[0]), *(list(one.values()) for one in RECORDS)]
    path.write_text("".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows), encoding="utf-8")


def write_text(path: Path) -> None:
    path.write_text("one déjà vu\ntwo\n\nthree and four and five\n", encoding="utf-8")


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.jsonl": write_jsonl,
    "a.json": write_json,
    "a.csv": write_csv,
    "a.txt": write_text,
    "a.parquet": lambda path: pa.parquet.write_table(pa.Table.from_pylist(RECORDS), path),
    "a.arrow": lambda path: pa.feather.write_feather(pa.Table.from_pylist(RECORDS), path),
}


def what_is_read(path: Path, config: RunConfig) -> Any:
    try:
        examples, rejected = read_all(open_source(str(path), task_of(config).source_config(config.stream)))
    except EverlearnError as error:
        return str(error)
    return [
        [(one.id, one.text, one.target, one.domain, one.time) for one in examples],
        [(one.place, one.reason) for one in rejected],
    ]


@pytest.mark.parametrize("task", ["classify", "lm"])
@pytest.mark.parametrize("name", WRITERS)
def test_what_changes_nothing_of_the_reading_is_refused(tmp_path: Path, name: str, task: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    before = RunConfig().with_settings({"task": task})
    plain = what_is_read(path, before)
    assert plain[0], plain
    for setting, value in OTHERS.items():
        if (setting, task) == ("stream.documents", "classify"):
            continue  # refused with every stream
        config = before.with_settings({setting: value})
        source = open_source(str(path), task_of(config).source_config(config.stream))
        if what_is_read(path, config) == plain:
            with pytest.raises(ConfigError, match=rf"{setting} has no effect where the stream is {name}: "):
                check_fits_sources([source], {setting: value})
        else:
            check_fits_sources([source], {setting: value})


def test_commands_refuse_it_before_anything_is_made(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl")
    write_csv(tmp_path / "a.csv")
    settings = language_settings(write_language_model(tmp_path / "tiny"))
    useless = {"stream.delimiter": ","}
    with pytest.raises(ConfigError, match=r"delimiter has no effect where the stream is a\.jsonl: only CSV"):
        learn(tmp_path / "a.jsonl", tmp_path / "run", settings | useless)
    with pytest.raises(ConfigError, match="delimiter has no effect"):
        encode_stream(str(tmp_path / "a.jsonl"), tmp_path / "codes.parquet", settings=useless)
    assert not (tmp_path / "run").exists()
    # Of use for one of the files that are read with it.
    outcome = learn(tmp_path / "a.jsonl", tmp_path / "run", settings | useless, test=str(tmp_path / "a.csv"))
    assert outcome.summary["test_bits_per_byte"] > 0


def test_a_stop_before_the_first_record_of_a_pipe_is_a_stop(tmp_path: Path) -> None:
    pipe, run = tmp_path / "pipe", tmp_path / "run"
    os.mkfifo(pipe)
    settings = language_settings(write_language_model(tmp_path / "tiny"))
    stop = StopFlag()
    stop.requested = True
    held_open = os.open(pipe, os.O_RDWR)
    try:
        request = LearnRequest(stream=str(pipe), out=run, settings=settings)
        with pytest.raises(StoppedError, match="Stopped before the first example of pipe") as told:
            learn_stream(request, stop=stop)
        assert told.value.exit_code == 130
        assert not run.exists()
        before = learn(corpus(tmp_path / "a.txt", 3), run, settings).summary
        with pytest.raises(StoppedError):
            learn_stream(request, stop=stop)
    finally:
        os.close(held_open)
    after = learn(tmp_path / "a.txt", run).summary
    assert (after["examples"], after["fingerprint"]) == (before["examples"], before["fingerprint"])

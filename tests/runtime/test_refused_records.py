"""What is kept of records that gave no example obeys deletions and the rules for texts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.text_runs import learn, write_jsonl
from tests.runtime.word_pairs import write_encoder

from everlearn.journal.records import Refused
from everlearn.journal.refusals import names_in
from everlearn.runtime.forget import forget_in_run
from everlearn.runtime.journal_views import compact_run
from everlearn.runtime.run_folder import RunFolder
from everlearn.runtime.verify import verify_run
from everlearn.types import Example

WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]
Settings = dict[str, object]


def refusals(run: Path) -> list[Refused]:
    with RunFolder.open_to_read(run) as folder:
        return list(folder.journal.rejections())


def files_with(run: Path, *words: str) -> set[str]:
    return {
        path.name
        for path in run.rglob("*")
        if path.is_file() and any(word.encode() in path.read_bytes() for word in words)
    }


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def settings_of(encoder: Path, **more: object) -> Settings:
    small: Settings = {"learner.closed_form.num_features": 64, "run.threads": 1, "model.name": str(encoder)}
    return small | {name.replace("__", "."): value for name, value in more.items()}


def records(count: int = 6) -> list[dict[str, Any]]:
    return [{"id": f"ident{k}", "text": f"secret{k} words{k}", "label": f"l{k % 2}"} for k in range(count)]


@pytest.mark.parametrize("keep_text", [True, False])
def test_a_deleted_text_that_is_delivered_again_leaves_no_trace(
    tmp_path: Path, encoder: Path, keep_text: bool
) -> None:
    run = tmp_path / "run"
    learn(write_jsonl(tmp_path / "a.jsonl", records()), run, settings_of(encoder, run__keep_text=keep_text))
    forgotten = forget_in_run(run, ids=["ident3"])
    assert files_with(run, "secret3", "ident3") == set()
    # As it was, as a target alone, in a record whose label is wrong, and in one that is no JSON.
    again = [
        *records(),
        {"id": "ident3", "label": "l0"},
        {"id": "ident3", "text": "secret3", "label": ["l0"]},
    ]
    path = write_jsonl(tmp_path / "b.jsonl", again)
    path.write_text(path.read_text() + '{"id": "ident3", "text": "secret3"\n')
    learn(path, run)
    assert files_with(run, "secret3", "ident3") == set()
    assert forgotten.certificate is not None
    found = verify_run(run, certificate=forgotten.certificate, ids=["ident3"])
    assert found.is_valid, found.failed
    kept = refusals(run)
    assert len(kept) == 9
    digests = json.loads(forgotten.certificate.read_text())["id_digests"]
    assert sum(one.id in digests and "deleted on" in one.reason for one in kept) == 2
    # What else was refused says of what, and how it begins only where texts are kept.
    duplicates = [one for one in kept if one.reason == "duplicate id 'ident2'"]
    assert [one.excerpt for one in duplicates] == (["secret2 words2"] if keep_text else [""])


def test_duplicates_leave_no_text_where_none_is_kept(tmp_path: Path, encoder: Path) -> None:
    run = tmp_path / "run"
    twice = [*records(), *records(), {"id": "ident1", "text": "quite another secret9"}]
    learn(
        write_jsonl(tmp_path / "a.jsonl", twice),
        run,
        settings_of(encoder, stream__order="shuffled", stream__experiences=2),
    )
    assert len(refusals(run)) == 7
    assert files_with(run, "secret") == set()


def test_dropping_texts_drops_excerpts(tmp_path: Path, encoder: Path) -> None:
    run = tmp_path / "run"
    path = write_jsonl(tmp_path / "a.jsonl", [*records(), *records()])
    path.write_text(path.read_text() + '{"text": "secret7, unreadable\n')
    learn(path, run, settings_of(encoder, run__keep_text=True))
    assert files_with(run, "secret7") >= {"rejected.jsonl", "journal.sqlite"}
    assert compact_run(run, drop_text_after_days=0).num_texts_dropped == 6
    assert len(refusals(run)) == 7
    assert files_with(run, "secret") == set()


def test_a_second_forget_cleans_up_what_an_older_program_left(tmp_path: Path, encoder: Path) -> None:
    run = tmp_path / "run"
    learn(write_jsonl(tmp_path / "a.jsonl", records()), run, settings_of(encoder))
    certificate = forget_in_run(run, ids=["ident3"]).certificate
    assert certificate is not None
    left = (
        "a.jsonl, example 4",
        "example for id 'ident3', which was deleted on 2026-01-01",
        "secret3 words3",
    )
    with sqlite3.connect(run / "journal.sqlite") as connection:
        connection.execute(
            "INSERT INTO rejections (step, place, reason, excerpt, id) VALUES (1, ?, ?, ?, 'ident3')", left
        )
        connection.execute(
            "INSERT INTO rejections (step, place, reason, excerpt) VALUES (1, 'a.jsonl:9', 'bad', ?)",
            ('{"id": "ident3", "text": "secret3',),
        )
    connection.close()
    (run / "rejected.jsonl").write_text(
        json.dumps(dict(zip(("place", "reason", "excerpt"), left, strict=True)))
    )
    found = verify_run(run, certificate=certificate)
    assert [text.partition(" name")[0] for text in found.failed] == [
        "2 of the refused records in the journal",
        f"1 of the records in {run / 'rejected.jsonl'}",
    ]
    assert forget_in_run(run, ids=["ident3"], dry_run=True).num_forgotten == 0
    assert files_with(run, "secret3") == {"journal.sqlite", "rejected.jsonl"}
    outcome = forget_in_run(run, ids=["ident3"])
    assert (outcome.unknown_ids, outcome.num_forgotten) == (("ident3",), 0)
    assert files_with(run, "secret3", "ident3") == set()
    assert verify_run(run, certificate=certificate).is_valid
    assert len(refusals(run)) == 2


def test_forgetting_looks_into_what_was_refused_before(tmp_path: Path, encoder: Path) -> None:
    run = tmp_path / "run"
    path = write_jsonl(tmp_path / "a.jsonl", [*records(), {"id": "ident4", "text": "other words"}])
    bad = ['{"id": "ident4", "text": "x"', "no id: secret4 words4", '{"id": "ident5", "text": 3}', "{nothing"]
    path.write_text(path.read_text() + "\n".join(bad) + "\n")
    learn(path, run, settings_of(encoder, run__keep_text=True))
    forget_in_run(run, ids=["ident4"])
    assert files_with(run, "secret4", "ident4", "other words") == set()
    assert [one.excerpt for one in refusals(run)] == ["", "", bad[2], bad[3]]


@given(st.text(min_size=1, max_size=20), st.booleans(), st.text(max_size=20))
def test_an_id_is_found_in_a_record(id_: str, is_ascii: bool, text: str) -> None:
    record = json.dumps({"text": text, "id": id_}, ensure_ascii=is_ascii)
    assert id_ in names_in(record)
    if not set(id_) & set(",;|\t\r\n\"'") and id_.strip() == id_:
        assert id_ in names_in(f"1,{id_},{text}")

"""What is kept of records that gave no example obeys deletions and the rules for texts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.text_runs import learn, write_jsonl
from tests.runtime.word_pairs import write_encoder

from everlearn.journal.deletion.text_traces import TextTraces
from everlearn.journal.records import KeptRejection, NewStep
from everlearn.journal.rows.rejections import names_in
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.journal_views import compact_run
from everlearn.runtime.history.verify import verify_run
from everlearn.stream.excerpt import excerpt_of
from everlearn.types import Example

WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]
Settings = dict[str, object]


def rejections(run: Path) -> list[KeptRejection]:
    with RunFolder.open_to_read(run) as folder:
        return list(folder.journal.rejections.all())


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
    kept = rejections(run)
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
    assert len(rejections(run)) == 7
    assert files_with(run, "secret") == set()


def test_dropping_texts_drops_excerpts(tmp_path: Path, encoder: Path) -> None:
    run = tmp_path / "run"
    path = write_jsonl(tmp_path / "a.jsonl", [*records(), *records()])
    path.write_text(path.read_text() + '{"text": "secret7, unreadable\n')
    learn(path, run, settings_of(encoder, run__keep_text=True))
    assert files_with(run, "secret7") >= {"rejected.jsonl", "journal.sqlite"}
    assert compact_run(run, drop_text_after_days=0).num_texts_dropped == 6
    assert len(rejections(run)) == 7
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
        "2 of the rejected records in the journal",
        f"1 of the records in {run / 'rejected.jsonl'}",
    ]
    assert forget_in_run(run, ids=["ident3"], dry_run=True).num_forgotten == 0
    assert files_with(run, "secret3") == {"journal.sqlite", "rejected.jsonl"}
    outcome = forget_in_run(run, ids=["ident3"])
    assert (outcome.unknown_ids, outcome.num_forgotten) == (("ident3",), 0)
    assert files_with(run, "secret3", "ident3") == set()
    assert verify_run(run, certificate=certificate).is_valid
    assert len(rejections(run)) == 2


def test_forgetting_looks_into_what_was_refused_before(tmp_path: Path, encoder: Path) -> None:
    run = tmp_path / "run"
    path = write_jsonl(tmp_path / "a.jsonl", [*records(), {"id": "ident4", "text": "other words"}])
    bad = ['{"id": "ident4", "text": "x"', "no id: secret4 words4", '{"id": "ident5", "text": 3}', "{nothing"]
    path.write_text(path.read_text() + "\n".join(bad) + "\n")
    learn(path, run, settings_of(encoder, run__keep_text=True))
    forget_in_run(run, ids=["ident4"])
    assert files_with(run, "secret4", "ident4", "other words") == set()
    assert [one.excerpt for one in rejections(run)] == ["", "", bad[2], bad[3]]


TEXTS = {
    "anna": "Größe: Frau Müller schuldet 300 Euro seit März\nund bittet um Aufschub",
    "karl": 'She said "call me" on my mobile, Anna Karlsson, 12 Elm Street',
    "li": "张女士住在北京市朝阳区建国路，欠款三百元，请于三月底之前联系她本人",
}


@pytest.mark.parametrize("keep_text", [True, False])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_an_excerpt_is_of_a_text_however_its_file_spelled_it(
    tmp_path: Path, encoder: Path, suffix: str, keep_text: bool
) -> None:
    run, path = tmp_path / "run", tmp_path / f"a{suffix}"
    whole = [{"text": text, "label": "l0", "id": id_} for id_, text in TEXTS.items()]
    if suffix == ".jsonl":
        lines = [json.dumps(one) for one in [*records(), *whole]]
        # A writer that was cut off in the middle of its line, before the id, and wrote the record again.
        lines += [json.dumps(one)[:-9] for one in whole]
        lines += [json.dumps(one, ensure_ascii=False)[20:] for one in whole]
    else:
        lines = ["text,label,id"]
        for one in [*records(), *whole]:
            lines.append(",".join('"' + str(one[name]).replace('"', '""') + '"' for name in one))
        lines += [f"""a cell too many,"{text.replace('"', '""')}",l0,x,y""" for text in TEXTS.values()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    learn(path, run, settings_of(encoder, run__keep_text=keep_text))
    words = ("schuldet 300", "call me", "12 Elm", "建国路", "\\u5efa\\u56fd\\u8def", "bittet um")
    assert "rejected.jsonl" in files_with(run, *words)
    forgotten = forget_in_run(run, ids=list(TEXTS))
    assert forgotten.num_forgotten == 3
    assert files_with(run, *words) == set()


def test_a_record_that_was_never_taken_is_forgotten_too(tmp_path: Path, encoder: Path) -> None:
    run = tmp_path / "run"
    never = {
        "id": "anna",
        "text": "Anna Karlsson lives in Elm Street and owes 300 Euro",
        "label": ["l0", "l1"],
    }
    path = write_jsonl(tmp_path / "a.jsonl", [*records(), never])
    path.write_text(path.read_text() + '{"text": "Anna Karlsson lives in Elm Str\n{oops\n')
    learn(path, run, settings_of(encoder, run__keep_text=True))
    assert files_with(run, "Karlsson")
    assert forget_in_run(run, ids=["anna", "nobody"], dry_run=True).unknown_ids == ("anna", "nobody")
    assert files_with(run, "Karlsson")
    outcome = forget_in_run(run, ids=["anna", "nobody"])
    assert (outcome.unknown_ids, outcome.num_forgotten) == (("anna", "nobody"), 0)
    assert any("rejected records named ids that no example has" in note for note in outcome.notes)
    assert files_with(run, "Karlsson", "anna") == set()
    assert [one.excerpt for one in rejections(run)] == ["", "", "{oops"]


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120),
    other=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    is_ascii=st.booleans(),
    cut=st.integers(0, 40),
)
def test_a_text_is_traced_in_what_was_left_of_its_record(
    text: str, other: str, is_ascii: bool, cut: int
) -> None:
    record = json.dumps({"other": other, "text": text}, ensure_ascii=is_ascii)
    left = excerpt_of(record[: len(record) - 2 - min(cut, len(text) - 1)])
    letters = [one for one in text[: max(0, len(text) - cut)] if one.isalnum()]
    if len(record) < 200 and (not cut or len(letters) >= 24) and any(one.isalnum() for one in text):
        assert TextTraces([text]).are_in(left)


def test_other_words_are_no_trace() -> None:
    traces = TextTraces(TEXTS.values())
    assert not any(traces.are_in(one) for one in ("", "{oops", '{"text": "quite another text, of nobody"}'))


@given(st.text(min_size=1, max_size=20), st.booleans(), st.text(max_size=20))
def test_an_id_is_found_in_a_record(id_: str, is_ascii: bool, text: str) -> None:
    record = json.dumps({"text": text, "id": id_}, ensure_ascii=is_ascii)
    assert id_ in names_in(record)
    if not set(id_) & set(",;|\t\r\n\"'") and id_.strip() == id_:
        assert id_ in names_in(f"1,{id_},{text}")


def test_the_list_of_what_was_refused_is_continued_not_written_again(tmp_path: Path, encoder: Path) -> None:
    run = tmp_path / "run"
    path = write_jsonl(tmp_path / "a.jsonl", records())
    path.write_text(path.read_text() + '{"text": "unreadable one\n{"text": "unreadable two\n')
    learn(path, run, settings_of(encoder, run__keep_text=True))
    listed = run / "rejected.jsonl"

    def numbers() -> list[str]:
        return [json.loads(line)["excerpt"][-3:] for line in listed.read_text().splitlines()]

    with RunFolder.open_to_write(run) as folder:
        folder.write_rejections()
        place = listed.stat().st_ino
        for word in ("six", "ten"):
            rejected = KeptRejection("a.jsonl:9", "bad", f"unreadable {word}")
            folder.journal.append(NewStep(rejected=[rejected]), keep_text=False)
            folder.write_rejections()
            folder.write_rejections()
        assert numbers() == ["one", "two", "six", "ten"]
        assert listed.stat().st_ino == place
        folder.journal.rejections.forget([], ["unreadable two"])
        folder.journal.append(NewStep(rejected=[replace(rejected, excerpt="new")]), keep_text=False)
        folder.write_rejections()
        assert numbers() == ["one", "", "six", "ten", "new"]

"""A file that was changed: what it still holds is not learned twice, what is new is learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import SMALL, clustered_examples, write_codes_file
from tests.runtime.test_learn_stream import learn, rejected_of, sources_of
from tests.runtime.test_sittings import learn_for
from tests.runtime.text_runs import (
    language_settings,
    translation_settings,
    write_jsonl,
    write_language_model,
    write_translator,
)

from everlearn.errors import RunError
from everlearn.journal.standing.held import held_examples
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.journal_views import show_journal
from everlearn.runtime.history.merge import merge_runs
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

Settings = dict[str, Any]
WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]

CHANGED = "is not what was read under this name before"


def numbered(examples: Sequence[Example], name: str = "stream") -> list[Example]:
    """With the ids that a file of that name gives its lines."""
    return [replace(one, id=f"{name}:{k}") for k, one in enumerate(examples, start=1)]


def words_of(one: Example) -> bytes:
    assert one.code is not None
    return one.code.gram_ids.tobytes()


def held_in(run: Path) -> list[tuple[bytes, str | None]]:
    """Words and targets of all that the state holds."""
    with RunFolder.open_to_read(run) as folder:
        return sorted((words_of(one), one.target) for _, one in held_examples(folder.journal))


@pytest.mark.parametrize("at", [3, 45])
def test_an_edit_is_a_correction_wherever_it_is(tmp_path: Path, at: int) -> None:
    """Before and behind the first 64 KiB, by which a file is known."""
    rows = [{"source": f"a b {k % 7}", "target": "b a", "note": "x" * 1_700} for k in range(48)]
    rows_before = [dict(one) for one in rows]
    stream, run = tmp_path / "stream.jsonl", tmp_path / "run"
    learn(write_jsonl(stream, rows), run, translation_settings(write_translator(tmp_path / "tiny")))
    rows[at]["target"] = "a a"
    rows[at - 1]["source"] = "b 9"
    outcome = learn(write_jsonl(stream, rows), run, {})
    assert outcome.summary["examples"] == 49
    with RunFolder.open_to_read(run) as folder:
        changes = folder.journal.database.all("SELECT offset, kind, target FROM changes")
        ids = folder.journal.database.all("SELECT id FROM examples WHERE offset > 48")
    assert changes == [(at + 1, "correction", "a a")]
    assert ids == [(f"stream:{at}@2",)]
    assert any(CHANGED in note for note in outcome.notes)
    assert any("1 record was taken as new, with other words" in note for note in outcome.notes)
    assert show_journal(run).sources == {str(stream): 49}
    again = learn(write_jsonl(stream, rows_before), run, {})  # and back
    assert again.summary["examples"] == 49
    assert not any("taken as new" in note for note in again.notes)


@settings(max_examples=7)
@given(data=st.data())
def test_each_line_is_learned_once_whatever_becomes_of_the_file(data: st.DataObject) -> None:
    fresh = (one for start in count(0, 100) for one in clustered_examples(100, start=start))
    lines = [next(fresh) for _ in range(20)]
    expected: dict[tuple[int, bytes], str | None] = {}
    with TemporaryDirectory() as folder:
        stream, run = Path(folder) / "stream.parquet", Path(folder) / "run"
        for _ in range(data.draw(st.integers(2, 3))):
            write_codes_file(stream, numbered(lines))
            batches = data.draw(st.sampled_from([1, 10]))
            learn_for(batches, stream, run, SMALL | {"stream.batch_size": 8} if not run.exists() else {})
            # A file as it was before goes on where it was left.
            already = sources_of(run)[0].examples
            expected |= {(k, words_of(one)): one.target for k, one in enumerate(lines[:already])}
            assert held_in(run) == sorted((words, target) for (_, words), target in expected.items())
            for k in data.draw(st.sets(st.integers(0, len(lines) - 1), max_size=6)):
                is_reworded = data.draw(st.booleans())
                lines[k] = next(fresh) if is_reworded else lines[k].with_target("label0")
            lines += [next(fresh) for _ in range(data.draw(st.integers(0, 4)))]
        assert verify_run(run).is_valid


def test_a_log_that_starts_anew_each_day_is_learned_each_day(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    for day in range(4):
        outcome = learn(write_codes("stream.parquet", numbered(clustered(40, start=100 * day))), run, small)
        assert outcome.summary["examples"] == outcome.summary["learned"] == 40 * (day + 1)
        assert outcome.summary["rejected"] == 0
    assert show_journal(run).sources == {str(tmp_path / "stream.parquet"): 160}
    with RunFolder.open_to_read(run) as folder:
        assert {"stream:1", "stream:1@2", "stream:1@3", "stream:1@4"} <= folder.journal.known(
            [f"stream:1{suffix}" for suffix in ("", "@2", "@3", "@4")]
        ).keys()


def test_what_was_deleted_stays_deleted_in_a_changed_file(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    lines, run = clustered(40), tmp_path / "run"
    learn(write_codes("stream.parquet", numbered(lines)), run, small)
    forget_in_run(run, ids=["stream:7"])
    lines[0] = clustered(1, start=900)[0]
    learn(write_codes("stream.parquet", numbered(lines)), run, {})
    assert len(held_in(run)) == 40  # one was deleted, one is new
    refused = [one for one in rejected_of(run) if "duplicate" not in one["reason"]]
    assert [one["place"] for one in refused] == ["stream.parquet, example 7"]
    assert "was deleted" in refused[0]["reason"]
    assert words_of(lines[6]) not in [words for words, _ in held_in(run)]


def test_an_ordered_stream_that_was_changed_is_refused(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    lines = clustered(96)
    for name in ("own", "made-up"):
        given_ids = numbered if name == "made-up" else list
        run = tmp_path / name
        ordered: Settings = {"stream.order": "by-class"}
        stream = write_codes("stream.parquet", given_ids(lines))
        learn_for(1, stream, run, small | ordered)
        write_codes("stream.parquet", given_ids([*lines[:90], *clustered(6, start=900)]))
        choices: list[Settings] = [{}, ordered]
        for settings_given in choices:
            with pytest.raises(RunError, match="has changed since the run began on it, so its order cannot"):
                learn(stream, run, settings_given)
        write_codes("stream.parquet", given_ids(lines))
        assert learn(stream, run, {}).summary["examples"] == 96
        # Another file is another stream.
        write_codes("stream.parquet", given_ids(clustered(40, start=2_000)))
        assert learn(stream, run, {}).summary["examples"] == 136


def test_a_changed_file_keeps_its_delay(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    lines = numbered(clustered(128))
    learn_for(2, write_codes("stream.parquet", lines), run, small | {"stream.delay": 20})
    lines[2] = lines[2].with_target("label0" if lines[2].target != "label0" else "label1")
    summary = learn_for(3, write_codes("stream.parquet", lines), run).summary
    assert (summary["examples"], len(held_in(run))) == (96, 76)


def test_documents_that_were_changed_are_read_as_new_from_there_on(tmp_path: Path) -> None:
    sentence = "the cat sat on the mat and saw the moon. "
    texts = [sentence * 8 + f"number {k}." for k in range(5)]
    stream, run = tmp_path / "stream.txt", tmp_path / "run"
    model = language_settings(write_language_model(tmp_path / "tiny"), stream__piece_bytes=200)
    stream.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    before = learn(stream, run, model | {"run.keep_text": True}).summary["examples"]
    texts[2] = sentence * 6 + "a dog ran. " + sentence * 2 + "number 2."
    stream.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    learn(stream, run, {})
    with RunFolder.open_to_read(run) as folder:
        new = [
            one.example
            for _, one in folder.journal.examples.arrivals(before + 1, folder.journal.next_offset - 1)
        ]
    assert new
    assert {one.fields["document"] for one in new} == {"stream:3@2"}
    assert [one.fields["part"] for one in new][-1] == max(one.fields["part"] for one in new)
    assert "a dog ran" in "".join(one.text or "" for one in new)


def test_runs_over_changed_files_can_be_merged(tmp_path: Path, clustered: Clustered, small: Settings) -> None:
    runs = []
    for k in range(2):
        lines, run = clustered(40, start=1_000 * k), tmp_path / f"run{k}"
        (tmp_path / f"{k}").mkdir()
        stream = tmp_path / f"{k}" / "stream.parquet"
        learn(write_codes_file(stream, numbered(lines)), run, small)
        lines[5:9] = clustered(4, start=1_000 * k + 500)
        learn(write_codes_file(stream, numbered(lines)), run, {})
        runs.append(run)
    merged = tmp_path / "merged"
    merge_runs(runs, merged)
    assert held_in(merged) == sorted([*held_in(runs[0]), *held_in(runs[1])])
    assert verify_run(merged).is_valid
    # It knows the lines of both files.
    for k in range(2):
        lines = clustered(40, start=1_000 * k)
        summary = learn(
            write_codes_file(tmp_path / f"{k}" / "stream.parquet", numbered(lines)), merged, {}
        ).summary
        assert summary["examples"] == 88

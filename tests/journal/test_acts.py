"""Who has changed a run: acts become rows together with what they do, and not without it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from benchmarks.crashes.older_format import to_first_format
from tests.runtime.conftest import SMALL, clustered_examples, write_codes_file

from everlearn import Example, Run
from everlearn.errors import InputError, RunError
from everlearn.journal.acts import MOST_NAMED, AskedAct
from everlearn.journal.digest import content_digest
from everlearn.journal.journal import Journal
from everlearn.journal.records import After, NewStep
from everlearn.journal.repair.repair import repair_journal
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.folder.run_folder import JOURNAL
from everlearn.runtime.serving.acts import learning


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_codes_file(tmp_path / "stream.parquet", clustered_examples(120))
    learn_stream(LearnRequest(stream=str(tmp_path / "stream.parquet"), out=tmp_path / "run", settings=SMALL))
    return tmp_path / "run"


def examples(count: int, start: int = 500) -> list[Example]:
    return list(clustered_examples(count, start=start))


def learn(run: Run, author: str, batch: list[Example]) -> None:
    with run.noting([AskedAct(author=author, kind="learn", ids=[one.id for one in batch])]):
        run.learn(batch)


def test_who_has_learned_what_is_noted_with_it(run_folder: Path) -> None:
    batch = examples(MOST_NAMED + 5)
    with Run.open(run_folder) as run:
        assert run.acts() == []  # the command line has no key
        learn(run, "helpdesk", batch)
        (act,) = run.acts()
        assert (act.author, act.kind, act.num_examples) == ("helpdesk", "learn", len(batch))
        assert act.ids == tuple(one.id for one in batch[:MOST_NAMED])
        assert act.step == run.predictor().step
        learn(run, "helpdesk", batch)  # the same again changes nothing
        assert len(run.acts()) == 1
        learn(run, "other", [batch[0].with_target("another"), *examples(1, start=700)])
        (changed,) = run.acts(after=1)
        assert (changed.author, changed.num_examples) == ("other", 2)
    with Run.open(run_folder, mode="read") as read:
        assert [act.author for act in read.acts()] == ["helpdesk", "other"]
        assert len(read.acts(limit=1)) == 1
        newest, oldest = read.acts(newest_first=True)
        assert (newest.author, oldest.author) == ("other", "helpdesk")
        assert read.acts(newest_first=True, after=newest.number) == [oldest]
        assert read.acts(author="other") == [newest]
        assert read.acts(author="other", kind="correct") == []


def test_a_step_of_several_requests_has_an_act_for_each_author(run_folder: Path) -> None:
    first, second, third = examples(3)
    with Run.open(run_folder) as run:
        asked = [[first], [second], [third]]
        with run.noting(learning(["a", "b", "a"], asked)):
            run.learn([first, second, third])
        told = {act.author: act.ids for act in run.acts()}
        assert told == {"a": (first.id, third.id), "b": (second.id,)}


def test_what_fails_is_not_noted(run_folder: Path) -> None:
    with Run.open(run_folder) as run:
        with pytest.raises(InputError), run.noting([AskedAct(author="a", kind="correct", ids=["nobody"])]):
            run.correct({"nobody": "label1"})
        with pytest.raises(RunError), run.noting([AskedAct(author="a", kind="rollback")]):
            run.rollback(99)
        with pytest.raises(ZeroDivisionError), run.noting([AskedAct(author="a", kind="review")]):
            raise ZeroDivisionError
        assert run.acts() == []
        learn(run, "a", examples(1))
        assert len(run.acts()) == 1


def test_the_act_is_part_of_the_transaction(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the row cannot be written, the example is not learned either."""
    batch = examples(2)
    with Run.open(run_folder) as run:
        journal = run._folder.journal
        before = run.fingerprint(), journal.last_step
        with monkeypatch.context() as patched:
            patched.setattr("everlearn.journal.acts.checksum", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                learn(run, "a", batch)
        assert (run.fingerprint(), journal.last_step) == before
        assert run.known([one.id for one in batch]) == {}
        learn(run, "a", batch)
        assert [act.num_examples for act in run.acts()] == [2]


def test_a_transaction_that_cannot_be_committed_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j.sqlite") as journal:
        journal.append(NewStep(after=After(settle=True)), keep_text=False)
        before = journal.last_step, journal.chain, journal.next_offset
        with pytest.raises(ZeroDivisionError):
            append_and_fail(journal)
        assert (journal.last_step, journal.chain, journal.next_offset) == before
        assert journal.append(NewStep(after=After(settle=True)), keep_text=False).step == 2


def test_a_deleted_example_is_named_by_no_act(run_folder: Path) -> None:
    batch = examples(3)
    gone = batch[1].id
    with Run.open(run_folder) as run:
        learn(run, "a", batch)
        act = AskedAct(author="dpo", kind="forget", detail={"asked_ids": 1})
        with run.noting([act]):
            run.forget([gone])
        learned, forgot = run.acts()
        assert (learned.num_examples, learned.ids) == (3, (batch[0].id, batch[2].id))
        assert (forgot.author, forgot.kind, forgot.num_examples, forgot.ids) == ("dpo", "forget", 1, ())
        assert forgot.detail["revision"] >= 1
    assert gone.encode() not in (run_folder / JOURNAL).read_bytes()


def test_a_step_that_is_taken_back_takes_its_act_along(run_folder: Path) -> None:
    with Run.open(run_folder) as run:
        learn(run, "a", examples(1))
        learn(run, "b", examples(1, start=600))
    with Journal.open_to_write(run_folder / JOURNAL) as journal:
        journal.rewind(journal.last_step - 1)
        assert [act.author for act in journal.acts.after(0, 10)] == ["a"]


def test_acts_are_no_part_of_what_is_said_and_learned(run_folder: Path, tmp_path: Path) -> None:
    import shutil

    other = Path(shutil.copytree(run_folder, tmp_path / "other"))
    batch = examples(4)
    with Run.open(run_folder) as run, Run.open(other) as bare:
        learn(run, "a", batch)
        bare.learn(batch)
        assert run.fingerprint() == bare.fingerprint()
    with Journal.open_to_read(run_folder / JOURNAL) as one, Journal.open_to_read(other / JOURNAL) as two:
        assert content_digest(one) == content_digest(two)


def test_an_older_journal_has_none_until_something_is_done(run_folder: Path) -> None:
    with (
        closing(sqlite3.connect(run_folder / JOURNAL)) as connection,
        connection,
    ):  # as it was before there were acts
        connection.execute("DROP TABLE acts")
        connection.execute("PRAGMA user_version = 3")
    with Journal.open_to_read(run_folder / JOURNAL) as journal:
        assert journal.acts.after(0, 10) == []
    to_first_format_and_back(run_folder)
    with Run.open(run_folder) as run:
        learn(run, "a", examples(1))
        assert len(run.acts()) == 1


def append_and_fail(journal: Journal) -> None:
    with journal.transaction():
        journal.append(NewStep(after=After(settle=True)), keep_text=False)
        raise ZeroDivisionError


def to_first_format_and_back(run: Path) -> None:
    Journal.open_to_write(run / JOURNAL).close()
    to_first_format(run)
    Journal.open_to_write(run / JOURNAL).close()


def test_a_changed_act_is_found_and_repaired_away(run_folder: Path) -> None:
    with Run.open(run_folder) as run:
        learn(run, "a", examples(1))
        learn(run, "b", examples(1, start=600))
    with closing(sqlite3.connect(run_folder / JOURNAL)) as connection, connection:
        connection.execute("UPDATE acts SET author = 'somebody else' WHERE number = 1")
    repaired = repair_journal(run_folder / JOURNAL, run_folder / "checkpoints")
    assert repaired.tables["acts"].num_lost == 1
    with Run.open(run_folder) as run:
        assert [act.author for act in run.acts()] == ["b"]

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from everlearn.errors import StateError
from everlearn.journal.deletion.deletion import delete_examples
from everlearn.journal.digest import content_digest
from everlearn.journal.fold_steps import fold_step
from everlearn.journal.history import History
from everlearn.journal.journal import Journal
from everlearn.journal.opening import open_journal
from everlearn.journal.records import After, Arrival, JournaledPrediction, NewStep
from everlearn.journal.repair.damaged_copies import remove_damaged_copies
from everlearn.journal.repair.losses import lost_steps
from everlearn.journal.repair.outcome import Repair
from everlearn.journal.repair.repair import repair_journal
from everlearn.journal.repair.replacement import finish_replacement
from everlearn.journal.repair.soundness import find_problem
from everlearn.types import Code, Example

PAGE = 16_384
NUM_STEPS = 24
BATCH = 10


def example(number: int) -> Example:
    grams = np.arange(number, number + 9, dtype=np.uint32)
    return Example(
        id=f"id-{number}",
        text=f"text {number} " * 8,
        target=f"label{number % 3}",
        code=Code(np.full(300, number % 100, np.int8), grams, np.full(9, 7, np.uint8)),
    )


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    """A closed journal of NUM_STEPS steps."""
    path = tmp_path / "journal.sqlite"
    with Journal.create(path) as journal:
        for step in range(NUM_STEPS):
            first = journal.next_offset
            journal.append(
                NewStep(
                    source="stream",
                    progress={"key": "stream", "cursor": first + BATCH - 1},
                    arrivals=[
                        Arrival(example(k), "learn", JournaledPrediction("a", 0.5, 0.1, None, False))
                        for k in range(first, first + BATCH)
                    ],
                    learned=(first, first + BATCH - 1),
                    after=After(settle=step % 5 == 0),
                ),
                keep_text=True,
            )
    return path


def repaired(path: Path) -> Repair:
    return repair_journal(path, path.parent / "checkpoints")


def overwrite_row(path: Path, sql: str) -> None:
    """Change a value behind the journal's back: pages stay sound, the row's checksum does not match."""
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_a_sound_journal_is_left_alone(journal_path: Path) -> None:
    before = journal_path.read_bytes()
    repair = repaired(journal_path)
    assert not repair.is_needed
    assert journal_path.read_bytes() == before
    assert not list(journal_path.parent.glob("*.damaged-*"))


@pytest.mark.parametrize(
    ("sql", "table", "lost_step"),
    [
        ("UPDATE steps SET progress = '{}' WHERE step = 15", "steps", 15),
        ("UPDATE examples SET target = 'x' WHERE offset = 77", "examples", 8),
        ("UPDATE codes SET dense = zeroblob(300) WHERE offset = 101", "codes", 11),
        ("DELETE FROM examples WHERE offset = 77", "examples", 8),
        ("DELETE FROM codes WHERE offset = 101", "codes", 11),
        ("DELETE FROM steps WHERE step = 15", "steps", 15),
        ("DELETE FROM steps WHERE step = 24", "steps", 24),
    ],
)
def test_the_journal_goes_back_before_what_is_lost(
    journal_path: Path, sql: str, table: str, lost_step: int
) -> None:
    overwrite_row(journal_path, sql)
    repair = repaired(journal_path)
    assert repair.is_needed
    assert repair.last_step == lost_step - 1
    assert repair.tables[table].num_lost == 1
    assert repair.num_steps_taken_back in (NUM_STEPS - lost_step, NUM_STEPS - lost_step + 1)
    assert not repair.lost_steps
    assert any(f"goes on after step {lost_step - 1}" in note for note in repair.notes)
    with open_journal(journal_path).journal as journal:
        assert journal.last_step == lost_step - 1
        assert journal.next_offset == (lost_step - 1) * BATCH + 1
        (incident,) = json.loads(journal.meta("incidents") or "")
        assert set(incident["notes"]) < set(repair.notes)
        for step in journal.steps_after(0):
            assert len(fold_step(journal, step).learned) == BATCH


def test_deleted_examples_are_not_taken_for_lost(journal_path: Path) -> None:
    with Journal.open_to_write(journal_path) as journal:
        delete_examples(journal, [5, 6, 77], reason="asked", detail={})
        journal.append(NewStep(after=After(settle=True)), keep_text=False)
    overwrite_row(journal_path, "UPDATE decisions SET reason = 'x'")
    assert not repaired(journal_path).is_needed
    overwrite_row(journal_path, "UPDATE examples SET target = 'x' WHERE offset = 200")
    repair = repaired(journal_path)
    assert repair.last_step == 19
    assert repair.tables["examples"].num_lost == 1
    with Journal.open_to_read(journal_path) as journal:
        assert journal.deleted_ids.among(["id-5", "id-7"]).keys() == {"id-5"}


def test_a_lost_deletion_outdates_all_states(journal_path: Path) -> None:
    with Journal.open_to_write(journal_path) as journal:
        delete_examples(journal, [5], reason="asked", detail={})
    overwrite_row(journal_path, "UPDATE revisions SET first_step = 99")
    repair = repaired(journal_path)
    assert any("deletions or rollbacks are lost" in note for note in repair.notes)
    with Journal.open_to_read(journal_path) as journal:
        history = History(journal.database)
        assert [one.kind for one in history.revisions()] == ["damage"]
        assert not history.is_current(1, 0)


def test_a_stream_key_is_restored_from_the_steps(journal_path: Path) -> None:
    overwrite_row(journal_path, "UPDATE sources SET key = 'strfam'")
    with pytest.raises(StateError, match=r"step 24 is missing.*repair"):
        open_journal(journal_path)
    assert repaired(journal_path).last_step == NUM_STEPS
    with open_journal(journal_path).journal as journal:
        assert journal.progress()["stream"]["cursor"] == NUM_STEPS * BATCH


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_is_told_and_repaired(journal_path: Path, seed: int) -> None:
    with Journal.open_to_read(journal_path) as journal:
        digest = content_digest(journal)
    generator = random.Random(seed)
    data = bytearray(journal_path.read_bytes())
    at = generator.randrange(len(data))
    match generator.randrange(4):
        case 0:
            data[at] ^= 1 << generator.randrange(8)
        case 1:
            data[at : at + 512] = generator.randbytes(len(data[at : at + 512]))
        case 2:
            page = at // PAGE * PAGE
            data[page : page + PAGE] = bytes(len(data[page : page + PAGE]))
        case _:
            del data[max(at, PAGE) :]
    journal_path.write_bytes(data)
    repair = repaired(journal_path)
    if not repair.is_needed:
        with Journal.open_to_read(journal_path) as journal:
            assert content_digest(journal) == digest
        return
    assert repair.notes
    with open_journal(journal_path).journal as journal:
        assert find_problem(journal.database, whole=True) is None
        assert journal.last_step == repair.last_step
        for step in journal.steps_after(0):
            assert [one.id for one in fold_step(journal, step).learned] == [
                f"id-{k}" for k in range(step.step * BATCH - BATCH + 1, step.step * BATCH + 1)
            ]
        assert not lost_steps(journal)
    assert journal_path.with_name("journal.sqlite.damaged-1").read_bytes() == bytes(data)
    remove_damaged_copies(journal_path)
    assert [one.name for one in journal_path.parent.iterdir()] == ["journal.sqlite"]


def test_an_interrupted_exchange_is_finished(journal_path: Path) -> None:
    complete = journal_path.with_name("journal.sqlite.repaired")
    journal_path.rename(complete)
    journal_path.write_bytes(b"damaged")
    journal_path.with_name("journal.sqlite-wal").write_bytes(b"of the damaged one")
    finish_replacement(journal_path)
    with Journal.open_to_read(journal_path) as journal:
        assert journal.last_step == NUM_STEPS
    assert not complete.exists()

"""What must not grow with the journal: the rows that statements touch, and the room that containers take."""

from __future__ import annotations

import re
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from everlearn.journal.history import History
from everlearn.journal.journal import Journal
from everlearn.journal.records import Arrival, Change, JournaledPrediction, NewStep
from everlearn.journal.repair import soundness
from everlearn.journal.standing.held import held_examples
from everlearn.journal.standing.set_aside import num_taken_back
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.loop.due_queue import DueQueue
from everlearn.tasks.classification.exams import LabelExams
from everlearn.types import Example

WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]

GROWING = "examples|codes|texts|predictions|steps|changes|flags|deleted|tuned_codes"
A_STEP = 20
SAID = JournaledPrediction("a", 0.5, 0.5, None, False)


class Traced(sqlite3.Connection):
    """Keeps the statements that are run, with their values."""

    statements: ClassVar[list[str]] = []

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.set_trace_callback(self.statements.append)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that journals run during the test."""
    connect = sqlite3.connect
    monkeypatch.setattr(Traced, "statements", [])
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **({"factory": Traced} | k)))
    yield Traced.statements
    monkeypatch.undo()


def scans(path: Path, statements: list[str]) -> set[str]:
    """Statements that walk through a table which grows with the stream, and do not stop early."""
    found = set()
    connection = sqlite3.connect(path)
    for statement in set(statements):
        if not statement.startswith(("SELECT", "DELETE", "UPDATE", "INSERT")) or "LIMIT" in statement:
            continue
        named = dict(re.findall(rf"(?:FROM|JOIN) ({GROWING}) (?!ON|WHERE|JOIN|LEFT|ORDER)(\w+)", statement))
        names = {*named.values(), *GROWING.split("|")}
        for *_, plan in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
            walked = re.match(r"SCAN (\w+)", plan)
            if "AUTOMATIC" in plan or (walked and walked[1] in names):
                found.add(f"{plan}: {statement}")
    connection.close()
    return found


def test_no_statement_of_a_batch_a_candidate_a_deletion_or_a_start_walks_through_the_journal(
    tmp_path: Path,
    clustered: Clustered,
    write_codes: WriteCodes,
    small: dict[str, Any],
    statements: list[str],
) -> None:
    guard = {"guard.enabled": True, "guard.every": 60, "guard.share": 0.2, "guard.level": 0.2}
    for name, start in (("first", 0), ("second", 150)):
        stream = write_codes(f"{name}.parquet", clustered(150, start=start))
        settings = small | guard if not start else {}
        learn_stream(LearnRequest(stream=str(stream), out=tmp_path / "run", settings=settings))
    forget_in_run(tmp_path / "run", ids=["message-7"])
    rollback_run(tmp_path / "run", 2)
    assert len(set(statements)) > 300
    assert not scans(tmp_path / "run" / "journal.sqlite", statements)


def filled(path: Path, num_steps: int) -> Journal:
    """A journal of so many steps: each corrects an example and holds two back; the last three are void."""
    journal = Journal.create(path)
    journal.database.execute("PRAGMA synchronous = OFF")
    for step in range(num_steps):
        first = journal.next_offset
        arrivals = [
            Arrival(Example(id=f"m{first + k}", target=f"l{k % 7}"), "exam" if k < 2 else "learn", SAID)
            for k in range(A_STEP)
        ]
        changes = [Change(first - A_STEP + 5, "correction", "l5", "l6")] if step else []
        new = NewStep(
            source="s",
            progress={"n": step},
            arrivals=arrivals,
            learned=(first, first + A_STEP - 1),
            changes=changes,
        )
        journal.append(new, keep_text=False)
    revision = History(journal.database).revise("quarantine", num_steps - 2, num_steps, "test", {})
    History(journal.database).set_aside(num_steps - 2, num_steps, revision)
    return journal


def instructions(journal: Journal, work: Callable[[], object]) -> int:
    """How many instructions SQLite's machine makes for it."""
    count = 0

    def note() -> int:
        nonlocal count
        count += 1
        return 0

    connection: Any = journal.database._connection
    connection.set_progress_handler(note, 1)
    work()
    connection.set_progress_handler(None, 1)
    return count


def work_on(journal: Journal) -> dict[str, Callable[[], object]]:
    """What is done for one example or one interval, wherever it lies."""
    exams = LabelExams(journal, 10, 10)
    exams.choose()
    new = Arrival(Example(id="new", target="l1"), "exam", SAID)
    journal.append(NewStep(arrivals=[new]), keep_text=False)
    middle, last = journal.next_offset // 2, journal.last_step - 1
    return {
        "a start": lambda: Journal(journal.database),
        "its check": lambda: soundness.find_problem(journal.database, whole=False),
        "an exam": lambda: (exams.choose(), exams.since(journal.next_offset - 5)),
        "an id": lambda: journal.examples.offsets_of([f"m{middle}"]),
        "what is held": lambda: list(held_examples(journal, offsets=[middle, middle - 1])),
        "what a version held": lambda: list(held_examples(journal, 30, [9], revision=0)),
        "what was taken back": lambda: num_taken_back(journal, 1),
        "a known id": lambda: journal.known([f"m{middle}"]),
        "the last offset": lambda: journal.last_offset_of(last),
        "the end taken back": lambda: journal.rewind(last),
    }


def test_work_on_one_example_or_one_interval_takes_the_same_in_a_journal_ten_times_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundness, "_CHECKED_BYTES", 0)
    monkeypatch.setattr(soundness, "_CHECKED_ROWS", 20)
    found: dict[str, list[int]] = {}
    for num_steps in (40, 400):
        with filled(tmp_path / f"{num_steps}.sqlite", num_steps) as journal:
            for name, work in work_on(journal).items():
                found.setdefault(name, []).append(instructions(journal, work))
    assert {name: pair for name, pair in found.items() if pair[1] > 1.2 * pair[0] + 5} == {}


def test_what_is_held_is_told_in_a_room_that_does_not_grow(tmp_path: Path) -> None:
    peaks = []
    for num_steps in (60, 600):
        with filled(tmp_path / f"{num_steps}.sqlite", num_steps) as journal:
            list(held_examples(journal, offsets=[1]))
            tracemalloc.start()
            number = sum(1 for _ in held_examples(journal, with_codes=False))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert number == (num_steps - 3) * (A_STEP - 2)
    assert peaks[1] < 2 * peaks[0]


def test_a_target_for_one_of_many_that_wait_is_entered_at_once() -> None:
    waiting = [(k, Example(id=f"{k}", target="old")) for k in range(1, 50_001)]
    queue = DueQueue(50_000, waiting, 0)
    began = time.process_time()
    for k in range(1, 50_001, 5):
        queue.correct(k, "new")
    queue.correct(60_000, "of none")
    assert time.process_time() - began < 2.0  # to look through the queue each time takes minutes
    due, span = queue.flush(7)
    assert [one.target for one in due] == ["new", "old", "old", "old", "old", "new", "old"]
    assert span == (1, 7)
    due, span = queue.push([(50_001, Example(id="x", target="y"))], 50_002)
    assert (due, span, len(queue)) == ([], None, 49_994)

"""The journal by itself: what is written comes back, in the order and with the targets of its time."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.errors import RunError, StateError
from everlearn.journal import database as database_module
from everlearn.journal.checkpoints import CheckpointStore
from everlearn.journal.deletion.compaction import compact_journal
from everlearn.journal.digest import content_digest
from everlearn.journal.fold_steps import fold_step
from everlearn.journal.history import History
from everlearn.journal.journal import Journal
from everlearn.journal.records import (
    After,
    Arrival,
    Change,
    ChangeKind,
    JournaledPrediction,
    KeptRejection,
    NewStep,
)
from everlearn.journal.schema import SCHEMA_VERSION
from everlearn.journal.standing.held import HeldTargets, held_examples
from everlearn.types import Code, Example, State


def example(number: int, target: str | None = "a") -> Example:
    generator = np.random.default_rng(number)
    code = Code(
        generator.integers(-127, 128, size=12).astype(np.int8),
        np.unique(generator.integers(0, 2**32, size=3)).astype(np.uint32),
        np.full(3, 9, np.uint8),
    )
    return Example(
        id=f"e{number}", text=f"text {number}", target=target, domain="d", code=code, fields={"n": number}
    )


def step(numbers: range, first: int, target: str | None = "a") -> NewStep:
    said = JournaledPrediction("b", 0.75, 0.25, 0.5, False, (("b", 0.75), ("a", 0.25)))
    arrivals = [Arrival(example(number, target), "learn", said) for number in numbers]
    return NewStep(
        source="stream",
        progress={"key": "stream", "cursor": {"line": numbers.stop}},
        arrivals=arrivals,
        learned=(first, first + len(arrivals) - 1) if arrivals else None,
        rejected=[KeptRejection("stream:1", "blank", "…")],
        after=After(settle=True),
    )


def test_what_is_appended_comes_back(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j.sqlite") as journal:
        journal.append(step(range(5), 1), keep_text=True)
        digest = content_digest(journal)
    with Journal.open_to_read(tmp_path / "j.sqlite") as journal:
        assert content_digest(journal) == digest
        made = fold_step(journal, journal.step(1))
        assert [one.id for one in made.learned] == [f"e{k}" for k in range(5)]
        first = made.arrivals[0]
        assert first.example.text == "text 0"
        assert first.example.fields == {"n": 0}
        assert first.example.code == example(0).code
        assert first.prediction is not None
        assert first.prediction.top == (("b", 0.75), ("a", 0.25))
        assert journal.progress() == {"stream": {"key": "stream", "cursor": {"line": 5}}}
        assert journal.step(1).after == After(settle=True)
        assert [one.reason for one in journal.rejections.all()] == ["blank"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            journal.set_meta("a", "b")


def test_a_journal_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    Journal.create(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opened in (Journal.open_to_write, Journal.open_to_read):
        with pytest.raises(RunError, match=rf"newer format version 99.*up to {SCHEMA_VERSION}"):
            opened(path)
    connection = sqlite3.connect(tmp_path / "other.sqlite")
    connection.execute("CREATE TABLE mine (a)")
    connection.close()
    with pytest.raises(RunError, match="is no everlearn journal"):
        Journal.open_to_write(tmp_path / "other.sqlite")
    with pytest.raises(StateError, match="is missing"):
        Journal.open_to_read(tmp_path / "nothing.sqlite")


def test_a_crash_while_the_tables_are_made_leaves_a_journal_that_can_be_made(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"")
    with Journal.open_to_write(path) as journal:
        journal.append(step(range(3), 1), keep_text=False)
        assert journal.num_examples() == 3


def test_a_clock_that_is_set_back_makes_no_step_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        hour_now = 12

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 5, 1, cls.hour_now, tzinfo=UTC)

    monkeypatch.setattr(database_module, "datetime", Clock)
    with Journal.create(tmp_path / "j.sqlite") as journal:
        journal.append(step(range(2), 1), keep_text=True)
    Clock.hour_now = 3
    with Journal.open_to_write(tmp_path / "j.sqlite") as journal:
        journal.append(step(range(2, 4), 3), keep_text=True)
        assert journal.step(2).time == journal.step(1).time == "2026-05-01T12:00:00.000+00:00"
        # Nothing is a day old, whatever the clock says.
        assert compact_journal(journal, drop_text_after_days=1).num_texts_dropped == 0
        assert compact_journal(journal, drop_text_after_days=0).num_texts_dropped == 4


def test_rewinding_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j.sqlite") as journal:
        journal.append(step(range(4), 1), keep_text=True)
        before, chain = content_digest(journal), journal.chain
        journal.append(
            replace(step(range(4, 9), 5), changes=[Change(2, "correction", "a", "c")]), keep_text=True
        )
        assert journal.known(["e1"])["e1"].target == "c"
        journal.rewind(1)
        assert (content_digest(journal), journal.chain, journal.next_offset) == (before, chain, 5)
        assert journal.known(["e1", "e7"]).keys() == {"e1"}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_held_targets_equal_a_plain_fold(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Batches, corrections, readmissions and set-aside steps in any order, against a dictionary."""
    path = tmp_path_factory.mktemp("j") / "j.sqlite"
    with Journal.create(path) as journal:
        history = History(journal.database)
        made: list[tuple[int, dict[int, str | None], list[Change]]] = []
        set_aside: set[int] = set()
        targets: dict[int, str | None] = {}

        def state(until: int) -> dict[int, str]:
            held: dict[int, str] = {}
            for number, arrived, changes in made:
                if number > until or number in set_aside:
                    continue
                held |= {offset: target for offset, target in arrived.items() if target is not None}
                held |= {change.offset: change.target for change in changes}
            return held

        for turn in range(data.draw(st.integers(1, 8))):
            count = data.draw(st.integers(0, 3))
            first = journal.next_offset
            given_targets = data.draw(
                st.lists(st.sampled_from(["a", "b", None]), min_size=count, max_size=count)
            )
            arrivals = [
                Arrival(example(first + k, target), "learn") for k, target in enumerate(given_targets)
            ]
            changes = []
            held = state(journal.last_step)
            for offset in data.draw(st.sets(st.sampled_from(sorted(targets)))) if targets else ():
                target = data.draw(st.sampled_from(["c", "d"]))
                if targets[offset] != target:
                    kind: ChangeKind = "correction" if offset in held else "target"
                    changes.append(Change(offset, kind, targets[offset], target))
                    targets[offset] = target
            learned = (first, first + count - 1) if count else None
            done = journal.append(
                NewStep(arrivals=arrivals, learned=learned, changes=changes), keep_text=False
            )
            arrived = {first + k: target for k, target in enumerate(given_targets)}
            targets |= arrived
            made.append((done.step, arrived, changes))
            if data.draw(st.booleans()) and turn % 2:
                begin = data.draw(st.integers(1, journal.last_step))
                later = {change.offset for n, _, cs in made for change in cs if n >= begin}
                if not later:  # what was corrected since cannot be taken back to the old target
                    revision = history.revise("quarantine", begin, journal.last_step, "test", {})
                    set_aside |= set(history.set_aside(begin, journal.last_step, revision))
        for until in range(1, journal.last_step + 1):
            found = {offset: str(one.target) for offset, one in held_examples(journal, until)}
            assert found == state(until)
        newest = HeldTargets(journal)
        for offset in targets:
            came_with = next(arrived[offset] for _, arrived, _ in made if offset in arrived)
            assert journal.standings.of(offset, "learn", came_with).targets == newest.all(
                offset, "learn", came_with
            )


def test_checkpoints_are_kept_by_number_hour_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        minutes = 0

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 5, 1, tzinfo=UTC) + timedelta(minutes=cls.minutes)

    monkeypatch.setattr(database_module, "datetime", Clock)
    (tmp_path / "checkpoints").mkdir()
    with Journal.create(tmp_path / "j.sqlite") as journal:
        store = CheckpointStore(tmp_path / "checkpoints", journal)
        for number in range(12):  # every twenty minutes, through four hours
            Clock.minutes = 20 * number
            journal.append(step(range(number, number + 1), number + 1), keep_text=False)
            store.save(State({}, {"n": number}), {}, step=number + 1)
        files = {one.step: one.file for one in History(journal.database).checkpoints()}

        def kept() -> list[int]:
            steps = sorted(one.step for one in History(journal.database).checkpoints())
            assert {one.name for one in (tmp_path / "checkpoints").iterdir()} == {files[k] for k in steps}
            return steps

        store.prune(keep=2, keep_hourly=3, always=[files[1], files[5]])
        # The two newest; the newest of each of the last three hours; what was asked for by name.
        assert kept() == [1, 5, 6, 9, 11, 12]
        store.prune(keep=1, keep_hourly=0, always=[])
        assert kept() == [12]
        assert store.load(files[12]).learner.data == {"n": 11}

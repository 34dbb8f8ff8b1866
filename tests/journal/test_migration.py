"""A journal of the first format, brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from benchmarks.crashes.older_format import to_first_format
from tests.runtime.conftest import SMALL, clustered_examples, write_codes_file

from everlearn.errors import RunError, StateError
from everlearn.journal.database import Database
from everlearn.journal.digest import content_digest
from everlearn.journal.journal import Journal
from everlearn.journal.opening import open_journal
from everlearn.journal.repair.repair import repair_journal
from everlearn.journal.schema import SCHEMA_VERSION
from everlearn.journal.standing.held import held_examples
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.folder.run_folder import JOURNAL, RunFolder
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with versions and checkpoints, its journal of the first format."""
    examples: Sequence[Example] = clustered_examples(200)
    write_codes_file(tmp_path / "stream.parquet", examples)
    learn_stream(LearnRequest(stream=str(tmp_path / "stream.parquet"), out=tmp_path / "run", settings=SMALL))
    to_first_format(tmp_path / "run")
    return tmp_path / "run"


def said_by(path: Path) -> str:
    with open_journal(path).journal as journal:
        assert journal.database.version == SCHEMA_VERSION
        return content_digest(journal)


def test_it_says_the_same_and_goes_on(run: Path, tmp_path: Path) -> None:
    with sqlite3.connect(run / JOURNAL) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
        before = connection.execute("SELECT file, step, sha256 FROM checkpoints").fetchall()
    with pytest.raises(RunError, match="older format version 1; a command that writes"):
        Journal.open_to_read(run / JOURNAL)
    write_codes_file(tmp_path / "more.parquet", clustered_examples(50, start=200))
    outcome = learn_stream(LearnRequest(stream=str(tmp_path / "more.parquet"), out=run))
    assert outcome.summary["examples"] == 250
    with RunFolder.open_to_read(run) as folder:
        assert (folder.journal.database.version, folder.journal.generation) == (SCHEMA_VERSION, 0)
        assert {one.generation for one in folder.history.checkpoints()} == {0}
        kept = {one.file for one in folder.history.checkpoints()}
        assert {row[0] for row in before} & kept  # the first version's
        assert sum(1 for _ in held_examples(folder.journal)) == 250
    assert verify_run(run).is_valid


def test_interrupted_anywhere_it_is_done_as_a_whole_the_next_time(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute, left = Database.execute, [0]

    def interrupted(self: Database, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return execute(self, sql, values)

    num_interrupted = 0
    expected = None
    for number in range(30):
        to_first_format(run)
        left[0] = number
        with monkeypatch.context() as patched:
            patched.setattr(Database, "execute", interrupted)
            try:
                Database.open_to_write(run / JOURNAL).close()
            except KeyboardInterrupt:
                num_interrupted += 1
        said = said_by(run / JOURNAL)
        expected = expected or said
        assert said == expected
    assert 8 < num_interrupted < 30


def test_what_is_told_of_an_older_one_with_a_damaged_log_is_true(run: Path) -> None:
    path = run / JOURNAL
    log, shared = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    connection = sqlite3.connect(path, isolation_level=None)
    last_step = connection.execute("SELECT MAX(step) FROM steps").fetchone()[0]
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    for number in range(3):
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('x', ?)", (str(number) * 5_000,))
    left = log.read_bytes()
    connection.close()
    page_bytes = int.from_bytes(path.read_bytes()[16:18], "big")
    at = 32 + 24 + page_bytes + 500
    log.write_bytes(left[:at] + bytes([left[at] ^ 255]) + left[at + 1 :])
    shared.unlink(missing_ok=True)
    opened = open_journal(path)
    with opened.journal as journal:
        assert journal.last_step == last_step > 0
    assert any(f"goes on after step {last_step:,}" in note for note in opened.notes)


def test_an_older_one_is_checked_though_a_log_is_beside_it(run: Path) -> None:
    path = run / JOURNAL
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE steps SET crc = crc + 1 WHERE step = 2")
    log = path.with_name(f"{path.name}-wal")
    beside = log.read_bytes()
    connection.close()
    log.write_bytes(beside)
    with pytest.raises(StateError, match="damaged"):
        open_journal(path)


def test_a_damaged_one_is_repaired_into_the_present_format(run: Path) -> None:
    with sqlite3.connect(run / JOURNAL) as connection:
        connection.execute("UPDATE predictions SET crc = crc + 1 WHERE offset = 3")
    repaired = repair_journal(run / JOURNAL, run / "checkpoints")
    assert repaired.tables["predictions"].num_lost == 1
    assert repaired.tables["checkpoints"].num_kept > 0
    assert repaired.lost_steps == []
    assert verify_run(run).is_valid

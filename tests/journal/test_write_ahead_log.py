from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from everlearn.journal.write_ahead_log import LogState, inspect_log

PAGE = 16_384
FRAME = PAGE + 24
NUM_COMMITS = 12


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Has committed a table and NUM_COMMITS - 1 rows of three pages; nothing is in the main file."""
    connection = sqlite3.connect(tmp_path / "live.sqlite", isolation_level=None)
    for pragma in (f"page_size={PAGE}", "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE t (x)")
    for number in range(NUM_COMMITS - 1):
        connection.execute("INSERT INTO t VALUES (?)", (bytes([number]) * 3 * PAGE,))
    yield connection
    connection.close()


@pytest.fixture
def log(connection: sqlite3.Connection, tmp_path: Path) -> Path:
    """The log of a copy of that, without the shared index: as after a power failure."""
    for suffix in ("", "-wal"):
        shutil.copyfile(tmp_path / f"live.sqlite{suffix}", tmp_path / f"copy.sqlite{suffix}")
    return tmp_path / "copy.sqlite-wal"


def inspected(log: Path) -> LogState:
    return inspect_log(log.with_name(log.name.removesuffix("-wal")))


def recovered_commits(log: Path) -> int:
    """How many commits SQLite itself takes from the log."""
    path = log.with_name(log.name.removesuffix("-wal"))
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        if not connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            return 0
        return int(connection.execute("SELECT COUNT(*) FROM t").fetchone()[0]) + 1
    finally:
        connection.close()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def test_a_whole_log_is_whole(log: Path) -> None:
    state = inspected(log)
    assert state.num_transactions == NUM_COMMITS == recovered_commits(log)
    assert state.num_frames == (log.stat().st_size - 32) // FRAME
    assert not state.damage
    assert not state.num_unfinished


def test_no_log_is_no_damage(tmp_path: Path) -> None:
    assert inspect_log(tmp_path / "nothing.sqlite") == LogState()
    (tmp_path / "empty.sqlite-wal").touch()
    assert inspect_log(tmp_path / "empty.sqlite") == LogState()


@pytest.mark.parametrize("seed", range(30))
def test_a_flipped_bit_is_noticed_and_its_place_told(log: Path, seed: int) -> None:
    at = random.Random(seed).randrange(32, log.stat().st_size)
    flip(log, at)
    state = inspected(log)
    assert f"frame {(at - 32) // FRAME + 1} of" in state.damage
    assert state.num_lost >= 1
    assert state.num_transactions == recovered_commits(log)
    assert state.num_transactions + state.num_lost in (NUM_COMMITS, NUM_COMMITS - 1)


def test_a_damaged_header_is_told(log: Path) -> None:
    flip(log, 17)
    state = inspected(log)
    assert "header" in state.damage
    assert (state.num_transactions, recovered_commits(log)) == (0, 0)
    assert state.num_lost >= NUM_COMMITS - 1


@pytest.mark.parametrize("seed", range(10))
def test_a_transaction_cut_short_is_a_crash_not_damage(log: Path, seed: int) -> None:
    size = random.Random(seed).randrange(32, log.stat().st_size)
    with log.open("r+b") as file:
        file.truncate(size)
    state = inspected(log)
    assert not state.damage
    assert state.num_transactions == recovered_commits(log)


def test_a_lost_end_is_known_from_the_shared_index(log: Path, tmp_path: Path) -> None:
    shutil.copyfile(tmp_path / "live.sqlite-shm", tmp_path / "copy.sqlite-shm")
    assert not inspected(log).damage
    with log.open("r+b") as file:
        file.truncate(32 + 9 * FRAME)
    state = inspected(log)
    assert "had been committed" in state.damage
    assert state.num_lost == 1
    log.unlink()
    assert "missing" in inspected(log).damage


def test_an_uncommitted_rest_is_no_damage(connection: sqlite3.Connection, tmp_path: Path) -> None:
    connection.execute("PRAGMA cache_size=2")
    connection.execute("BEGIN")
    for _ in range(5):
        connection.execute("INSERT INTO t VALUES (?)", (bytes(3 * PAGE),))
    state = inspect_log(tmp_path / "live.sqlite")
    assert state.num_unfinished > 0
    assert state.num_transactions == NUM_COMMITS
    assert not state.damage


def test_leftovers_of_an_earlier_use_are_no_damage(connection: sqlite3.Connection, tmp_path: Path) -> None:
    size = (tmp_path / "live.sqlite-wal").stat().st_size
    connection.execute("PRAGMA wal_checkpoint(RESTART)")
    connection.execute("INSERT INTO t VALUES (1)")
    state = inspect_log(tmp_path / "live.sqlite")
    assert (tmp_path / "live.sqlite-wal").stat().st_size == size
    assert (state.num_transactions, state.damage) == (1, "")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert inspect_log(tmp_path / "live.sqlite") == LogState()


@pytest.mark.parametrize("order", ["little", "big"])
def test_both_byte_orders_are_read(tmp_path: Path, order: str) -> None:
    """A log made by hand, with the checksum as the file format's documentation writes it."""
    letter = "<" if order == "little" else ">"
    little: bool = order == "little"

    def sums(data: bytes, s0: int, s1: int) -> tuple[int, int]:
        words = memoryview(data)
        for k in range(0, len(data), 8):
            x0, x1 = (int.from_bytes(words[j : j + 4], "little" if little else "big") for j in (k, k + 4))
            s0 = (s0 + x0 + s1) & 0xFFFFFFFF
            s1 = (s1 + x1 + s0) & 0xFFFFFFFF
        return s0, s1

    def big(*values: int) -> bytes:
        return b"".join(value.to_bytes(4, "big") for value in values)

    header = big(0x377F0682 if little else 0x377F0683, 3_007_000, 512, 0, 5, 6)
    pair = sums(header, 0, 0)
    data = header + big(*pair)
    generator = random.Random(letter)
    for number in range(1, 5):
        page = generator.randbytes(512)
        begin = big(number, number if number % 2 == 0 else 0)
        pair = sums(begin + page, *pair)
        data += begin + big(5, 6, *pair) + page
    (tmp_path / "made.sqlite-wal").write_bytes(data)
    state = inspect_log(tmp_path / "made.sqlite")
    assert (state.num_frames, state.num_transactions, state.damage) == (4, 2, "")

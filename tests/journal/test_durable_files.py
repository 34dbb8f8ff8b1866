from __future__ import annotations

import errno
import hashlib
import sqlite3
from pathlib import Path

import pytest

from everlearn.errors import StorageError
from everlearn.journal.durable_files import replacing, sha256_of, storage_errors, write_json, write_text


def test_replacing_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "one")
    write_text(path, "two ü")
    assert path.read_text(encoding="utf-8") == "two ü"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(UnicodeEncodeError), replacing(path) as temporary:
        temporary.write_text("half of it\ud800", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == '{"a": 1}\n'
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_sha256_is_that_of_hashlib(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "data").write_bytes(data)
    assert sha256_of(tmp_path / "data") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG])
def test_full_and_forbidden_disks_become_storage_errors(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(StorageError, match=r"cannot write .*file.* intact"),
        storage_errors(tmp_path / "file", "The rest is intact."),
    ):
        raise OSError(number, "told by the system")


def test_messages_of_other_libraries_are_understood(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No space left"), storage_errors(tmp_path):
        raise OSError("Error writing bytes to file. Detail: [errno 28] No space left on device")
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    with pytest.raises(StorageError, match="disk is full"), storage_errors(tmp_path):
        raise full


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")
    with pytest.raises(KeyError), storage_errors(tmp_path):
        raise KeyError("x")

"""A run or hub that is served and learns is backed up as it is at one moment, and restored whole."""

from __future__ import annotations

import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.service.conftest import NUM_LEARNED
from tests.service.running import Running, demo_rows
from typer.testing import CliRunner

from everlearn import Example, Hub, Run
from everlearn.cli.app import app
from everlearn.errors import RunError, StateError
from everlearn.journal.journal import Journal
from everlearn.runtime.commands.backup import back_up, restore
from everlearn.runtime.folder.run_folder import JOURNAL
from everlearn.service.folder import service_folder
from everlearn.service.keys import KEYS_FILE, add_key, read_keys


@pytest.fixture
def archive(desk: Path, tmp_path: Path) -> Path:
    back_up(desk, tmp_path / "desk.tar")
    return tmp_path / "desk.tar"


@contextmanager
def streaming(service: Running) -> Iterator[list[str]]:
    """Labels stream into a service as long as the block lasts; gives the ids that were acknowledged."""
    acknowledged: list[str] = []
    has_begun, is_over = threading.Event(), threading.Event()

    def stream() -> None:
        for row in demo_rows(400, start=NUM_LEARNED):
            if is_over.is_set():
                return
            service.post("/v1/learn", **row)
            acknowledged.append(row["id"])
            has_begun.set()

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        assert has_begun.wait(30)
        yield acknowledged
    finally:
        is_over.set()
        thread.join()


def test_a_service_is_backed_up_while_labels_stream_in(service: Running, tmp_path: Path) -> None:
    said = service.predict("a prediction to be remembered")
    service.get("/v1/service")  # which waits until it is written
    with streaming(service) as acknowledged:
        before = list(acknowledged)
        early = back_up(service.place, tmp_path / "early.tar")
    final = back_up(service.place, tmp_path / "final.tar")
    assert early.steps[""] < final.steps[""]
    last = restore(final.path, tmp_path / "last" / "desk").path
    assert fingerprint_of(last) == service.get("/v1/fingerprint")["fingerprint"]
    restored = restore(early.path, tmp_path / "restored" / "desk").path
    with Run.open(restored) as run:
        assert run.predictor().step == early.steps[""]
        assert set(before) <= set(run.known(before))  # what was acknowledged before is in it
    # The run as it was at that step, folded from the journal alone.
    with Journal.open_to_write(last / JOURNAL) as journal:
        journal.rewind(early.steps[""])
    assert fingerprint_of(restored) == fingerprint_of(last)
    with closing(sqlite3.connect(restored / "service" / "predictions.sqlite")) as predictions:
        found = predictions.execute("SELECT text FROM predictions WHERE id = ?", (said["id"],)).fetchone()
    assert found == ("a prediction to be remembered",)


def fingerprint_of(run: Path) -> str:
    with Run.open(run) as opened:
        return opened.fingerprint()


def examples(rows: list[dict[str, str]]) -> list[Example]:
    return [Example(id=row["id"], text=row["text"], target=row["target"]) for row in rows]


def test_versions_and_acts_come_along(service: Running, tmp_path: Path) -> None:
    service.post("/v1/learn", id="an-act", text="who has done this?", target="acting")
    restored = restore(back_up(service.place, tmp_path / "a.tar").path, tmp_path / "restored" / "desk").path
    with Run.open(restored, mode="read") as run:
        assert "an-act" in run.acts(limit=1_000)[-1].ids
        assert [one.version for one in run.versions().versions] == [
            one["version"] for one in service.get("/v1/versions")["versions"]
        ]


def test_a_hub_is_backed_up_with_its_tenants(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    rows = demo_rows(60)
    with Hub.open(hub) as opened:
        for name in ("a", "b", "empty"):
            opened.add(name)
        opened.learn("a", examples(rows[:40]))
        opened.learn("b", examples(rows[40:]))
        with opened.run("a") as run:
            expected = run.fingerprint()
        done = back_up(hub, tmp_path / "hub.tar")  # which is open here
    assert done.steps == {"a": 1, "b": 1}
    restored = restore(done.path, tmp_path / "restored").path
    with Hub.open(restored) as again:
        assert again.tenants() == ["a", "b", "empty"]
        with again.run("a") as run:
            assert run.fingerprint() == expected


def test_keys_come_along_only_where_that_is_asked_for(desk: Path, tmp_path: Path) -> None:
    given = add_key(service_folder(desk), "helpdesk", "label")
    left_out = back_up(desk, tmp_path / "bare.tar")
    assert any("--with-keys" in note for note in left_out.notes)
    without = restore(left_out.path, tmp_path / "bare")
    assert any("everlearn keys add" in note and "--with-keys" in note for note in without.notes)
    bare = without.path
    assert read_keys(service_folder(bare)) == []
    taken = back_up(desk, tmp_path / "keys.tar", with_keys=True)
    brought = restore(taken.path, tmp_path / "whole")
    assert [*taken.notes, *brought.notes] == []
    whole = brought.path
    assert [key.name for key in read_keys(service_folder(whole))] == ["helpdesk"]
    assert (service_folder(whole) / KEYS_FILE).stat().st_mode & 0o777 == 0o600
    for path in (tmp_path / "bare.tar", tmp_path / "keys.tar"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert given.encode() not in path.read_bytes()


def test_nothing_is_overwritten(desk: Path, archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(RunError, match="overwrites nothing"):
        back_up(desk, archive)
    assert archive.read_bytes() == before
    with pytest.raises(RunError, match="a new folder"):
        restore(archive, desk)
    with Run.open(desk) as run:
        assert run.held().num_examples == NUM_LEARNED
    with pytest.raises(RunError, match="lies within"):
        back_up(desk, desk / "backup.tar")
    with pytest.raises(RunError, match="neither a run nor a hub"):
        back_up(tmp_path, tmp_path / "other.tar")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.997])
def test_an_archive_that_is_cut_off_is_refused(archive: Path, tmp_path: Path, share: float) -> None:
    size = archive.stat().st_size
    os.truncate(archive, int(size * share))
    with pytest.raises((StateError, RunError), match=r"cut off|no backup"):
        restore(archive, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
    assert not list(tmp_path.glob(".restored*"))


def test_a_flipped_bit_is_found(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        entry = tar.getmember("journal.sqlite")
        at = entry.offset_data + entry.size // 2
    with archive.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(StateError, match=r"journal\.sqlite does not match its SHA-256"):
        restore(archive, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_an_archive_writes_nowhere_else(archive: Path, tmp_path: Path, name: str) -> None:
    forged = tmp_path / "forged.tar"
    with tarfile.open(archive) as source, tarfile.open(forged, "w") as tar:
        for entry in source:
            if entry.name == "run.json":
                entry.name = name
            tar.addfile(entry, source.extractfile(entry))
    with pytest.raises(StateError, match="holds the path"):
        restore(forged, tmp_path / "in" / "restored")
    assert not (tmp_path / "in" / "outside").exists()
    assert not (tmp_path / "outside").exists()


def test_what_is_no_backup_is_told(tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"no archive at all" * 100)
    with pytest.raises(RunError, match="no backup"):
        restore(tmp_path / "no.tar", tmp_path / "restored")
    with pytest.raises(RunError, match="is not there"):
        restore(tmp_path / "none.tar", tmp_path / "restored")


def test_the_commands_say_what_they_did(desk: Path, tmp_path: Path) -> None:
    def everlearn(*arguments: str | Path) -> dict[str, Any]:
        ended = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        assert ended.exit_code == 0, ended.output
        return dict(json.loads(ended.stdout))

    made = everlearn("backup", desk, "--out", tmp_path / "desk.tar")
    assert made["bytes"] == (tmp_path / "desk.tar").stat().st_size
    assert made["steps"] == {"": 1}
    back = everlearn("restore", tmp_path / "desk.tar", "--out", tmp_path / "restored")
    assert (back["files"], back["steps"]) == (made["files"], made["steps"])
    assert fingerprint_of(tmp_path / "restored") == fingerprint_of(desk)
    again = CliRunner().invoke(app, ["restore", str(tmp_path / "desk.tar"), "--out", str(desk)])
    assert again.exit_code == RunError.exit_code

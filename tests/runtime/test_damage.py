"""Random damage to the files of a run: the run goes on to the same end, or says what is wrong."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.runtime.conftest import SMALL, clustered_examples, write_codes_file

from everlearn.errors import RunError, StateError
from everlearn.journal.standing.held import held_examples
from everlearn.runtime.commands import learn as learn_module
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.repair import repair_json, repair_run
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import SILENT, Progress

PAGE = 16_384
SETTINGS = SMALL | {"stream.batch_size": 16, "run.checkpoint_seconds": 0.05}
NAMES_DAMAGE = ("damage", "Not used", "lost")


@dataclass(frozen=True)
class Material:
    """Runs to be damaged.

    Attributes:
        stream: What they learn.
        closed: Stopped in the middle and closed.
        crashed: Stopped there, continued, and cut off: steps are in the write-ahead log.
        carried: As ``crashed``, with a log that had been brought over into the main file.
        fingerprint: Of a run that nothing happened to.
        held: What it holds.
    """

    stream: Path
    closed: Path
    crashed: Path
    carried: Path
    fingerprint: str
    held: frozenset[tuple[str, str | None]]


class StopAt:
    """Asks for a stop after some batches, and copies the run as a crash would leave it."""

    def __init__(
        self, batches: int, run: Path, copy: Path | None = None, *, is_carried: bool = False
    ) -> None:
        self.flag = StopFlag()
        self._left, self._run, self._copy, self._is_carried = batches, run, copy, is_carried

    def stage(self, text: str) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        self._left -= 1
        if self._left or self.flag.requested:
            return
        self.flag.requested = True
        if self._is_carried:
            connection = sqlite3.connect(self._run / "journal.sqlite")
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            connection.close()
        if self._copy is not None:
            shutil.copytree(self._run, self._copy)


def learn(stream: Path, run: Path, listener: StopAt | None = None) -> LearnOutcome:
    request = LearnRequest(stream=str(stream), out=run, settings=SETTINGS)
    return learn_stream(request, listener=listener or SILENT, stop=listener.flag if listener else None)


def held(run: Path) -> frozenset[tuple[str, str | None]]:
    with RunFolder.open_to_read(run) as folder:
        return frozenset((one.id, one.target) for _, one in held_examples(folder.journal))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    path = tmp_path_factory.mktemp("damage")
    stream = write_codes_file(path / "stream.parquet", clustered_examples(320))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn_module, "write_reader_files", lambda *_, **__: None)
        whole = learn(stream, path / "whole")
        run = path / "run"
        learn(stream, run, StopAt(14, run))
        for name, is_carried in (("crashed", False), ("carried", True)):
            again = path / "again" / name
            shutil.copytree(run, again)
            learn(stream, again, StopAt(3, again, path / name, is_carried=is_carried))
    assert (path / "crashed" / "journal.sqlite-wal").stat().st_size > 5 * PAGE
    return Material(
        stream=stream,
        closed=run,
        crashed=path / "crashed",
        carried=path / "carried",
        fingerprint=whole.summary["fingerprint"],
        held=held(path / "whole"),
    )


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn_module, "write_reader_files", lambda *_, **__: None)


def damage(path: Path, generator: random.Random, first: int = 0) -> None:
    """Flip bits, overwrite a stretch, or cut the end off, at a random place from ``first`` on."""
    data = bytearray(path.read_bytes())
    at = generator.randrange(min(first, len(data) - 1), len(data))
    match generator.randrange(4):
        case 0:
            data[at] ^= 1 << generator.randrange(8)
        case 1:
            data[at : at + 512] = generator.randbytes(len(data[at : at + 512]))
        case 2:
            data[at : at + 4096] = bytes(len(data[at : at + 4096]))
        case _:
            del data[at:]
    path.write_bytes(data)


def go_on(material: Material, run: Path) -> tuple[LearnOutcome, list[str]]:
    """Learn to the end, with a repair where the program asks for one; returns what was said too."""
    said: list[str] = []
    for _ in range(2):
        try:
            outcome = learn(material.stream, run)
        except StateError as error:
            if "journal repair RUN" not in str(error):
                raise
            said += [str(error), *repair_run(run).notes]
        else:
            return outcome, [*said, *outcome.notes]
    raise AssertionError(said)


def is_told(said: Sequence[str]) -> bool:
    return any(word in sentence for sentence in said for word in NAMES_DAMAGE)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("base", ["closed", "crashed"])
def test_damage_to_the_newest_checkpoint(tmp_path: Path, material: Material, base: str, seed: int) -> None:
    run = shutil.copytree(getattr(material, base), tmp_path / "run")
    newest = max((run / "checkpoints").iterdir(), key=lambda path: path.name)
    damage(newest, random.Random(seed))
    outcome, said = go_on(material, run)
    assert outcome.summary["fingerprint"] == material.fingerprint
    assert held(run) == material.held
    assert any(newest.name in sentence for sentence in said)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("base", ["crashed", "carried"])
@pytest.mark.parametrize("has_index", [True, False])
def test_damage_to_the_log(tmp_path: Path, material: Material, base: str, has_index: bool, seed: int) -> None:
    run = shutil.copytree(getattr(material, base), tmp_path / "run")
    if not has_index:
        (run / "journal.sqlite-shm").unlink()
    damage(run / "journal.sqlite-wal", random.Random(seed))
    outcome, _ = go_on(material, run)
    assert outcome.summary["fingerprint"] == material.fingerprint
    assert held(run) == material.held


@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize(("base", "place"), [("closed", "end"), ("closed", "all"), ("carried", "all")])
def test_damage_to_the_main_file(
    tmp_path: Path, material: Material, base: str, place: str, seed: int
) -> None:
    run = shutil.copytree(getattr(material, base), tmp_path / "run")
    journal = run / "journal.sqlite"
    damage(journal, random.Random(seed), journal.stat().st_size - PAGE if place == "end" else 0)
    outcome, said = go_on(material, run)
    assert outcome.summary["fingerprint"] == material.fingerprint
    try:
        is_same = held(run) == material.held
    except StateError as error:
        is_same = False
        said.append(str(error))
    assert is_same or is_told(said)


def test_a_lost_part_of_the_log_is_told_and_read_again(tmp_path: Path, material: Material) -> None:
    run = shutil.copytree(material.crashed, tmp_path / "run")
    log = run / "journal.sqlite-wal"
    data = bytearray(log.read_bytes())
    data[32 + 24 + 100] ^= 1
    log.write_bytes(data)
    with RunFolder.open_to_read(run) as folder:
        assert "frame 1 of" in folder.notes[0]
    outcome = learn(material.stream, run)
    assert outcome.summary["fingerprint"] == material.fingerprint
    assert "frame 1 of" in outcome.notes[0]
    copy = run / "journal.sqlite-wal.damaged-1"
    assert copy.read_bytes() == bytes(data)
    assert not any("damaged" in note for note in learn(material.stream, run).notes)
    forget_in_run(run, ids=["message-3"])
    assert not copy.exists()


def test_what_only_the_state_holds_is_not_folded_or_forgotten(tmp_path: Path, material: Material) -> None:
    run = shutil.copytree(material.closed, tmp_path / "run")
    connection = sqlite3.connect(run / "journal.sqlite")
    connection.execute("UPDATE codes SET crc = crc + 1 WHERE offset = 5")
    connection.commit()
    connection.close()
    report = repair_run(run)
    assert repair_json(report)["lost_steps"] == [1]
    outcome = learn(material.stream, run)
    assert outcome.summary["fingerprint"] == material.fingerprint
    with pytest.raises(RunError, match=r"'message-2' came with step 1, .*lost to damage"):
        forget_in_run(run, ids=["message-2"])
    assert forget_in_run(run, ids=["message-100"]).num_forgotten == 1
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "message-2", "label": "another"}\n{"id": "message-101", "label": "another"}\n')
    corrected = learn(other, run)
    assert corrected.summary["rejected"] == 1
    with RunFolder.open_to_read(run) as folder:
        assert "of whose step was lost" in next(one.reason for one in folder.journal.rejections.all())
    assert "lost to damage" in verify_run(run).failed[0]
    for one in (run / "checkpoints").iterdir():
        one.write_bytes(b"")
    with pytest.raises(StateError, match="step 1 cannot be made again"):
        learn(material.stream, run)

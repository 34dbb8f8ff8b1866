"""A deletion's certificate: no crash loses it, and it is not issued while deleted text may still be there."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import SMALL, clustered_examples, write_codes_file
from tests.runtime.text_runs import (
    Crash,
    documents,
    language_settings,
    learn,
    write_jsonl,
    write_language_model,
)

from everlearn.journal.database import Database
from everlearn.journal.deletion.certificates import Certificates
from everlearn.journal.standing.held import held_examples
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.runtime.deletion import deletion
from everlearn.runtime.deletion.forget import ForgetOutcome, forget_in_run, reissue_in_run
from everlearn.runtime.fold import certificates
from everlearn.runtime.fold.rewritten_versions import VersionRewriter
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.tuning_store import TuningStore
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run

ID, TEXT = "message-59", "text 59"  # no other one begins so
SETTINGS = SMALL | {"run.keep_text": True, "run.threads": 1}
BEFORE: list[tuple[Any, str]] = [
    (ClosedFormLearner, "solve"),
    (VersionRewriter, "prepare"),
    (deletion, "delete_examples"),
    (VersionRewriter, "adopt"),
    (Certificates, "write"),
]
AFTER: list[tuple[Any, str]] = [
    (certificates, "choose_served"),
    (RunFolder, "remove_outdated"),
    (TuningStore, "clear_if_idle"),
    (RunFolder, "write_rejections"),
    (certificates, "rebuild_report"),
    (certificates, "remove_damaged_copies"),
    (Database, "empty_log"),
    (certificates, "write_json"),
]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``run/`` with two versions, ``more.parquet`` to go on with."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, first in (("a", 0), ("b", 60), ("more", 120)):
        write_codes_file(folder / f"{name}.parquet", clustered_examples(60, start=first))
    learn(folder / "a.parquet", folder / "run", SETTINGS)
    learn(folder / "b.parquet", folder / "run")
    return folder


@pytest.fixture
def run(learned: Path, tmp_path: Path) -> Path:
    shutil.copytree(learned / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def undisturbed(learned: Path) -> ForgetOutcome:
    shutil.copytree(learned / "run", learned / "undisturbed")
    return forget_in_run(learned / "undisturbed", ids=[ID])


def crashing(function: Callable[..., Any], *, call: int, is_after: bool) -> Callable[..., Any]:
    calls = [0]

    def crash(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        result = function(*args, **kwargs) if calls[0] != call or is_after else None
        if calls[0] == call:
            raise Crash
        return result

    return crash


def says(run: Path, text: str) -> list[str]:
    return [path.name for path in run.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def check_certified(run: Path, undisturbed: ForgetOutcome) -> None:
    (file,) = (run / "certificates").iterdir()
    value = json.loads(file.read_text(encoding="utf-8"))
    assert undisturbed.certificate is not None
    expected = json.loads(undisturbed.certificate.read_text(encoding="utf-8"))
    for name in ("verify", "time", "run", "id_digests"):
        del value[name], expected[name]
    assert value == expected
    found = verify_run(run, certificate=file, ids=[ID])
    assert found.is_valid, found.failed
    assert says(run, TEXT) == says(run, ID) == []


@pytest.mark.parametrize(
    ("place", "name", "is_after"),
    [
        *((place, name, False) for place, name in [*BEFORE, *AFTER]),
        *((place, name, True) for place, name in [AFTER[0], AFTER[-2], AFTER[-1]]),
    ],
)
def test_a_crash_anywhere_loses_no_certificate(
    run: Path,
    learned: Path,
    undisturbed: ForgetOutcome,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    is_after: bool,
) -> None:
    with monkeypatch.context() as patch:
        # Opening a run removes what is outdated, too.
        call = 2 if name == "remove_outdated" else 1
        patch.setattr(place, name, crashing(getattr(place, name), call=call, is_after=is_after))
        with pytest.raises(Crash):
            forget_in_run(run, ids=[ID])
    with RunFolder.open_to_read(run) as folder:
        is_deleted = folder.history.num_forgotten() == 1
    assert is_deleted == ((place, name) in AFTER)
    if not is_deleted:
        assert forget_in_run(run, ids=[ID]).fingerprint_after == undisturbed.fingerprint_after
    elif is_after:
        # Any command that writes the run issues it, before anything else.
        outcome = learn(learned / "more.parquet", run)
        assert any("The certificate of an earlier deletion was issued" in note for note in outcome.notes)
    else:
        written, _, num_pending = reissue_in_run(run)
        assert (len(written), num_pending) == (1, 0)
    check_certified(run, undisturbed)


def test_a_crash_within_the_last_mark_writes_the_same_file_again(
    run: Path, undisturbed: ForgetOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Certificates, "write", crashing(Certificates.write, call=3, is_after=False))
        with pytest.raises(Crash):
            forget_in_run(run, ids=[ID])
    (file,) = (run / "certificates").iterdir()
    before = file.read_bytes()
    rollback_run(run, None)
    assert file.read_bytes() == before
    check_certified(run, undisturbed)


def test_a_file_that_is_lost_is_written_again_from_the_journal(run: Path) -> None:
    certificate = forget_in_run(run, ids=[ID]).certificate
    other = forget_in_run(run, ids=["message-9"]).certificate
    assert certificate is not None
    assert other is not None
    before = certificate.read_bytes()
    assert reissue_in_run(run) == ([], [], 0)
    certificate.unlink()
    assert reissue_in_run(run) == ([certificate], [], 0)
    assert certificate.read_bytes() == before


def test_a_language_model_is_folded_again_and_certified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, never = tmp_path / "run", tmp_path / "never"
    settings = language_settings(write_language_model(tmp_path / "model"), stream__batch_size=1)
    records = [{"id": f"d{k}", "text": text} for k, text in enumerate(documents(6, seed=1))]
    learn(write_jsonl(tmp_path / "a.jsonl", records), run, settings)
    rest = write_jsonl(tmp_path / "b.jsonl", [one for one in records if one["id"] != "d4"])
    fingerprint = learn(rest, never, settings).summary["fingerprint"]
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save", crashing(RunFolder.save, call=1, is_after=False))
        with pytest.raises(Crash):
            forget_in_run(run, ids=["d4"])
    ((certificate,), _, _) = reissue_in_run(run)
    assert json.loads(certificate.read_text())["fingerprint_after"] == fingerprint
    assert verify_run(run, certificate=certificate, ids=["d4"]).is_valid


@contextmanager
def busy_reader(run: Path) -> Iterator[None]:
    journal = f"file:{run}/journal.sqlite?mode=ro"
    with closing(sqlite3.connect(journal, uri=True, isolation_level=None)) as one:
        one.execute("BEGIN")
        one.execute("SELECT COUNT(*) FROM texts").fetchone()
        yield
        one.execute("ROLLBACK")


def test_a_busy_reader_holds_the_certificate_up_until_it_has_ended(
    run: Path, learned: Path, undisturbed: ForgetOutcome
) -> None:
    # A run that was cut off has its steps in the write-ahead log.
    with closing(sqlite3.connect(run / "journal.sqlite")) as keeps_the_log:
        keeps_the_log.execute("SELECT 1 FROM meta").fetchone()
        with busy_reader(run):
            outcome = forget_in_run(run, ids=[ID], wait_seconds=0.05)
            assert (outcome.num_forgotten, outcome.certificate, outcome.num_pending) == (1, None, 1)
            assert not (run / "certificates").exists()
            assert says(run, TEXT)
            written, notes, num_pending = reissue_in_run(run)
            assert (written, num_pending) == ([], 1)
            assert any("pending" in note and "--reissue" in note for note in notes)
        ((certificate,), _, num_pending) = reissue_in_run(run)
        assert num_pending == 0
        assert says(run, TEXT) == []
    assert certificate.is_file()
    check_certified(run, undisturbed)


class During:
    """A listener that does something once, at a stage."""

    def __init__(self, stage: str, action: Callable[[], object]) -> None:
        self._stage, self._action, self.is_done = stage, action, False

    def stage(self, text: str) -> None:
        if text.startswith(self._stage) and not self.is_done:
            self.is_done = True
            self._action()

    def progress(self, progress: object) -> None:
        pass


@pytest.mark.parametrize("stage", ["checking the journal's pages", "folding the journal"])
def test_a_sound_run_is_sound_while_it_learns_and_forgets(run: Path, learned: Path, stage: str) -> None:
    for action in (
        lambda: learn(learned / "more.parquet", run),
        lambda: forget_in_run(run, ids=[ID], wait_seconds=0.05),
        lambda: rollback_run(run, 1),
    ):
        listener = During(stage, action)
        found = verify_run(run, listener=listener)
        assert listener.is_done
        assert found.is_valid, found.failed
    # The reader that verified has ended.
    reissue_in_run(run)
    (certificate,) = (run / "certificates").iterdir()
    assert verify_run(run, certificate=certificate).is_valid


def test_what_changes_all_the_time_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = iter(range(10))
    listener = During("folding", lambda: None)

    def stage(text: str) -> None:
        if text.startswith("folding"):
            forget_in_run(run, ids=[f"message-{next(number)}"], wait_seconds=0.05)

    monkeypatch.setattr(listener, "stage", stage)
    with pytest.raises(Exception, match=r"was changed .* each time while it was verified"):
        verify_run(run, listener=listener)


def test_a_reader_ends_where_its_state_does(run: Path, learned: Path) -> None:
    with RunFolder.open_to_read(run) as folder:
        assert folder.newest_checkpoint().step == folder.journal.last_step
        before = folder.journal.last_step
        learn(learned / "more.parquet", run)
        assert [one.step for one in folder.journal.steps_after(before)] == []
        assert folder.journal.num_examples() == 120
        checkpoint = folder.newest_checkpoint()
        learner = folder.fresh_learner()
        learner.restore(checkpoint.learner)
        held = list(held_examples(folder.journal, checkpoint.step))
        assert len(held) == learner.num_examples == 180


def test_what_a_certificate_claims_is_checked_or_said_not_to_be(run: Path, tmp_path: Path) -> None:
    first = forget_in_run(run, ids=["message-3", "message-4"]).certificate
    assert first is not None
    claimed = json.loads(first.read_text())
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(claimed | {"num_deleted": 7}))
    assert verify_run(run, certificate=first).is_valid
    assert verify_run(run, certificate=forged).failed == ["it says 7 examples were deleted, and names 2"]
    assert forget_in_run(run, ids=["message-5"]).num_forgotten == 1
    later = verify_run(run, certificate=first)
    assert later.is_valid
    assert not any("fingerprint" in text for text in later.passed)
    assert [text.partition(":")[0] for text in later.unchecked] == [
        "the fingerprint before the deletion",
        "the fingerprint after it",
    ]

"""What surrounds a run: its folders on the disk, their removal, figures of a sitting that did not end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.text_runs import (
    Crash,
    crash_at_step,
    documents,
    language_settings,
    learn,
    write_jsonl,
    write_language_model,
)

from everlearn.errors import InputError, RunError
from everlearn.journal.durable_files import make_folder
from everlearn.journal.lock import acquire_lock
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.folder import run_folder
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run
from everlearn.settings import RunConfig
from everlearn.tasks.classification import scores as label_scores
from everlearn.tasks.records import LearnerRecord

Settings = dict[str, Any]


@pytest.fixture
def fsynced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is brought to the disk, in order."""
    found: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return found


def test_new_folders_are_brought_to_the_disk(tmp_path: Path, fsynced: list[str]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert fsynced == [str(tmp_path), str(tmp_path / "a")]
    make_folder(tmp_path / "a" / "b")
    assert len(fsynced) == 2
    with RunFolder.create(tmp_path / "runs" / "one", RunConfig(), LearnerRecord(kind="gradient")):
        assert {str(tmp_path), str(tmp_path / "runs"), str(tmp_path / "runs" / "one")} <= set(fsynced)


def test_nobody_gets_the_lock_of_a_folder_before_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    folder = RunFolder.create(path, RunConfig(), LearnerRecord(kind="gradient"))
    remove_own = run_folder._remove_own
    tried = []

    def removing(of: Path) -> None:
        with pytest.raises(RunError, match="open in this process already"):
            acquire_lock(path)
        tried.append(of)
        remove_own(of)

    monkeypatch.setattr(run_folder, "_remove_own", removing)
    folder.remove()
    assert tried == [path]
    assert not path.exists()


def test_an_empty_stream_leaves_no_folder_behind_although_other_text_was_scored(tmp_path: Path) -> None:
    model = write_language_model(tmp_path / "model")
    other = write_jsonl(tmp_path / "other.jsonl", [{"text": documents(1)[0]}])
    empty, run = tmp_path / "empty.jsonl", tmp_path / "run"
    empty.write_text("")
    with pytest.raises(InputError, match="is empty"):
        learn(empty, run, language_settings(model), general=str(other))
    assert not run.exists()


def test_standard_input_is_scored_and_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, run = write_language_model(tmp_path / "model"), tmp_path / "run"
    stream = write_jsonl(tmp_path / "all.jsonl", [{"text": text} for text in documents(3)])
    learn(stream, run, language_settings(model))
    from_file = evaluate_run(run, [str(stream)])
    for text in (stream.read_text(), ""):
        reading, writing = os.pipe()
        with os.fdopen(writing, "w") as pipe:
            pipe.write(text)
        with monkeypatch.context() as patch, os.fdopen(reading) as piped:
            patch.setattr("sys.stdin", piped)
            if text:
                assert evaluate_run(run, ["-"]) == from_file
            else:
                with pytest.raises(InputError, match="it is empty"):
                    evaluate_run(run, ["-"])


def test_a_report_after_a_crash_has_the_figures_up_to_there(
    tmp_path: Path,
    write_codes: Callable[..., Path],
    clustered: Callable[..., list[Any]],
    small: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, run = write_codes("stream.parquet", clustered(200)), tmp_path / "run"
    test = write_codes("test.parquet", clustered(40, start=900))
    short = learn(write_codes("first.parquet", clustered(40, start=500)), run, small, test=str(test))
    assert short.summary["test_accuracy"] is not None
    with monkeypatch.context() as patch:
        patch.setattr(Fold, "make", crash_at_step(8))
        with pytest.raises(Crash):
            learn(stream, run, {"run.checkpoint_seconds": 0.0})
    with RunFolder.open_to_read(run) as folder:
        saved = folder.newest_checkpoint()
        assert saved.step > 3
    report = rebuild_report(run).read_text(encoding="utf-8")
    counts = saved.run["counts"]
    assert counts["examples"] > 40
    assert f"{counts['examples']:,}" in report
    assert saved.run["summary"]["test_accuracy"] == short.summary["test_accuracy"]
    assert "examples per second" in report.lower()
    head = rollback_run(run, None).fingerprint
    assert head == verify_run(run).fingerprint


def test_a_test_set_of_codes_of_another_model_is_refused_before_anything_is_learned(
    tmp_path: Path, write_codes: Callable[..., Path], clustered: Callable[..., list[Any]], small: Settings
) -> None:
    stream, run = write_codes("stream.parquet", clustered(40)), tmp_path / "run"
    other = write_codes("other.parquet", clustered(20, start=900), "another model")
    for _ in range(2):
        with pytest.raises(RunError, match=r"other\.parquet holds codes of another model"):
            learn(stream, run, small, test=str(other))
        assert not run.exists()
    learn(stream, run, small)
    more = write_codes("more.parquet", clustered(40, start=300))
    with pytest.raises(RunError, match=r"other\.parquet holds codes of another model"):
        learn(more, run, small, test=str(other))
    with RunFolder.open_to_read(run) as folder:
        assert folder.journal.next_offset == 41


def test_a_matrix_of_fewer_labels_does_not_stay_when_there_are_too_many(
    tmp_path: Path,
    write_codes: Callable[..., Path],
    clustered: Callable[..., list[Any]],
    small: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    learn(write_codes("stream.parquet", clustered(40)), run, small)
    assert (run / "confusion.json").is_file()
    monkeypatch.setattr(label_scores, "_MAX_CONFUSION_LABELS", 2)
    learn(write_codes("more.parquet", clustered(40, start=300)), run, small)
    assert not (run / "confusion.json").exists()
    rebuild_report(run)

"""Deletions brought to their end, and their certificates issued: at once, or after a crash.

A deletion is one transaction of the journal; everything else follows from it. What follows is done again as a
whole where it was interrupted, so it does not matter where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from everlearn.journal.deletion.certificates import CertificateRecord
from everlearn.journal.durable_files import make_folder, write_json
from everlearn.journal.repair.damaged_copies import remove_damaged_copies
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.refold import fold_without_state
from everlearn.runtime.fold.rewritten_versions import choose_served
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.folder.run_folder import CERTIFICATES, CONSOLIDATION, JOURNAL, RunFolder
from everlearn.runtime.folder.tuning_store import TuningStore
from everlearn.types import Json

__all__ = [
    "CERTIFICATE_FORMAT",
    "Issued",
    "finish_deletions",
    "issued_notes",
    "pending_note",
    "reissue_certificates",
]

CERTIFICATE_FORMAT = "everlearn deletion certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What became of the certificates that were pending.

    Attributes:
        files: Those that were issued, by revision.
        num_pending: Those that are pending still: another process reads the journal.
        notes: What else came of the deletions, in sentences.
    """

    files: Mapping[int, Path]
    num_pending: int = 0
    notes: Sequence[str] = ()


def finish_deletions(
    folder: RunFolder, learner: RunLearner, save: Callable[[], None], *, wait_seconds: float = 1.0
) -> Issued:
    """Do what is left to do of deletions that are journaled, and issue their certificates.

    Args:
        folder: The run, open for writing.
        learner: In the state after the newest step.
        save: Writes a checkpoint of it.
        wait_seconds: How long to wait for processes that read the journal.
    """
    journal = folder.journal
    pending = journal.certificates.pending()
    if not pending:
        return Issued(files={})
    save()
    notes: list[str] = []
    choose_served(folder, notes.append)
    folder.prune()
    folder.remove_outdated()
    # A tuning that stands still keeps ids; one that goes on finds history changed.
    TuningStore(folder.path / CONSOLIDATION).clear_if_idle()
    folder.write_rejections()
    rebuild_report(folder.path)
    with folder.saving():
        remove_damaged_copies(folder.path / JOURNAL)
        completed = [_completed(folder, learner, record) for record in pending]
        for record in completed:
            journal.certificates.write(record)
        if not journal.empty_log(wait_seconds):
            return Issued(files={}, num_pending=len(pending), notes=notes)
        files = {record.revision: _write(folder, record) for record in completed}
        for record in completed:
            journal.certificates.write(replace(record, is_issued=True))
    return Issued(files=files, notes=notes)


def issued_notes(run: Path, issued: Issued) -> list[str]:
    """What became of certificates of earlier deletions, in sentences."""
    notes = [f"The certificate of an earlier deletion was issued: {path}" for path in issued.files.values()]
    notes += issued.notes
    return notes + ([pending_note(run, issued.num_pending)] if issued.num_pending else [])


def reissue_certificates(folder: RunFolder) -> list[Path]:
    """Write the files of issued certificates that are missing, from the journal; returns them."""
    with folder.saving():
        return [
            _write(folder, record)
            for record in folder.journal.certificates.all()
            if record.is_issued and not _path(folder, record.revision).is_file()
        ]


def pending_note(run: Path, count: int) -> str:
    """Why certificates are pending, and how they are issued."""
    what = "The certificate is" if count == 1 else f"{count:,} certificates are"
    return (
        f"{what} pending: another process reads {run / JOURNAL}, so deleted text may still lie in its "
        "write-ahead log. The examples are deleted; what is left of them goes, and the "
        "certificate is issued, by the next command that writes the run, or by "
        f"`everlearn forget {run} --reissue`, once that process has ended."
    )


def _completed(folder: RunFolder, learner: RunLearner, record: CertificateRecord) -> CertificateRecord:
    if record.value["fingerprint_after"] is not None:
        return record
    journal, step = folder.journal, int(record.value["step"])
    if step != journal.last_step:
        learner = fold_without_state(folder, step, journal.generations.known_to(record.revision))
    return replace(record, value={**record.value, "fingerprint_after": learner.fingerprint()})


def _write(folder: RunFolder, record: CertificateRecord) -> Path:
    path = _path(folder, record.revision)
    make_folder(path.parent)
    command: dict[str, Json] = {"verify": f"everlearn verify {folder.path} --certificate {path}"}
    write_json(path, {name: record.value[name] for name in _in_order(record.value)} | command, indent=1)
    return path


def _in_order(value: Mapping[str, Json]) -> Sequence[str]:
    """What it is of, then what it says."""
    first = ("format", "format_version", "run", "time", "revision", "step", "num_deleted")
    return [*first, *(name for name in value if name not in first)]


def _path(folder: RunFolder, revision: int) -> Path:
    number = sum(
        change.kind == "deletion" and change.revision <= revision for change in folder.history.revisions()
    )
    return folder.path / CERTIFICATES / f"deletion-{number:04d}.json"

"""``journal``: what is in a run's journal, its export, its compaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from everlearn.errors import ConfigError, RunError, StorageError
from everlearn.journal.deletion.compaction import Compacted, compact_journal
from everlearn.journal.durable_files import replacing, storage_errors
from everlearn.journal.records import UNLEARNABLE, shown_target
from everlearn.journal.repair.damaged_copies import remove_damaged_copies
from everlearn.journal.rows.counts import count_rows
from everlearn.journal.standing.held import HeldTargets
from everlearn.json_text import json_text
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.folder.run_folder import JOURNAL, RunFolder
from everlearn.runtime.guard.guard import Guard
from everlearn.runtime.history.exported_record import exported_record
from everlearn.runtime.outcomes import figures_of
from everlearn.stream.files.codes import CodesWriter
from everlearn.types import Json

__all__ = ["JournalSummary", "compact_run", "export_journal", "exported_records", "show_journal"]

_BATCH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSummary:
    """What a journal holds.

    Attributes:
        counts: Rows by kind.
        num_bytes: Of the file.
        first_time: Of the first step.
        last_time: Of the last.
        sources: Streams, and how many examples came from each.
        steps: The newest steps, newest first.
    """

    counts: Mapping[str, int]
    num_bytes: int
    first_time: str | None
    last_time: str | None
    sources: Mapping[str, int]
    steps: list[dict[str, Json]]

    def to_json(self) -> dict[str, Json]:
        """As printed by ``journal show --json``."""
        return {**self.counts, **figures_of(self, without=("counts",))}


def show_journal(run: Path, *, num_steps: int = 10) -> JournalSummary:
    """Describe a run's journal, with so many of its newest steps. The run may be in use."""
    with RunFolder.snapshot_of(run) as folder:
        journal, rows = folder.journal, count_rows(folder.journal)
        counts = {
            "steps": journal.last_step,
            "steps_set_aside": rows.num_set_aside,
            "examples": sum(rows.by_role.values()),
            "held_back_for_exams": rows.by_role.get("exam", 0),
            "held_for_review": rows.by_role.get("held", 0),
            "cannot_be_learned": rows.by_role.get(UNLEARNABLE, 0),
            "texts": rows.num_texts,
            "late_targets_and_corrections": rows.num_changes,
            "readmitted": rows.num_readmitted,
            "rejected_records": journal.rejections.extent().count,
            "deleted": folder.history.num_forgotten(),
            "versions": len(folder.history.versions()),
            "decisions": len(folder.history.decisions()),
            "checkpoints": len(folder.history.checkpoints()),
            "generation_of_codes": journal.generation,
        }
        first_listed = max(0, journal.last_step - num_steps)
        steps: list[dict[str, Json]] = [
            {
                "step": step.step,
                "time": step.time,
                "arrived": step.arrived,
                "learned": step.learned,
                "rejected": step.num_rejected,
                "after": step.after.to_json(),
                "set_aside": step.set_aside,
            }
            for step in journal.steps_after(first_listed)
        ]
        return JournalSummary(
            counts=counts,
            num_bytes=journal.num_bytes,
            first_time=rows.first_time,
            last_time=rows.last_time,
            # What another file under the name has given before is not in its progress; what came with a
            # merged run is nowhere else.
            sources={
                source.key: max(source.examples, rows.by_source.get(source.key, 0))
                for source in folder.sources()
            },
            steps=steps[::-1],
        )


def export_journal(run: Path, out: Path, *, overwrite: bool = False) -> int:
    """Export all examples: JSON lines (``.jsonl``) without codes, or a codes file (``.parquet``).

    Both can be learned into another run (JSON lines where the texts are kept). Deletions made later do not
    reach an export.

    Args:
        run: The run folder; it may be in use.
        out: The file.
        overwrite: Replace it where there is one.

    Returns:
        Number of examples.

    Raises:
        ConfigError: The name ends in neither.
        RunError: The run's learner keeps no codes, and a codes file was asked for.
        StorageError: ``out`` is there, or cannot be written; what was there before stays.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"an export ends in .jsonl or .parquet, not {out.name!r}")
    if out.exists() and not overwrite:
        raise StorageError(f"{out} exists; give another name, or overwrite it (--overwrite)")
    with RunFolder.snapshot_of(run) as folder, storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".parquet":
            return _export_codes(folder, out)
        count = 0
        with replacing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
            for _, record in exported_records(folder, 1, folder.journal.next_offset - 1):
                file.write(json_text(record) + "\n")
                count += 1
        return count


def compact_run(run: Path, *, drop_text_after_days: float | None = None) -> Compacted:
    """Bring a run's journal to its smallest size, and drop old texts if asked to.

    Args:
        run: The run folder.
        drop_text_after_days: Texts of examples that came longer ago than this are dropped, their codes
            kept; 0: all. Those stay that a guard examines a learner of texts on.

    Raises:
        ConfigError: A negative number of days.
        RunError: In use, or its learner cannot fold without texts.
        StorageError: No room for it; nothing is changed.
    """
    if drop_text_after_days is not None and drop_text_after_days < 0:
        raise ConfigError(f"drop_text_after_days must not be negative, not {drop_text_after_days}")
    with RunFolder.open_to_write(run) as folder:
        if drop_text_after_days is not None and folder.record.learner.kind != "closed-form":
            newest = folder.newest_checkpoint().step
            if newest != folder.journal.last_step:
                raise RunError(
                    f"the {folder.record.learner.kind} learner folds from texts, and {run} has steps after "
                    "its newest checkpoint; run `everlearn learn` on its stream to the end first"
                )
        with folder.saving():
            keep = Guard(folder, folder.config.guard).needed_texts() if folder.config.guard.enabled else ()
            compacted = compact_journal(
                folder.journal,
                drop_text_after_days=drop_text_after_days,
                rule=folder.task.text_rule(),
                only_learned=folder.record.learner.kind != "closed-form",
                keep=keep,
            )
            if drop_text_after_days is not None:
                remove_damaged_copies(run / JOURNAL)  # damaged files hold texts too
        if drop_text_after_days is not None:
            folder.write_rejections()
            if (run / "report.html").is_file():
                rebuild_report(run)
        return compacted


def exported_records(folder: RunFolder, first: int, last: int) -> Iterator[tuple[int, dict[str, Json]]]:
    """Offsets and records of an export in JSON lines, from one offset to another."""
    held = HeldTargets(folder.journal)
    for offset, arrival in folder.journal.examples.arrivals(first, last):
        record = exported_record(
            arrival.example,
            role=arrival.role,
            target=shown_target(folder.journal.standings.present_target(offset, arrival.example.target)),
            is_learned=held(offset, arrival.role, arrival.example.target) is not None,
            said=arrival.prediction,
        )
        yield offset, record


def _export_codes(folder: RunFolder, out: Path) -> int:
    learner = folder.learner_record()
    if learner.coder_fingerprint is None or learner.dense_size is None:
        raise RunError(f"{folder.path} keeps no codes; export it as .jsonl")
    count = 0
    with CodesWriter(
        out,
        coder_fingerprint=learner.coder_fingerprint,
        coder_config=learner.coder_config or {},
        dense_size=learner.dense_size,
    ) as writer:
        present_target = folder.journal.standings.present_target
        everything = folder.journal.examples.arrivals(1, folder.journal.next_offset - 1)
        while batch := list(islice(everything, _BATCH)):
            # Those that a rollback has set aside may have codes of another trunk only.
            coded = [
                arrival.example.with_target(present_target(offset, arrival.example.target))
                for offset, arrival in batch
                if arrival.example.code is not None
            ]
            writer.write(coded)
            count += len(coded)
    return count

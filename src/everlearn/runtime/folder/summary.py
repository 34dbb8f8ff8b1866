"""The figures of a run, and the files of a run folder that are made for readers."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.evaluation.report.labels import write_report
from everlearn.evaluation.report.texts import write_language_report
from everlearn.journal.durable_files import write_json
from everlearn.journal.journal import Journal
from everlearn.journal.rows.entries import entry_of
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.tasks.records import Counts, Seconds
from everlearn.tasks.texts.scores import AnyRunScores, TextRunScores
from everlearn.types import Json

__all__ = ["Tested", "peak_memory_mb", "summarize", "write_reader_files"]

Tested = PrequentialScores | Mapping[str, Json]
"""Scores on a held-out set: of labels, or the figures of ``score_text``."""

_MAX_CONFUSION_LABELS = 2_000


def summarize(
    scores: AnyRunScores,
    seconds: Seconds,
    *,
    num_classes: int,
    fingerprint: str,
    tested: Tested | None,
) -> dict[str, Json]:
    """The figures that ``learn --json`` prints; None where one does not apply.

    ``examples_per_second`` is examples over encoding and learning (predictions included); reading,
    saving, loading the model and testing are left out. Times and counts cover the whole run.

    Args:
        scores: Of the stream.
        seconds: By kind of work.
        num_classes: Labels known.
        fingerprint: The learner's.
        tested: Scores on the held-out set.
    """
    if isinstance(scores, TextRunScores):
        return _summarize_text(scores, seconds, fingerprint, tested)
    assert tested is None or isinstance(tested, PrequentialScores)
    counts: Counts = scores.counts
    prequential = scores.prequential.summary()
    matrix = scores.matrix
    test = tested.summary() if tested is not None else {}
    working_seconds = seconds.encode + seconds.predict + seconds.learn
    return {
        "examples": counts.examples,
        "learned": counts.learned,
        "without_target": counts.without_target,
        "rejected": counts.rejected,
        "forgotten": counts.forgotten,
        "classes": num_classes,
        "prequential_accuracy": prequential["accuracy"],
        "prequential_macro_f1": prequential["macro_f1"],
        "prequential_log_loss": prequential["log_loss"],
        "prequential_calibration_error": prequential["calibration_error"],
        "test_accuracy": test.get("accuracy"),
        "test_macro_f1": test.get("macro_f1"),
        "test_log_loss": test.get("log_loss"),
        "test_calibration_error": test.get("calibration_error"),
        "average_accuracy": matrix.average_accuracy if matrix else None,
        "forgetting": matrix.forgetting if matrix else None,
        "backward_transfer": matrix.backward_transfer if matrix else None,
        "forward_transfer": matrix.forward_transfer if matrix else None,
        **_seconds(seconds),
        "examples_per_second": counts.examples / working_seconds if working_seconds > 0 else None,
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "fingerprint": fingerprint,
    }


def _summarize_text(
    scores: TextRunScores, seconds: Seconds, fingerprint: str, tested: Tested | None
) -> dict[str, Json]:
    counts, figures = scores.counts, scores.figures()
    working_seconds = seconds.encode + seconds.predict + seconds.learn
    test = tested if isinstance(tested, Mapping) else {}
    return {
        "examples": counts.examples,
        "learned": counts.learned,
        "without_target": counts.without_target,
        "rejected": counts.rejected,
        "forgotten": counts.forgotten,
        **figures,
        **{f"test_{name}": test.get(name) for name in ("bits_per_byte", "bleu", "chrf") if name in test},
        **{name: value for name, value in test.items() if name.startswith("general_")},
        **_seconds(seconds),
        "tokens_per_second": figures["tokens"] / working_seconds if working_seconds > 0 else None,
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "fingerprint": fingerprint,
    }


def _seconds(seconds: Seconds) -> dict[str, Json]:
    return {
        "seconds": round(seconds.total, 3),
        "encode_seconds": round(seconds.encode, 3),
        "predict_seconds": round(seconds.predict, 3),
        "learn_seconds": round(seconds.learn, 3),
        "evaluate_seconds": round(seconds.evaluate, 3),
        "save_seconds": round(seconds.save, 3),
    }


def peak_memory_mb() -> float:
    """The most memory that this process has had resident, in 10⁶ bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kibibytes, macOS in bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _samples(journal: Journal, chosen: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """What was written along the way, as far as the journal keeps it."""
    shown = []
    for one in chosen:
        entry = entry_of(journal, one["id"])
        if entry is None:
            continue  # deleted
        arrival = next((found for _, found in journal.arrivals(entry.offset, entry.offset)), None)
        if arrival is None or arrival.example.text is None:
            continue  # its text was dropped
        sample: dict[str, Json] = {
            "input": arrival.example.text,
            "output": "" if arrival.prediction is None else arrival.prediction.label or "",
            "target": journal.present_target(entry.offset, entry.target),
        }
        shown.append(sample | {"examples": one["examples"]})
    return shown


def write_reader_files(
    folder: RunFolder,
    scores: AnyRunScores,
    summary: dict[str, Any],
    *,
    title: str,
    confusion: Confusion | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write ``confusion.json``, ``matrix.json`` and ``report.html``.

    Args:
        folder: The run folder.
        scores: Of the stream.
        summary: The run's figures.
        title: The report's heading.
        confusion: On the held-out set; None: that of the stream.
        notes: What the reader should know.

    Raises:
        StorageError: A file cannot be written.
    """
    if isinstance(scores, TextRunScores):
        with folder.saving():
            write_language_report(
                folder.path / "report.html",
                title=title,
                summary=summary,
                metrics=scores.metrics.table(),
                domains=scores.by_domain(),
                matrix=scores.matrix,
                config=folder.record.config,
                notes=notes,
                samples=_samples(folder.journal, scores.samples),
                decisions=[asdict(one) for one in folder.history.decisions()],
            )
        return
    shown = confusion if confusion is not None else scores.prequential.confusion()
    with folder.saving():
        if len(shown.labels) <= _MAX_CONFUSION_LABELS:
            write_json(folder.path / "confusion.json", shown.to_json())
        else:  # that of before, with fewer labels, is not what the report shows
            (folder.path / "confusion.json").unlink(missing_ok=True)
        if scores.matrix is not None:
            write_json(folder.path / "matrix.json", scores.matrix.to_json())
        write_report(
            folder.path / "report.html",
            title=title,
            summary=summary,
            metrics=scores.metrics.table(),
            confusion=shown if shown.labels else None,
            matrix=scores.matrix,
            config=folder.record.config,
            notes=notes,
            decisions=[asdict(one) for one in folder.history.decisions()],
        )

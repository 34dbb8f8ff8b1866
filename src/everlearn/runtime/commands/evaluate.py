"""``evaluate``: a run's scores on a file, without learning it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from everlearn.config import RunConfig, TaskName
from everlearn.errors import RunError
from everlearn.runtime.fold.opened_run import open_learner
from everlearn.runtime.folder.run_record import read_record
from everlearn.runtime.folder.useful_settings import check_fits_sources
from everlearn.runtime.threads import use_threads
from everlearn.stream.open import open_source
from everlearn.stream.rejections import too_many_rejected
from everlearn.tasks.classification.held_out import HeldOut
from everlearn.tasks.learners import check_codes, settle
from everlearn.tasks.reading import source_config
from everlearn.types import Json

__all__ = ["evaluate_run", "task_of"]


def task_of(run: Path) -> TaskName:
    """The task of a run, which no other file need be opened for.

    Raises:
        RunError: Not a run folder.
    """
    return RunConfig.from_mapping(read_record(run / "run.json").config).task


def evaluate_run(
    run: Path,
    spec: str,
    settings: Mapping[str, Any] | None = None,
    *,
    on_note: Callable[[str], None] = lambda _: None,
) -> dict[str, Json]:
    """Score a run on the examples of a file that have a target.

    Args:
        run: The run folder.
        spec: The file.
        settings: Dotted settings in place of the run's, such as ``stream.text_field``.
        on_note: Is told what of the run was found damaged and passed over.

    Returns:
        ``examples, rejected, accuracy, macro_f1, log_loss, calibration_error, fingerprint``;
        ``unknown_labels``: examples whose label the run has never learned; ``too_many_rejected``: where more
        records were rejected than ``stream.max_rejected`` allows, how many, in a sentence, else None.

    Raises:
        InputError: The file cannot be read or has no example with a target.
        RunError: Not a usable run folder, or not a classifier's.
        StateError: The saved state is damaged.
    """
    if (task := task_of(run)) != "classify":
        raise RunError(f"{run} learns texts (task {task!r}), not labels; evaluate_texts scores it")
    folder, learner = open_learner(run, on_note=on_note)
    with folder:
        config = folder.config.with_settings(settings or {})
        use_threads(config.run.threads)
        source = open_source(spec, source_config(config.stream, task=config.task))
        check_fits_sources([source], settings or {})
        check_codes(source, folder.learner_record(folder.served_generation), str(run))
    held_out = HeldOut(source)
    settle(learner)
    held_out.prepare(learner)
    summary = held_out.scores(learner).summary()
    names = ("examples", "accuracy", "macro_f1", "log_loss", "calibration_error")
    known = set(learner.labels)
    return {
        **{name: summary[name] for name in names},
        "unknown_labels": sum(label not in known for label in held_out.labels),
        "rejected": len(held_out.rejected),
        "too_many_rejected": too_many_rejected(
            source.name, held_out.num_records, held_out.rejected, config.stream.max_rejected
        ),
        "fingerprint": learner.fingerprint(),
    }
